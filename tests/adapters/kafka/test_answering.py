"""When the brokers stop answering it is said once, within five seconds, and once more when they are back."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition

from stream_app.adapters.kafka.answering import Answers, Confirmations
from stream_app.adapters.kafka.to_the_end import Polls
from tests.manual_clock import ManualClock


class Watcher:
    """Polls every half second; of which partition an answer comes is up to the scenario."""

    def __init__(self) -> None:
        self.clock = ManualClock(monotonic=0.0)
        self.said: list[tuple[float, str]] = []
        self.answers = Answers(lambda words: self.said.append((self.clock.monotonic(), words)), self.clock)
        self.marks: dict[object, int] = {0: 0, 1: 0}

    def poll(self, *heard: int, times: int = 1, takes_s: float = 0.5) -> None:
        for _ in range(times):
            began = self.clock.monotonic()
            self.clock.jump(takes_s)
            self.marks |= {place: self.marks[place] + 1 for place in heard}
            self.answers.polled(began, self.marks)


def test_a_quiet_topic_is_no_outage() -> None:
    watcher = Watcher()
    watcher.poll(0, 1, times=1_000)
    assert watcher.said == []


def test_silence_is_said_once_within_five_seconds_and_the_return_once() -> None:
    watcher = Watcher()
    watcher.poll(0, 1, times=4)
    watcher.poll(times=40)
    watcher.poll(0, 1, times=40)
    assert watcher.said == [
        (5.0, "the brokers have not answered for 3 s; waiting for them"),
        (22.5, "the brokers are back, after 20 s"),
    ]
    assert watcher.said[0][0] - 2.0 < 5.0


def test_one_silent_partition_of_two_is_an_outage_and_both_must_be_heard_of_again() -> None:
    watcher = Watcher()
    watcher.poll(0, 1)
    watcher.poll(0, times=10)
    watcher.poll(0, times=10)
    assert len(watcher.said) == 1
    watcher.poll(1)
    assert len(watcher.said) == 2


def test_an_outage_from_the_start_is_said_too() -> None:
    watcher = Watcher()
    watcher.poll(times=10)
    assert len(watcher.said) == 1


@pytest.mark.parametrize("pause_s", [60.0, 0.0])
def test_a_slow_reader_and_a_suspended_machine_are_no_outage(pause_s: float) -> None:
    watcher = Watcher()
    for _ in range(100):
        watcher.clock.jump(30.0)
        watcher.poll(takes_s=0.0)
    assert watcher.said == []
    watcher.poll(0, 1)
    watcher.poll(takes_s=pause_s)
    watcher.poll(0, 1)
    assert watcher.said == []


class _Client:
    """The part of a consumer that polls use: each poll takes half a second and brings nothing."""

    def __init__(self, clock: ManualClock, stamp: Callable[[TopicPartition], int | None]) -> None:
        self._clock = clock
        self._stamp = stamp

    async def getmany(self, *places: TopicPartition, timeout_ms: int) -> Mapping[TopicPartition, list[Any]]:
        assert places
        self._clock.jump(timeout_ms / 1_000)
        return {}

    def last_poll_timestamp(self, place: TopicPartition) -> int | None:
        return self._stamp(place)


def test_polls_of_a_consumer_are_told_by_its_marks_of_the_last_answer() -> None:
    clock, said = ManualClock(monotonic=0.0), list[str]()
    has_answers = True
    client = _Client(clock, lambda _: int(clock.monotonic() * 1_000) if has_answers else 7)

    async def poll(times: int) -> None:
        for _ in range(times):
            await polls.poll([TopicPartition("alerts", 0)])

    polls = Polls(client, said.append, clock)
    asyncio.run(poll(100))
    assert said == []
    has_answers = False
    asyncio.run(poll(9))
    assert len(said) == 1


def test_unconfirmed_records_are_said_once_and_the_return_once() -> None:
    async def scenario() -> list[tuple[float, str]]:
        clock = ManualClock(monotonic=0.0)
        said: list[tuple[float, str]] = []
        confirmations = Confirmations(lambda words: said.append((clock.monotonic(), words)), clock)
        watching = asyncio.create_task(confirmations.watch())
        await asyncio.sleep(0)
        await clock.advance(100)
        assert said == []  # nothing is on its way
        for _ in range(20):
            confirmations.sent()
            await clock.advance(2)
            confirmations.done(is_confirmed=True)
        assert said == []
        confirmations.sent()
        confirmations.sent()
        await clock.advance(60)
        confirmations.done(is_confirmed=False)
        await clock.advance(1)
        confirmations.done(is_confirmed=True)
        watching.cancel()
        return said

    said = asyncio.run(scenario())
    assert [(moment - 140, words) for moment, words in said] == [
        (3.0, "the brokers have not confirmed anything for 3 s; waiting for them"),
        (61.0, "the brokers are back, after 61 s"),
    ]
