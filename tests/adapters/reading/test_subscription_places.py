"""Where a subscriber of a group reads, and how far it says that it has handled, as members come and go."""

import asyncio

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from stream_app.adapters.reading.subscription import _Places

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)


class Record(msgspec.Struct):
    """A record, as far as places are concerned."""

    partition: int
    offset: int = 7
    topic: str = "t"


class Group:
    """A consumer in a group: what is assigned, committed and there, and what it was told."""

    def __init__(self, *assigned: TopicPartition, committed: dict[TopicPartition, int] | None = None) -> None:
        self.assigned = set(assigned)
        self.offsets = committed or {}
        self.seeks: list[tuple[TopicPartition, int]] = []
        self.commits: list[dict[TopicPartition, int]] = []
        self.is_rebalancing = False

    def assignment(self) -> set[TopicPartition]:
        return set(self.assigned)

    async def committed(self, place: TopicPartition) -> int | None:
        return self.offsets.get(place)

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 2)

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 9)

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.is_rebalancing:
            raise CommitFailedError
        self.commits.append(offsets)
        self.offsets |= offsets

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.seeks.append((place, offset))


def places_of(group: Group, *, from_beginning: bool = False) -> _Places:
    return _Places(group, is_shared=True, from_beginning=from_beginning)


def test_a_group_without_a_position_gets_one_before_it_reads_and_one_with_a_position_keeps_it() -> None:
    async def whole(*, from_beginning: bool) -> Group:
        group = Group(FIRST, SECOND, committed={SECOND: 5})
        places = places_of(group, from_beginning=from_beginning)
        await places.pin()
        await places.pin()
        return group

    for from_beginning, begin in ((True, 2), (False, 9)):
        group = asyncio.run(whole(from_beginning=from_beginning))
        assert group.commits == [{FIRST: begin}]
        assert sorted(group.seeks) == [(FIRST, begin), (SECOND, 5)]


def test_only_records_of_partitions_that_are_assigned_and_have_a_position_are_handed_out() -> None:
    async def whole() -> None:
        group = Group(FIRST)
        places = places_of(group)
        await places.pin()
        group.assigned = {FIRST, SECOND}
        assert [places.holds(Record(partition)) for partition in (0, 1)] == [True, False], "it has no position yet"
        await places.pin()
        assert places.holds(Record(1))
        group.assigned = {SECOND}
        assert [places.holds(Record(partition)) for partition in (0, 1)] == [False, True], "another member reads it now"
        await places.pin()
        group.assigned, group.offsets[FIRST] = {FIRST, SECOND}, 12
        await places.pin()
        assert group.seeks[-1] == (FIRST, 12), "back again, it goes on where the other member stood"

    asyncio.run(whole())


def test_a_position_that_cannot_be_committed_in_a_rebalance_is_asked_for_again() -> None:
    async def whole() -> None:
        group = Group(FIRST)
        places = places_of(group)
        group.is_rebalancing = True
        await places.pin()
        assert not places.holds(Record(0))
        group.is_rebalancing = False
        await places.pin()
        assert places.holds(Record(0))

    asyncio.run(whole())


def test_what_nobody_wanted_is_passed_too_and_what_was_passed_is_committed_once() -> None:
    async def whole() -> list[dict[TopicPartition, int]]:
        group = Group(FIRST, SECOND, committed={FIRST: 0, SECOND: 0})
        places = places_of(group)
        await places.pin()
        places.passed(Record(0, 4))
        places.passed(Record(1, 6))
        await places.commit()
        await places.commit()
        await places.handled(Record(0, 5))
        group.is_rebalancing = True
        await places.handled(Record(0, 6))
        return group.commits

    assert asyncio.run(whole()) == [{FIRST: 5, SECOND: 7}, {FIRST: 6}]


def test_without_a_group_nothing_is_committed() -> None:
    async def whole() -> list[dict[TopicPartition, int]]:
        group = Group(FIRST)
        places = _Places(group, is_shared=False, from_beginning=False)
        await places.pin()
        await places.handled(Record(0))
        return group.commits

    assert asyncio.run(whole()) == []
