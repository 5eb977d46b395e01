"""Kafka consumers that nothing in a topic can bring down: every consumer of this package is made through here.

In: an aiokafka consumer that is not started. Out: the same one; instead of raising, or allocating what a batch claims,
it returns an `UnreadableRecord` for what cannot be read, and continues after it.

aiokafka reads batches while its caller drains them, raises what it meets there, and unpacks without a bound. Its answer
to a fetch is taken here as the bytes it is, and read out by :mod:`stream_app.adapters.kafka.readout`. The names of
aiokafka that this stands on are listed in :mod:`stream_app.adapters.kafka.stands_on` and watched by a test.
"""

# The whole point of this file is to reach into aiokafka, which types little:
# ruff: noqa: SLF001, ANN401

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import google_crc32c
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.util import calc_crc32c

from stream_app.adapters.kafka.batches import COVERED_FROM, split
from stream_app.adapters.kafka.readout import Fetched, Readout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from stream_app.adapters.kafka.connection import Connection

#: Without its C extension it would take minutes for what aiokafka's own sum, bit by table, does in a second.
_crc32c = google_crc32c.value if google_crc32c.implementation == "c" else calc_crc32c
#: A batch that does not fit its CRC is fetched so often before it is given up: on the wire it was whole, perhaps.
_CRC_FETCHES: Final = 3
#: Corrupt batches remembered while they are fetched again.
_MAX_SUSPECTS: Final = 1_000


if TYPE_CHECKING:
    #: Called after a fetch with the answers that the fetcher accepted, all at their partitions' present positions, and
    #: whether there is something to be read out now: records, or an error.
    OnFetched = Callable[[Mapping[TopicPartition, Fetched], bool], None]


def guarded_consumer(
    connection: Connection, on_fetched: OnFetched | None = None, /, **options: Any
) -> AIOKafkaConsumer:
    """Return a consumer with aiokafka's options that is not started and survives whatever it reads."""
    consumer = AIOKafkaConsumer(**connection.client_arguments(), **options)
    guard(consumer, connection.batch_bytes, on_fetched)
    return consumer


def guard(consumer: AIOKafkaConsumer, batch_bytes: int, on_fetched: OnFetched | None = None) -> None:
    """Make a consumer that is not started, and that has no partitions yet, survive whatever it reads.

    Args:
        consumer: it checks CRCs by the processor's own instruction from now on.
        batch_bytes: the memory that one batch may take unpacked. One fetch of a partition is read out up to this much
            and one batch more; what is left is fetched again.
        on_fetched: called in the consumer's event loop before anybody can read out what was fetched.
    """
    guarded = _Guard(consumer, batch_bytes, on_fetched)
    start = consumer.start

    async def start_guarded() -> None:
        await start()
        guarded.take_over(consumer._fetcher)

    consumer._check_crcs = False
    consumer._client.send = guarded.send
    consumer.start = start_guarded


class _Guard:
    """Stands between one consumer's fetcher and its connection, and between the fetcher and who drains it."""

    def __init__(self, consumer: AIOKafkaConsumer, batch_bytes: int, on_fetched: OnFetched | None) -> None:
        self._batch_bytes = batch_bytes
        self._consumer = consumer
        self._on_fetched = on_fetched
        self._send = consumer._client.send
        self._fetched: dict[TopicPartition, Fetched] = {}
        self._suspects: Counter[tuple[TopicPartition, int, int]] = Counter()

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        """Send, and keep the answer for each partition of a fetch.

        Raises:
            CorruptRecordException: a batch does not fit its CRC, for the first times; the fetcher asks again.
        """
        sent_at = time.monotonic()
        response = await self._send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            # As a whole or not at all, like the fetcher: where it raises nothing of the answer is accepted.
            self._fetched.update(dict(self._answers(response, sent_at)))
        return response

    def _answers(self, response: Any, sent_at: float) -> Iterator[tuple[TopicPartition, Fetched]]:
        received_at = time.monotonic()
        for topic, partitions in response.topics or ():
            for partition, error, end, *stable_end, records in partitions:
                if not error:
                    tp = TopicPartition(topic, partition)
                    condemned = frozenset(self._check(tp, records or b""))
                    # Brokers without transactions name none.
                    stable = stable_end[0] if stable_end else end
                    yield tp, Fetched(records or b"", end, condemned, stable, sent_at, received_at)

    def take_over(self, fetcher: Any) -> None:
        """Have what the fetcher got read out by us."""
        fetch = fetcher._proc_fetch_request

        async def fetch_and_swap(assignment: Any, node_id: int, request: Any) -> bool:
            has_news = False
            try:
                has_news = bool(await fetch(assignment, node_id, request))
            except asyncio.CancelledError:
                # It comes out where a broker is gone: the fetcher closes by awaiting what it cancelled, and whoever
                # stops the consumer would be taken for cancelled.
                return False
            finally:
                # Nothing else runs between its last line and ours: nobody has drained yet what it got.
                accepted = dict(self._swap(fetcher, assignment, request))
                if self._on_fetched is not None and (accepted or has_news):
                    self._on_fetched(accepted, has_news)
            return has_news

        fetcher._proc_fetch_request = fetch_and_swap

    def _check(self, tp: TopicPartition, records: bytes) -> Iterator[int]:
        for batch in split(records):
            if batch.flaw:
                continue
            found = _crc32c(records[batch.begin + COVERED_FROM : batch.end])
            if found == batch.crc:
                continue
            suspect = (tp, batch.base_offset, found)
            if len(self._suspects) >= _MAX_SUSPECTS:
                self._suspects.clear()
            self._suspects[suspect] += 1
            if self._suspects[suspect] < _CRC_FETCHES:
                message = f"{tp.topic}/{tp.partition}: the batch at offset {batch.base_offset} does not fit its CRC"
                raise CorruptRecordException(message)
            yield batch.base_offset

    def _swap(self, fetcher: Any, assignment: Any, request: Any) -> Iterator[tuple[TopicPartition, Fetched]]:
        """Put our read-out in the place of the fetcher's; yield the answers that it accepted."""
        for topic, partitions in request.topics:
            for partition, offset, *_ in partitions:
                tp = TopicPartition(topic, partition)
                fetched, result = self._fetched.pop(tp, None), fetcher._records.get(tp)
                # It discards what comes after the assignment is over or the position was moved, and nothing was
                # awaited since it decided that.
                if fetched is None or not assignment.active:
                    continue
                state = assignment.state_value(tp)
                if not state.has_valid_position or state.position != offset:
                    continue
                if type(result) is FetchResult and type(result._partition_records) is PartitionRecords:
                    result._partition_records = self._readout(tp, fetched, result._partition_records)
                yield tp, fetched

    def _readout(self, tp: TopicPartition, fetched: Fetched, theirs: Any) -> Readout:
        is_committed_only = self._consumer._isolation_level == "read_committed"
        # It ends here unread. Its generator, which refers to it, would keep the answer alive until the collector comes.
        theirs._records_iterator = None
        return Readout(
            tp,
            fetched,
            offset=theirs.next_fetch_offset,
            aborted=theirs._aborted_transactions if is_committed_only else None,
            batch_bytes=self._batch_bytes,
        )
