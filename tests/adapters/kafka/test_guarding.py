"""A guarded consumer passes over what cannot be read, says so, and fetches on."""

from __future__ import annotations

import asyncio
import gc
import re
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import AsyncMock

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v4
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.record.memory_records import MemoryRecords

import stream_app
from stream_app.adapters.kafka.guarding import guard
from stream_app.adapters.kafka.readout import Fetched, Readout
from stream_app.adapters.kafka.unpacking import UnreadableRecord
from tests.adapters.batches import batch, bomb, record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TP = TopicPartition("vigil.texts", 3)
_BOUND = 1 << 24
_TRANSACTIONAL, _CONTROL, _APPEND_TIME = 0x10, 0x20, 0x08


def _readout(data: bytes, *, offset: int = 0, bound: int = _BOUND, **fetched: Any) -> Readout:  # noqa: ANN401
    return Readout(_TP, Fetched(data, 1_000, **fetched), offset=offset, aborted=[], batch_bytes=bound)


def _outcome(readout: Readout) -> list[tuple[int, str]]:
    return [(one.offset, one.reason if isinstance(one, UnreadableRecord) else "") for one in readout]


def _of(producer_id: int, base: int, *, attributes: int = _TRANSACTIONAL, key: bytes = b"zone") -> bytes:
    return batch([record(0, key=key)], base=base, producer_id=producer_id, attributes=_APPEND_TIME | attributes)


def _marker(producer_id: int, base: int, kind: bytes) -> bytes:
    return _of(producer_id, base, attributes=_TRANSACTIONAL | _CONTROL, key=b"\0\0" + kind)


_ABORT, _COMMIT = b"\0\0", b"\0\1"


def test_the_position_is_behind_each_record_as_it_comes_and_behind_the_batch_at_its_end() -> None:
    readout = _readout(batch([record(0), record(2)], base=5, last_delta=6), offset=6)
    assert next(readout).offset == 7
    assert readout.next_fetch_offset == 8
    assert list(readout) == []
    assert readout.next_fetch_offset == 12


def test_aborted_records_and_markers_are_passed_over_by_read_committed_and_read_by_others() -> None:
    data = _of(9, 0) + _of(4, 1) + _marker(9, 2, _ABORT) + _of(9, 3) + _marker(9, 4, _COMMIT) + _of(4, 5)
    committed = Readout(_TP, Fetched(data, 6), offset=0, aborted=[(9, 0), (4, 5)], batch_bytes=_BOUND)
    assert _outcome(committed) == [(1, ""), (3, "")]
    assert committed.next_fetch_offset == 6
    everything = Readout(_TP, Fetched(data, 6), offset=0, aborted=None, batch_bytes=_BOUND)
    assert _outcome(everything) == [(0, ""), (1, ""), (3, ""), (5, "")]


def test_an_aborted_bomb_is_no_loss() -> None:
    packed = bomb("zstd", 64 << 20)
    data = batch([], codec="zstd", packed=packed, count=3, producer_id=9, attributes=_APPEND_TIME | _TRANSACTIONAL)
    readout = Readout(_TP, Fetched(data, 3), offset=0, aborted=[(9, 0)], batch_bytes=_BOUND)
    assert _outcome(readout) == []
    assert readout.next_fetch_offset == 3


def test_many_batches_below_the_bound_are_not_all_unpacked_for_one_fetch() -> None:
    value = bytes(1 << 20)
    data = b"".join(batch([record(0, value)], base=number, codec="zstd") for number in range(40))
    readout = _readout(data, bound=1 << 22)
    found = _outcome(readout)
    assert found == [(number, "") for number in range(len(found))]
    assert len(found) == readout.next_fetch_offset == 4
    assert _outcome(_readout(data, offset=4, bound=1 << 22))[0] == (4, "")


def test_a_batch_that_does_not_fit_its_crc_ends_where_the_next_one_begins() -> None:
    # Its own head says anything: it would pass over the whole log.
    bad = batch([record(0), record(1)], base=5, last_delta=1 << 30, newest_ms=1 << 50)
    readout = _readout(bad + batch([record(0)], base=7), condemned=frozenset({5}))
    (lost,) = list(readout)
    assert isinstance(lost, UnreadableRecord)
    assert (lost.first_offset, lost.offset, lost.reason, lost.timestamp) == (5, 6, "batch-crc", -1)
    assert readout.next_fetch_offset == 7, "behind it a new fetch begins"
    assert _outcome(_readout(bad, condemned=frozenset({5}))) == [(999, "batch-crc")], "at most up to the log's end"
    again = batch([record(0), record(1)], base=5, last_delta=-9)
    assert _outcome(_readout(again, offset=6, condemned=frozenset({5}))) == [(6, "batch-crc")]


def test_a_batch_that_claims_to_lie_before_what_was_asked_for_is_not_fetched_for_ever() -> None:
    readout = _readout(batch([record(0)], base=5), offset=9)
    assert _outcome(readout) == [(9, "batch-format")]
    assert readout.next_fetch_offset == 10


class Client:
    """Answers everything with one response."""

    def __init__(self) -> None:
        self.response: Any = None

    async def send(self, _node_id: int, _request: Any, *, group: str = "") -> Any:  # noqa: ANN401
        assert group in {"", "coordination"}
        return self.response


class Assignment:
    """One partition, read from offset 0."""

    def __init__(self) -> None:
        self.active = True
        self.has_valid_position = True
        self.position = 0
        self.paused = False

    def state_value(self, _tp: TopicPartition) -> Assignment:
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


class FakeFetcher:
    """What aiokafka's fetcher does with a response, and nothing else."""

    def __init__(self, client: Client, assignment: Assignment) -> None:
        self._client = client
        self._assignment = assignment
        self._records: dict[TopicPartition, FetchResult] = {}

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:  # noqa: ANN401
        response = await self._client.send(node_id, request)
        for topic, partitions in response.topics:
            for partition, error, *_, aborted, records in partitions:
                if error or not records or assignment.position != 0:
                    return bool(error)
                tp = TopicPartition(topic, partition)
                theirs = PartitionRecords(tp, MemoryRecords(records), aborted, 0, None, None, False, 1)  # noqa: FBT003
                self._records[tp] = FetchResult(tp, partition_records=theirs, assignment=self._assignment, backoff=0)
        return True


class Consumer:
    """As much of aiokafka's consumer as a guard needs."""

    def __init__(self) -> None:
        self._client = Client()
        self._check_crcs = True
        self._isolation_level = "read_committed"
        self.assignment = Assignment()
        self._fetcher: Any = None

    async def start(self) -> None:
        self._fetcher = FakeFetcher(self._client, self.assignment)


_FETCH = FetchRequest(100, 1, 1_000_000, 1, [(_TP.topic, [(_TP.partition, 0, 1_000_000)])])


def _response(data: bytes, *, error: int = 0) -> FetchResponse_v4:
    return FetchResponse_v4(throttle_time_ms=0, topics=[(_TP.topic, [(_TP.partition, error, 9, 7, [], data)])])


async def _fetched(consumer: Any) -> list[tuple[int, str]]:  # noqa: ANN401
    await consumer._fetcher._proc_fetch_request(consumer.assignment, 0, _FETCH)
    found = consumer._fetcher._records[_TP].getall()
    return [(one.offset, one.reason if isinstance(one, UnreadableRecord) else "") for one in found]


def test_a_guarded_fetcher_hands_out_what_can_be_read_and_moves_its_position() -> None:
    async def scenario() -> None:
        consumer: Any = Consumer()
        guard(consumer, _BOUND)
        await consumer.start()
        bad_header = record(1, headers=[(b"\xff", b"x")])
        packed = bomb("gzip", 64 << 20)
        data = batch([record(0), bad_header, record(2)]) + batch([], codec="gzip", packed=packed, count=4, base=3)
        consumer._client.response = _response(data + batch([record(0)], base=7))
        expected = [(0, ""), (1, "headers"), (2, ""), (6, "batch-size"), (7, "")]
        assert await _fetched(consumer) == expected
        assert consumer.assignment.position == 8

    asyncio.run(scenario())


def test_a_batch_that_does_not_fit_its_crc_is_fetched_again_and_then_given_up() -> None:
    async def scenario() -> None:
        consumer: Any = Consumer()
        guard(consumer, _BOUND)
        await consumer.start()
        good = batch([record(0)]) + batch([record(0)], base=1)
        rotten = good[:-3] + bytes((good[-3] ^ 1,)) + good[-2:]
        consumer._client.response = _response(rotten)
        assert await consumer._client.send(0, MetadataRequest([])) is consumer._client.response
        for _ in range(2):
            with pytest.raises(CorruptRecordException, match=r"vigil\.texts/3: the batch at offset 1 does not fit"):
                await _fetched(consumer)
        assert await _fetched(consumer) == [(0, ""), (1, "batch-crc")]
        consumer.assignment.position = 0
        consumer._client.response = _response(good)
        assert await _fetched(consumer) == [(0, ""), (1, "")], "on the wire only"

    asyncio.run(scenario())


class Noted:
    """What a guard says of each fetch."""

    def __init__(self) -> None:
        self.fetches: list[tuple[dict[TopicPartition, Fetched], bool]] = []

    def __call__(self, accepted: Mapping[TopicPartition, Fetched], has_news: bool) -> None:  # noqa: FBT001
        self.fetches.append((dict(accepted), has_news))


def _moved(assignment: Assignment) -> None:
    assignment.position = 5


def _lost(assignment: Assignment) -> None:
    assignment.has_valid_position = False


def _revoked(assignment: Assignment) -> None:
    assignment.active = False


@pytest.mark.parametrize("meanwhile", [_moved, _lost, _revoked])
def test_an_answer_that_comes_after_a_seek_or_a_rebalance_is_not_told_of(
    meanwhile: Callable[[Assignment], None],
) -> None:
    async def scenario() -> None:
        consumer, noted = cast("Any", Consumer()), Noted()
        send = consumer._client.send

        async def send_meanwhile(*request: Any, **options: Any) -> Any:  # noqa: ANN401
            meanwhile(consumer.assignment)
            return await send(*request, **options)

        consumer._client.send = send_meanwhile
        guard(consumer, _BOUND, noted)
        await consumer.start()
        consumer._client.response = _response(batch([record(0)]))
        await consumer._fetcher._proc_fetch_request(consumer.assignment, 0, _FETCH)
        assert [accepted for accepted, _ in noted.fetches if accepted] == []

    asyncio.run(scenario())


def test_an_accepted_answer_is_told_of_with_the_time_before_its_request_was_sent() -> None:
    async def scenario() -> None:
        consumer, noted = cast("Any", Consumer()), Noted()
        sent: list[float] = []
        send = consumer._client.send

        async def send_and_look(*request: Any, **options: Any) -> Any:  # noqa: ANN401
            sent.append(time.monotonic())
            return await send(*request, **options)

        consumer._client.send = send_and_look
        guard(consumer, _BOUND, noted)
        await consumer.start()
        for data, error in ((b"", 0), (b"", 1), (batch([record(0)]), 0)):
            consumer._client.response = _response(data, error=error)
            await consumer._fetcher._proc_fetch_request(consumer.assignment, 0, _FETCH)
        (nothing, is_news), (refused, is_error_news), (something, _) = noted.fetches
        assert (nothing[_TP].records, nothing[_TP].stable_end, is_news) == (b"", 7, False)
        assert (refused, is_error_news) == ({}, True)
        assert something[_TP].records
        assert nothing[_TP].sent_at <= sent[0] <= nothing[_TP].received_at <= sent[1]
        assert sent[1] <= something[_TP].sent_at <= sent[2] <= something[_TP].received_at

    asyncio.run(scenario())


def test_an_answer_with_a_rotten_batch_is_told_of_only_once_it_is_given_up() -> None:
    async def scenario() -> None:
        consumer, noted = cast("Any", Consumer()), Noted()
        guard(consumer, _BOUND, noted)
        await consumer.start()
        good = batch([record(0)])
        consumer._client.response = _response(good[:-3] + bytes((good[-3] ^ 1,)) + good[-2:])
        for _ in range(2):
            with pytest.raises(CorruptRecordException):
                await _fetched(consumer)
        assert noted.fetches == []
        await _fetched(consumer)
        assert [accepted.keys() for accepted, _ in noted.fetches] == [{_TP}]

    asyncio.run(scenario())


def test_a_fetch_that_is_cancelled_does_not_cancel_who_waits_for_it() -> None:
    async def scenario() -> None:
        consumer: Any = Consumer()
        consumer._client.send = AsyncMock(side_effect=asyncio.CancelledError)
        guard(consumer, _BOUND)
        await consumer.start()
        assert await consumer._fetcher._proc_fetch_request(consumer.assignment, 0, _FETCH) is False

    asyncio.run(scenario())


def test_every_consumer_is_made_through_the_guard() -> None:
    root = Path(stream_app.__file__).parent
    makers = {
        str(path.relative_to(root)) for path in root.rglob("*.py") if re.search(r"AIOKafkaConsumer\(", path.read_text())
    }
    assert makers == {"adapters/kafka/guarding.py"}


def test_what_was_fetched_is_freed_when_it_is_read_or_dropped_and_not_when_the_collector_comes() -> None:
    async def scenario() -> None:
        consumer: Any = Consumer()
        guard(consumer, _BOUND)
        await consumer.start()
        consumer._client.response = _response(batch([record(0), record(1)]))
        await consumer._fetcher._proc_fetch_request(consumer.assignment, 0, _FETCH)
        result = consumer._fetcher._records.pop(_TP)
        dropped = weakref.ref(result._partition_records._reading)
        assert result.getone().offset == 0, "begun, not read to its end"
        del result
        assert dropped() is None

    gc.collect()
    gc.disable()
    try:
        asyncio.run(scenario())
        assert [one for one in gc.get_objects() if type(one) is PartitionRecords] == []
    finally:
        gc.enable()
