"""Kafka consumers that nothing in a topic can bring down: every consumer of this package is made through here.

In: an aiokafka consumer that is not started. Out: the same one; instead of raising, or allocating what a batch claims,
it returns an `UnreadableRecord` for what cannot be read, and goes on behind it.

aiokafka reads batches while its caller drains them, raises what it meets there, and unpacks without a bound. Its answer
to a fetch is taken here as the bytes it is, and unpacked by :mod:`stream_app.adapters.kafka.unpacking`. The names of
aiokafka that this stands on, private or undocumented, are listed in `STANDS_ON` and watched by a test.
"""

# The whole point of this file is to reach into aiokafka, which types little:
# ruff: noqa: SLF001, ANN401

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import google_crc32c
import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.util import calc_crc32c

from stream_app.adapters.kafka.unpacking import (
    COVERED_FROM,
    CRC,
    FORMAT,
    RECORD_BYTES,
    UnreadableRecord,
    lost,
    split,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream_app.adapters.kafka.connection import Connection
    from stream_app.adapters.kafka.unpacking import Batch

#: What this file uses of each class of aiokafka.
STANDS_ON: Final[dict[type, frozenset[str]]] = {
    AIOKafkaConsumer: frozenset({"_client", "_fetcher", "_check_crcs", "_isolation_level", "start"}),
    AIOKafkaClient: frozenset({"send"}),
    Fetcher: frozenset({"_proc_fetch_request", "_records"}),
    FetchResult: frozenset({"_partition_records", "check_assignment", "_update_position"}),
    PartitionRecords: frozenset({"_aborted_transactions", "next_fetch_offset"}),
}

#: Without its C extension it would take minutes for what aiokafka's own sum, bit by table, does in a second.
_crc32c = google_crc32c.value if google_crc32c.implementation == "c" else calc_crc32c
#: A batch that does not fit its CRC is fetched so often before it is given up: on the wire it was whole, perhaps.
_CRC_FETCHES: Final = 3
#: Corrupt batches remembered while they are fetched again.
_MAX_SUSPECTS: Final = 1_000
_ABORT: Final = b"\x00\x00\x00\x00"


def guarded_consumer(connection: Connection, **options: Any) -> AIOKafkaConsumer:
    """Return a consumer with aiokafka's options that is not started and survives whatever it reads."""
    consumer = AIOKafkaConsumer(**connection.client_arguments(), **options)
    guard(consumer, connection.batch_bytes)
    return consumer


def guard(consumer: AIOKafkaConsumer, batch_bytes: int) -> None:
    """Make a consumer that is not started, and that has no partitions yet, survive whatever it reads.

    Args:
        consumer: it checks CRCs by the processor's own instruction from now on.
        batch_bytes: the memory that one batch may take unpacked. One fetch of a partition is read out up to this much
            and one batch more; what is left is fetched again.
    """
    guarded = _Guard(consumer, batch_bytes)
    start = consumer.start

    async def start_guarded() -> None:
        await start()
        guarded.take_over(consumer._fetcher)

    consumer._check_crcs = False
    consumer._client.send = guarded.send
    consumer.start = start_guarded


class Fetched(msgspec.Struct, frozen=True):
    """What a broker answered for one partition: whole batches, in the order of their offsets.

    ``end`` is the end of the log then; ``condemned`` are the base offsets of batches that do not fit their CRC.
    """

    records: bytes
    end: int
    condemned: frozenset[int] = frozenset()


class _Guard:
    """Stands between one consumer's fetcher and its connection, and between the fetcher and who drains it."""

    def __init__(self, consumer: AIOKafkaConsumer, batch_bytes: int) -> None:
        self._batch_bytes = batch_bytes
        self._consumer = consumer
        self._send = consumer._client.send
        self._fetched: dict[TopicPartition, Fetched] = {}
        self._suspects: Counter[tuple[TopicPartition, int, int]] = Counter()

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        """Send, and keep the bytes of each partition of a fetch.

        Raises:
            CorruptRecordException: a batch does not fit its CRC, for the first times; the fetcher asks again.
        """
        response = await self._send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            for topic, partitions in response.topics or ():
                for partition, _error, end, *_, records in partitions:
                    if records:
                        tp = TopicPartition(topic, partition)
                        self._fetched[tp] = Fetched(records, end, frozenset(self._check(tp, records)))
        return response

    def take_over(self, fetcher: Any) -> None:
        """Have what the fetcher got read out by us."""
        fetch = fetcher._proc_fetch_request

        async def fetch_and_swap(assignment: Any, node_id: int, request: Any) -> bool:
            try:
                # Nothing else runs between its last line and ours: nobody has drained yet what it got.
                return bool(await fetch(assignment, node_id, request))
            finally:
                self._swap(fetcher, request)

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

    def _swap(self, fetcher: Any, request: Any) -> None:
        is_committed_only = self._consumer._isolation_level == "read_committed"
        for topic, partitions in request.topics:
            for partition, *_ in partitions:
                tp = TopicPartition(topic, partition)
                fetched, result = self._fetched.pop(tp, None), fetcher._records.get(tp)
                if fetched is None or type(result) is not FetchResult:
                    continue
                theirs = result._partition_records
                # An answer that came too late was discarded, and what is there is ours.
                if type(theirs) is PartitionRecords:
                    result._partition_records = Readout(
                        tp,
                        fetched,
                        offset=theirs.next_fetch_offset,
                        aborted=theirs._aborted_transactions if is_committed_only else None,
                        batch_bytes=self._batch_bytes,
                    )


class Readout:
    """What a `FetchResult` needs of aiokafka's `PartitionRecords`: an iterator that knows the next offset to fetch."""

    def __init__(
        self,
        tp: TopicPartition,
        fetched: Fetched,
        *,
        offset: int,
        aborted: Sequence[tuple[int, int]] | None,
        batch_bytes: int,
    ) -> None:
        """Begin to read.

        Args:
            tp: where the records come from.
            fetched: whole batches, in the order of their offsets.
            offset: the first one that is wanted.
            aborted: producer and first offset of each aborted transaction, by offset; None to read what is not
                committed too.
            batch_bytes: the memory that a batch may take unpacked.
        """
        self.next_fetch_offset = offset
        self._tp = tp
        self._fetched = fetched
        self._aborted = None if aborted is None else list(aborted)
        self._aborting: set[int] = set()
        self._batch_bytes = batch_bytes
        self._left = self._read()

    def __iter__(self) -> Iterator[ConsumerRecord[bytes, bytes] | UnreadableRecord]:
        """Return itself."""
        return self

    def __next__(self) -> ConsumerRecord[bytes, bytes] | UnreadableRecord:
        """Return the next record; the offset to be fetched next is the one behind it."""
        return next(self._left)

    def _read(self) -> Iterator[ConsumerRecord[bytes, bytes] | UnreadableRecord]:
        begin, spent = self.next_fetch_offset, 0
        batch: Batch | None = None
        for batch in split(self._fetched.records):
            if batch.base_offset in self._fetched.condemned:
                yield self._passing(self._condemn(batch))
                # It may have been a transaction's marker; a new fetch says anew what was aborted.
                return
            if batch.last_offset < self.next_fetch_offset:
                continue
            if not batch.flaw and self._is_aborted_or_marker(batch):
                self.next_fetch_offset = max(self.next_fetch_offset, batch.last_offset + 1)
                continue
            for record in unpack(self._fetched.records, batch, self._tp, self._batch_bytes):
                spent += RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
                if record.offset >= self.next_fetch_offset:
                    yield self._passing(record)
            self.next_fetch_offset = max(self.next_fetch_offset, batch.last_offset + 1)
            if spent >= self._batch_bytes:
                return
        if batch is not None and self.next_fetch_offset == begin:
            # It would be fetched for ever.
            head = msgspec.structs.replace(batch, last_offset=begin)
            yield self._passing(lost(head, self._tp, FORMAT, "claims to lie further back", first_offset=begin))

    def _condemn(self, batch: Batch) -> UnreadableRecord:
        """Return what stands for a batch whose own head cannot be believed: it ends where the next one begins."""
        first = max(batch.base_offset, self.next_fetch_offset)
        behind = next((other for other in split(self._fetched.records) if other.begin >= batch.end), None)
        last = min(batch.last_offset, self._fetched.end - 1) if behind is None else behind.base_offset - 1
        head = msgspec.structs.replace(batch, last_offset=max(first, last))
        return lost(head, self._tp, CRC, "does not fit its CRC", first_offset=first)

    def _passing(
        self, record: ConsumerRecord[bytes, bytes] | UnreadableRecord
    ) -> ConsumerRecord[bytes, bytes] | UnreadableRecord:
        self.next_fetch_offset = max(self.next_fetch_offset, record.offset + 1)
        return record

    def _is_aborted_or_marker(self, batch: Batch) -> bool:
        """Whether a batch has nothing for readers, by Kafka's rules: KIP-98, "Discarding aborted transactions"."""
        aborted = self._aborted
        if aborted is not None:
            while aborted and aborted[0][1] <= batch.base_offset:
                self._aborting.add(aborted.pop(0)[0])
            if batch.is_control:
                self._end_transaction(batch)
            elif batch.is_transactional and batch.producer_id in self._aborting:
                return True
        return batch.is_control

    def _end_transaction(self, marker: Batch) -> None:
        for record in unpack(self._fetched.records, marker, self._tp, self._batch_bytes):
            if (record.key or b"")[:4] == _ABORT:
                self._aborting.discard(marker.producer_id)
