"""Several partitions are read merged by append time, up to one set of ends after the other, and nothing is lost."""

import asyncio
from collections.abc import Mapping

import msgspec
import pytest
from aiokafka import TopicPartition

from stream_app.adapters.kafka.by_time import ByTime
from stream_app.adapters.kafka.to_the_end import EndNotReachedError
from tests.adapters.kafka.test_to_the_end import FIRST, SECOND, Log, log


class Found(msgspec.Struct):
    """A record, as far as a reader by time looks at it."""

    offset: int
    timestamp: int


def _by_time(client: Log, *rounds: Mapping[TopicPartition, int]) -> list[tuple[int, int]]:
    async def whole() -> list[tuple[int, int]]:
        reader = ByTime(client, clock=client.clock)
        found = [record for ends in rounds async for record in reader.up_to(ends)]
        return [(record.timestamp, record.offset) for record in found]

    return asyncio.run(whole())


def test_partitions_are_merged_by_time_and_none_is_read_ahead_of_another() -> None:
    client = log(
        (FIRST, [Found(0, 10), Found(1, 30)], 2),
        (SECOND, [Found(0, 20), Found(1, 40)], 2),
        (FIRST, [Found(2, 50), Found(3, 60)], 4),
    )
    assert _by_time(client, {FIRST: 3, SECOND: 2}) == [(10, 0), (20, 0), (30, 1), (40, 1), (50, 2)]
    assert client.polled == [(FIRST, SECOND), (SECOND,), (FIRST,)]


def test_a_time_that_runs_back_does_not_change_the_order_of_a_partition() -> None:
    client = log((FIRST, [Found(0, 30), Found(1, 10), Found(2, 40)], 3), (SECOND, [Found(0, 20), Found(1, 35)], 2))
    assert _by_time(client, {FIRST: 3, SECOND: 2}) == [(20, 0), (30, 0), (10, 1), (35, 1), (40, 2)]


def test_what_was_fetched_behind_the_ends_comes_with_the_next_ones() -> None:
    client = log((FIRST, [Found(0, 10), Found(1, 20), Found(2, 30)], 3), (SECOND, [Found(0, 15), Found(1, 25)], 2))
    assert _by_time(client, {FIRST: 2, SECOND: 1}) == [(10, 0), (15, 0), (20, 1)]
    client = log((FIRST, [Found(0, 10), Found(1, 20), Found(2, 30)], 3), (SECOND, [Found(0, 15), Found(1, 25)], 2))
    two = ({FIRST: 2, SECOND: 1}, {FIRST: 3, SECOND: 2})
    assert _by_time(client, *two) == [(10, 0), (15, 0), (20, 1), (25, 1), (30, 2)]


def test_a_partition_that_is_silent_before_its_end_holds_all_others_until_that_is_an_error() -> None:
    client = log((FIRST, [Found(0, 10)], 1), (SECOND, [], 1))
    with pytest.raises(EndNotReachedError, match="t/1: nothing came below offset 2"):
        _by_time(client, {FIRST: 1, SECOND: 2})
