"""What is the same incident, what moved, what is new; and how much of it wakes somebody."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.replay.compare import KINDS, Watch, compare, load, match_all
from stream_app.replay.incidents import Incident
from tests.core.drive import T0
from tests.replay.incidents_of import incident

WATCH = Watch(length_ms=3_600_000)
ONE = incident(7, 1_000, 5_000)


def kinds(before: list[Incident], after: list[Incident]) -> list[str]:
    return [match.kind for match in match_all(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ([ONE], [ONE], ["same"]),
        ([ONE], [], ["vanished"]),
        ([], [ONE], ["appeared"]),
        ([ONE], [incident(7, 1_000, 5_001)], ["moved"]),
        ([ONE], [incident(7, 1_000, 5_000, score=0.8999)], ["rescored"]),
        # Another text opened it, but the times meet, if only in a moment.
        ([ONE], [incident(8, 5_000, 9_000)], ["moved"]),
        ([ONE], [incident(8, 5_001, 9_000)], ["vanished", "appeared"]),
        # Another zone or label is another incident.
        ([ONE], [incident(7, 1_000, 5_000, zone="gate")], ["vanished", "appeared"]),
        ([ONE], [incident(7, 1_000, 5_000, label="leak")], ["vanished", "appeared"]),
        # One that became of two: it is matched once, with the one that it has most of.
        ([incident(1, 0, 1_000), incident(2, 900, 5_000)], [incident(2, 900, 6_000)], ["vanished", "moved"]),
        ([incident(1, 0, 1_000)], [incident(2, 900, 5_000), incident(3, 100, 800)], ["moved", "appeared"]),
    ],
)
def test_incidents_are_matched(before: list[Incident], after: list[Incident], found: list[str]) -> None:
    assert sorted(kinds(before, after)) == sorted(found)


def test_who_opened_it_counts_for_more_than_who_overlaps() -> None:
    after = [incident(7, 4_000, 4_500), incident(9, 1_000, 5_000)]
    # The opening record is the same record at the same time, of whatever the incident then spans.
    after[0] = msgspec.structs.replace(after[0], opening=ONE.opening)
    (moved,) = [match for match in match_all([ONE], after) if match.kind == "moved"]
    assert moved.after == after[0]


_INCIDENTS = st.lists(
    st.builds(
        lambda opener, start, length, zone, score: incident(opener, start, start + length, zone=zone, score=score),
        st.integers(0, 6),
        st.integers(0, 40),
        st.integers(0, 20),
        st.sampled_from(("dock", "gate")),
        st.sampled_from((0.8, 0.9)),
    ),
    max_size=8,
    unique_by=lambda one: one.id,
)


@given(before=_INCIDENTS, after=_INCIDENTS)
def test_every_incident_of_either_side_is_in_one_match(before: list[Incident], after: list[Incident]) -> None:
    matches = match_all(before, after)
    assert sorted(m.before.id for m in matches if m.before) == sorted(one.id for one in before)
    assert sorted(m.after.id for m in matches if m.after) == sorted(one.id for one in after)
    comparison = compare(before, after, WATCH)
    assert sum(row.before for row in comparison.rows) == len(before)
    assert sum(row.after for row in comparison.rows) == len(after)
    assert sum(getattr(row, kind) for row in comparison.rows for kind in KINDS) == len(matches)


@given(side=_INCIDENTS)
def test_nothing_differs_from_itself(side: list[Incident]) -> None:
    assert compare(side, side, WATCH).differing == ()


def test_the_load_is_the_worst_ten_minutes_and_the_mean_per_operator() -> None:
    starts = [0, 599_999, 600_000, 1_100_000, 2_000_000]
    side = [incident(number, start, start) for number, start in enumerate(starts)]
    assert (load(side, WATCH).peak, load(side, WATCH).mean) == (3, 0.83)
    assert load(side, Watch(length_ms=3_600_000, operators=2)).peak == 1.5
    # A recording that is shorter than ten minutes is not blown up to them.
    assert load(side[:1], Watch(length_ms=60_000)).mean == 1
    assert load([], WATCH).peak == 0


def test_differences_come_in_order_of_time() -> None:
    before = [incident(1, 9_000, 9_100), incident(2, 10, 20, zone="gate")]
    after = [incident(3, 4_000, 4_100)]
    assert [match.either.start_ms - T0 for match in compare(before, after, WATCH).differing] == [10, 4_000, 9_000]
