"""Merge: two sides become one order by append time; a side that is not caught up and has nothing is waited for."""

from __future__ import annotations

import pytest

from stream_app.config import Operational
from stream_app.core.merge import Merge
from stream_app.core.settings import Limits
from stream_app.core.types import Record, Refused, Side
from tests.core.drive import Raw

TEXT, FRAME = Side.TEXT, Side.FRAME


def record(side: Side, offset: int, append_ms: int, size: int) -> Record:
    return Record(side, offset, append_ms, append_ms, "x", size=size)


def raw(offset: int, append_ms: int) -> Raw:
    return Raw(offset, append_ms, b"x", b"")


def offer(merge: Merge, side: Side, *appends: int, size: int = 10) -> None:
    merge.offer(side, [(record(side, offset, at, size), raw(offset, at)) for offset, at in enumerate(appends)])


def order(merge: Merge) -> list[tuple[Side, int]]:
    taken = []
    while (first := merge.next()) is not None:
        taken.append((first[0].side, first[1].offset))
    return taken


@pytest.mark.parametrize(
    ("rule", "texts", "frames", "expected"),
    [
        ("the lower append time first", [5, 9], [1, 7], [(FRAME, 0), (TEXT, 0), (FRAME, 1), (TEXT, 1)]),
        ("ties text first", [5], [5], [(TEXT, 0), (FRAME, 0)]),
        ("then offset", [5, 5], [5, 5], [(TEXT, 0), (TEXT, 1), (FRAME, 0), (FRAME, 1)]),
        ("never out of a side's offset order", [9, 1], [5], [(FRAME, 0), (TEXT, 0), (TEXT, 1)]),
    ],
)
def test_the_merged_order(rule: str, texts: list[int], frames: list[int], expected: list[tuple[Side, int]]) -> None:
    merge = Merge(Operational().limits)
    for side in Side:
        merge.set_caught_up(side, True)  # noqa: FBT003 - the claim is the argument
    offer(merge, TEXT, *texts)
    offer(merge, FRAME, *frames)
    assert order(merge) == expected, rule


@pytest.mark.parametrize("waited_for", list(Side))
def test_a_side_that_is_not_caught_up_and_has_nothing_is_waited_for(waited_for: Side) -> None:
    merge = Merge(Operational().limits)
    other = Side(1 - waited_for)
    merge.set_caught_up(other, True)  # noqa: FBT003
    offer(merge, other, 1, 2)
    assert order(merge) == []
    offer(merge, waited_for, 2)
    assert (other, 0) in order(merge)
    merge.set_caught_up(waited_for, True)  # noqa: FBT003
    order(merge)
    assert merge.is_idle


def test_a_side_that_falls_behind_again_is_waited_for_again() -> None:
    merge = Merge(Operational().limits)
    assert merge.set_caught_up(TEXT, True)  # noqa: FBT003
    assert not merge.set_caught_up(TEXT, True)  # noqa: FBT003 - no news
    assert merge.set_caught_up(TEXT, False)  # noqa: FBT003
    offer(merge, FRAME, 1)
    assert order(merge) == []


def test_it_is_idle_only_when_both_sides_are_caught_up_and_nothing_is_queued() -> None:
    merge = Merge(Operational().limits)
    found = [merge.is_idle]
    for side in Side:
        merge.set_caught_up(side, True)  # noqa: FBT003
        found.append(merge.is_idle)
    offer(merge, TEXT, 1)
    assert [*found, merge.is_idle] == [False, False, True, False]


@pytest.mark.parametrize(
    ("limits", "full_at"), [(Operational(queue_bytes=25).limits, 3), (Operational(queue_records=2).limits, 2)]
)
def test_a_queue_is_full_at_its_bound_of_bytes_or_records_and_the_other_side_is_not(
    limits: Limits, full_at: int
) -> None:
    merge = Merge(limits)
    for number in range(1, full_at + 1):
        assert not merge.is_full(TEXT)
        offer(merge, TEXT, number)
    assert merge.is_full(TEXT)
    assert not merge.is_full(FRAME)
    merge.set_caught_up(FRAME, True)  # noqa: FBT003 - the claim is the argument
    assert merge.next() is not None
    assert not merge.is_full(TEXT), "a record that left has given its room back"


def test_an_empty_queue_is_never_full_so_a_side_that_is_waited_for_is_never_paused() -> None:
    merge = Merge(Operational(queue_bytes=0, queue_records=0).limits)
    assert not any(merge.is_full(side) for side in Side)


def test_a_refused_record_takes_its_place_in_the_order() -> None:
    merge = Merge(Operational().limits)
    merge.set_caught_up(TEXT, True)  # noqa: FBT003
    merge.set_caught_up(FRAME, True)  # noqa: FBT003
    merge.offer(FRAME, [(Refused(FRAME, 0, 5, "empty"), raw(0, 5))])
    offer(merge, TEXT, 4, 6)
    assert order(merge) == [(TEXT, 0), (FRAME, 0), (TEXT, 1)]


def test_what_is_queued_is_admitted_again_where_other_rules_come_into_force() -> None:
    merge = Merge(Operational(queue_bytes=100).limits)
    offer(merge, TEXT, 1, 2, size=60)
    offer(merge, FRAME, 3, size=60)
    assert merge.is_full(TEXT)
    merge.admit_again(lambda side, raw: Refused(side, raw.offset, raw.timestamp, "too-large", size=10))
    assert not merge.is_full(TEXT)
    for side in Side:
        merge.set_caught_up(side, True)  # noqa: FBT003
    found = [merge.next() for _ in range(3)]
    assert [(one.side, one.offset, one.append_ms) for one, _ in filter(None, found) if isinstance(one, Refused)] == [
        (TEXT, 0, 1), (TEXT, 1, 2), (FRAME, 0, 3),
    ]  # fmt: skip


@pytest.mark.parametrize("side", list(Side))
def test_every_byte_of_a_queue_is_there_for_records(side: Side) -> None:
    merge = Merge(Operational(queue_bytes=20).limits)
    offer(merge, side, 1, size=19)
    assert not merge.is_full(side)
    offer(merge, side, 2, size=1)
    assert merge.is_full(side)
