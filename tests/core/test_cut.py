"""Cut: results come in any order, decisions in sequence order; the cut never passes unfinished work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.cut import Cut, Entry, Position
from stream_app.core.types import Observation, Scored
from tests.core.drive import IN_FORCE
from tests.core.examples import examples


def entry(sequence: int, observations: int) -> Entry:
    return Entry.awaiting(
        Position(sequence, 0, 0, 0, 0, 0, 0, IN_FORCE),
        [Observation(sequence, index, "x", None, None) for index in range(observations)],
    )


def ready(cut: Cut) -> list[int]:
    return [one.position.sequence for one in cut.ready()]


def test_an_entry_waits_for_its_own_and_all_earlier_scores() -> None:
    cut = Cut()
    for sequence, observations in ((1, 1), (2, 0), (3, 2)):
        cut.push(entry(sequence, observations))
    assert cut.in_flight == 3
    cut.complete(Scored(3, 1, None))
    cut.complete(Scored(3, 0, None))
    assert ready(cut) == []
    cut.complete(Scored(1, 0, None))
    assert ready(cut) == [1, 2, 3]
    assert (len(cut), cut.in_flight) == (0, 0)


@pytest.mark.parametrize("stranger", [Scored(9, 0, None), Scored(1, 1, None), Scored(1, -1, None), Scored(2, 0, None)])
def test_scores_that_were_not_asked_for_are_an_error(stranger: Scored) -> None:
    cut = Cut()
    cut.push(entry(1, 1))
    cut.push(entry(2, 0))
    with pytest.raises(ValueError, match="is not in flight"):
        cut.complete(stranger)
    assert cut.in_flight == 1


def test_scores_that_come_twice_are_an_error() -> None:
    cut = Cut()
    cut.push(entry(1, 2))
    cut.complete(Scored(1, 0, None))
    with pytest.raises(ValueError, match=r"observation 1\.0 is not in flight"):
        cut.complete(Scored(1, 0, None))


@given(st.lists(st.integers(0, 3), max_size=8), st.randoms(use_true_random=False))
@examples(100)
def test_in_any_order_of_scores_entries_are_ready_in_sequence_order_and_never_before_they_are_finished(
    sizes: list[int], random: object
) -> None:
    cut = Cut()
    waiting = []
    for sequence, size in enumerate(sizes, start=1):
        cut.push(entry(sequence, size))
        waiting += [(sequence, index) for index in range(size)]
    random.shuffle(waiting)  # type: ignore[attr-defined]
    done = ready(cut)
    while waiting:
        cut.complete(Scored(*waiting.pop(), None))
        done += ready(cut)
        unfinished = min((sequence for sequence, _ in waiting), default=len(sizes) + 1)
        assert done == list(range(1, unfinished))
    assert done == list(range(1, len(sizes) + 1))
