"""Reading to the end of a topic ends there, whatever lies before the end, and says why where it cannot."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from stream_app.adapters.kafka.to_the_end import (
    SILENCE_S,
    EndNotReachedError,
    TopicMissingError,
    assign_all,
    read_to_the_end,
    read_topic,
)
from stream_app.adapters.kafka.unpacking import UnreadableRecord
from tests.manual_clock import ManualClock

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)


class Found(msgspec.Struct):
    """A record, as far as a reader to the end looks at it."""

    offset: int


class Log:
    """A consumer of a topic: each poll brings the next batch of a partition, and moves its position where that says."""

    def __init__(self, clock: ManualClock, batches: list[tuple[TopicPartition, list[Any], int]]) -> None:
        self.clock = clock
        self.batches = batches
        self.positions = {FIRST: 0, SECOND: 0}
        self.answers = True
        self.knows_positions = True
        self.polled: list[tuple[TopicPartition, ...]] = []
        self.known_after_s = 0.0
        self.assigned: list[TopicPartition] = []
        self.end = 2

    async def position(self, place: TopicPartition) -> int:
        if not self.knows_positions:
            await asyncio.Event().wait()
        return self.positions[place]

    async def getmany(self, *places: TopicPartition, timeout_ms: int) -> Mapping[TopicPartition, list[Any]]:
        self.polled.append(places)
        if not self.batches:
            self.clock.jump(timeout_ms / 1_000)
            return {}
        place, records, self.positions[place] = self.batches.pop(0)
        return {place: records} if records else {}

    def last_poll_timestamp(self, _place: TopicPartition) -> int:
        return int(self.clock.monotonic() * 1_000) if self.answers else 7

    async def topics(self) -> set[str]:
        return {"t"}

    def subscribe(self, _topics: list[str]) -> None:
        self.known_after_s += self.clock.monotonic()

    def unsubscribe(self) -> None:
        """Nothing is subscribed to."""

    def partitions_for_topic(self, _topic: str) -> set[int] | None:
        self.clock.jump(0.5)
        return {1, 0} if self.clock.monotonic() > self.known_after_s else None

    def assign(self, places: list[TopicPartition]) -> None:
        self.assigned = places

    async def seek_to_beginning(self, *places: TopicPartition) -> None:
        assert list(places) == self.assigned

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, self.end)


def log(*batches: tuple[TopicPartition, list[Any], int]) -> Log:
    return Log(ManualClock(monotonic=0.0), list(batches))


async def read(client: Log, ends: Mapping[TopicPartition, int], *, takes_s: float = 0.0) -> list[Any]:
    found: list[Any] = []
    async for record in read_to_the_end(client, ends, clock=client.clock):
        client.clock.jump(takes_s)
        found.append(record)
    return found


def test_it_ends_at_the_ends_and_hands_out_nothing_behind_them() -> None:
    client = log((FIRST, [Found(0), Found(1)], 2), (SECOND, [Found(4), Found(5), Found(6)], 7))
    assert [record.offset for record in asyncio.run(read(client, {FIRST: 2, SECOND: 6}))] == [0, 1, 4, 5]
    assert client.polled == [(FIRST, SECOND), (SECOND,)]


def test_markers_and_aborted_records_before_the_end_are_passed() -> None:
    client = log((FIRST, [Found(0)], 1), (FIRST, [], 5))
    assert [record.offset for record in asyncio.run(read(client, {FIRST: 5}))] == [0]


def test_an_empty_topic_is_not_polled() -> None:
    client = log()
    assert asyncio.run(read(client, {FIRST: 0, SECOND: 0})) == []
    assert client.polled == []


def test_what_no_client_can_read_comes_in_its_place() -> None:
    lost = UnreadableRecord(offset=1, first_offset=1, timestamp=5, reason="record", detail="", topic="t", partition=0)
    assert asyncio.run(read(log((FIRST, [Found(0), lost, Found(2)], 3)), {FIRST: 3})) == [Found(0), lost, Found(2)]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (False, "the brokers have stopped answering: nothing for 20 s"),
        (True, "t/0: nothing came below offset 2 for 20 s although the brokers answer: a transaction is open there"),
    ],
)
def test_silence_before_the_end_is_an_error_that_tells_dead_brokers_from_an_open_transaction(
    *, answers: bool, message: str
) -> None:
    client = log((FIRST, [Found(0)], 1))
    client.answers = answers
    with pytest.raises(EndNotReachedError, match=message):
        asyncio.run(read(client, {FIRST: 2}))
    assert SILENCE_S < client.clock.monotonic() < SILENCE_S + 1


def test_a_position_that_no_broker_tells_is_not_waited_for_without_end() -> None:
    """The client asks for ever where a position is not known: behind `seek_to_beginning`, or once retention took it."""
    client = log((FIRST, [Found(0)], 1))
    client.knows_positions = False
    with pytest.raises(EndNotReachedError, match="the brokers have stopped answering: nothing for 20 s"):
        asyncio.run(_with_time(client.clock, read(client, {FIRST: 2})))
    assert SILENCE_S <= client.clock.monotonic() < SILENCE_S + 1


def test_a_reader_that_takes_its_time_is_no_silence() -> None:
    client = log(*((FIRST, [Found(number)], number + 1) for number in range(5)), (FIRST, [], 5), (FIRST, [], 6))
    assert len(asyncio.run(read(client, {FIRST: 6}, takes_s=3 * SILENCE_S))) == 5


def test_a_topic_is_read_whole_once_its_partitions_are_known() -> None:
    client = log((SECOND, [Found(0), Found(1)], 2), (FIRST, [Found(0)], 2))
    client.known_after_s = 3.0

    async def whole() -> list[int]:
        return [record.offset async for record in read_topic(client, "t", clock=client.clock)]

    reading = _with_time(client.clock, whole())
    assert asyncio.run(reading) == [0, 1, 0]
    assert client.assigned == [FIRST, SECOND]


def test_what_a_commit_has_not_yet_been_shown_to_readers_is_waited_for_where_another_is_asked_for_the_ends() -> None:
    client, asker = log((FIRST, [Found(0)], 2), (FIRST, [Found(2)], 4), (SECOND, [], 4)), log()
    client.known_after_s, asker.end = 3.0, 4

    async def whole() -> list[int]:
        return [record.offset async for record in read_topic(client, "t", asker=asker, clock=client.clock)]

    assert asyncio.run(_with_time(client.clock, whole())) == [0, 2]


def test_a_topic_that_is_not_there_is_not_asked_for_by_name_and_one_that_stays_unknown_is_missing() -> None:
    client = log()
    with pytest.raises(TopicMissingError, match="expected the topic other, found none"):
        asyncio.run(assign_all(client, "other", clock=client.clock))
    client.known_after_s = 100.0
    with pytest.raises(TopicMissingError, match="expected the topic t, found none"):
        asyncio.run(_with_time(client.clock, assign_all(client, "t", clock=client.clock)))


async def _with_time(clock: ManualClock, work: Any) -> Any:  # noqa: ANN401 - any coroutine
    job = asyncio.ensure_future(work)
    for _ in range(1_000):
        if job.done():
            return await job
        await clock.advance(0.1)
    job.cancel()
    message = "a hundred seconds passed, and it has not ended"
    raise AssertionError(message)
