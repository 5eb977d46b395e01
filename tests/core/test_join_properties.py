"""The join against brute force, over random windows, records and orders of arrival."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.at_cut import AtCut
from stream_app.core.checkpoint import NO_RECORD_MS
from stream_app.core.join import NEVER, Held, Join, Pair
from stream_app.core.marks import MATCHED, each
from stream_app.core.seen import Seen
from stream_app.core.settings import How, Semantic
from stream_app.core.types import Record, Side, time_bound
from tests.core.drive_join import END_MS, join_settings
from tests.core.examples import examples
from tests.core.reference import Result, SlowJoin, all_pairs, all_unmatched, emits, within_grace

_HOWS: tuple[How, ...] = ("right", "inner", "left", "outer")


@st.composite
def windows(draw: st.DrawFn) -> Semantic:
    """Any window that the settings allow: one bound may be negative."""
    before_ms = draw(st.integers(-6, 8))
    after_ms = draw(st.integers(max(-6, -before_ms), 8))
    return join_settings(before_ms, after_ms, draw(st.integers(0, 6)), draw(st.sampled_from(_HOWS)))


class Arrival(NamedTuple):
    """A record, or with None a tick, and what it moves stream time to."""

    record: Record | None
    to_ms: int


_SHAPES = st.lists(
    st.tuples(st.sampled_from(Side), st.integers(0, 30), st.integers(-3, 9), st.sampled_from("xxy")), max_size=14
)


def _records(shapes: list[tuple[Side, int, int, str]]) -> list[Record]:
    """Make records with offsets counted per side; event time may lie before or (a fast clock) after append time."""
    offsets = [0, 0]
    records = []
    for side, event_ms, delay_ms, zone in shapes:
        records.append(Record(side, offsets[side], event_ms + delay_ms, event_ms, zone, camera="c"))
        offsets[side] += 1
    return records


def _outputs(arrivals: list[Arrival], settings: Semantic) -> tuple[list[list[Result]], list[bool], Join]:
    join = Join(settings, NO_RECORD_MS)
    steps: list[list[Result]] = []
    late: list[bool] = []
    for sequence, (record, to_ms) in enumerate(arrivals, start=1):
        if record is None:
            unmatched = join.tick(sequence, to_ms)
            pairs: list[Pair] = []
        else:
            held = Held(record, sequence, sample_ms=1)
            unmatched, pairs = join.admit(held, to_ms)
            late.append(held.is_late)
        steps.append(
            [
                (one.record.offset, None) if one.record.side is Side.TEXT else (None, one.record.offset)
                for one in unmatched
            ]
            + [(text.record.offset, frame.record.offset) for text, frame in pairs]
        )
    return steps, late, join


@given(windows(), _SHAPES, st.integers(0, 1 << 32), st.lists(st.integers(0, 40), max_size=4))
@examples(400)
def test_whatever_arrives_each_step_puts_out_what_the_five_steps_of_the_design_put_out(
    settings: Semantic, shapes: list[tuple[Side, int, int, str]], seed: int, ticks: list[int]
) -> None:
    arrivals = [Arrival(record, time_bound(record.event_ms, record.append_ms)) for record in _records(shapes)]
    random = Random(seed)
    for to_ms in ticks:
        arrivals.insert(random.randint(0, len(arrivals)), Arrival(None, to_ms))
    steps, late, _ = _outputs(arrivals, settings)
    slow = SlowJoin(settings, NO_RECORD_MS)
    expected_late = []
    for (record, to_ms), found in zip(arrivals, steps, strict=True):
        assert found == (slow.tick(to_ms) if record is None else slow.admit(record, to_ms))
        if record is not None:
            expected_late.append(slow.is_late(record))
    assert late == expected_late


@given(windows(), _SHAPES, st.integers(0, 1 << 32))
@examples(400)
def test_within_grace_pairs_and_unmatched_equal_brute_force_whatever_the_interleaving(
    settings: Semantic, shapes: list[tuple[Side, int, int, str]], seed: int
) -> None:
    records = _within_grace(_records(shapes), settings, Random(seed))
    arrivals = [Arrival(record, time_bound(record.event_ms, record.append_ms)) for record in records]
    assert within_grace(((record, to_ms) for record, to_ms in arrivals if record is not None), settings, NO_RECORD_MS)
    steps, late, _ = _outputs([*arrivals, Arrival(None, END_MS)], settings)
    results = [result for step in steps for result in step]
    assert len(results) == len(set(results))
    assert {result for result in results if None not in result} == all_pairs(records, settings)
    assert {result for result in results if None in result} == all_unmatched(records, settings)
    reaches = (settings.before_ms, settings.after_ms)
    if min(reaches) >= 0:
        assert not any(late)


def _within_grace(records: list[Record], settings: Semantic, random: Random) -> list[Record]:
    """Take records in random order as long as none lies more than grace behind the stream time of those before it."""
    waiting, taken, now = list(records), [], NO_RECORD_MS
    while waiting:
        allowed = [
            one
            for one in waiting
            if all(
                other.event_ms >= max(now, time_bound(one.event_ms, one.append_ms)) - settings.grace_ms
                for other in waiting
            )
        ]
        if not allowed:  # what is left cannot come within grace: leave the oldest out
            waiting.remove(min(waiting, key=lambda one: one.event_ms))
            continue
        one = random.choice(allowed)
        waiting.remove(one)
        taken.append(one)
        now = max(now, time_bound(one.event_ms, one.append_ms))
    return taken


@given(windows(), _SHAPES, st.lists(st.integers(0, 40), max_size=4))
@examples(300)
def test_no_record_is_both_unmatched_and_paired_no_pair_comes_twice_and_every_emitting_record_gets_a_result(
    settings: Semantic, shapes: list[tuple[Side, int, int, str]], ticks: list[int]
) -> None:
    records = _records(shapes)
    arrivals = [Arrival(record, time_bound(record.event_ms, record.append_ms)) for record in records]
    arrivals += [Arrival(None, to_ms) for to_ms in (*ticks, END_MS)]
    steps, _, join = _outputs(arrivals, settings)
    results = [result for step in steps for result in step]
    assert len(results) == len(set(results))
    for side in Side:
        alone = {one[side] for one in results if one[1 - side] is None}
        paired = {one[side] for one in results if None not in one}
        assert alone.isdisjoint(paired)
        offsets = {record.offset for record in records if record.side is side}
        if emits(side, settings):
            assert alone | paired == offsets
        else:
            assert not alone
    assert not join.held


@given(windows(), _SHAPES, st.data())
@examples(200)
def test_the_window_at_the_cut_is_the_window_as_it_was_then_wherever_the_cut_goes(
    settings: Semantic, shapes: list[tuple[Side, int, int, str]], data: st.DataObject
) -> None:
    at_cut, seen = AtCut(None), Seen()
    join = Join(settings, NO_RECORD_MS, at_cut.changed)
    slow = SlowJoin(settings, NO_RECORD_MS)
    windows_then: list[set[tuple[Side, int, bool]]] = [set()]
    cut = 0
    for sequence, record in enumerate(_records(shapes), start=1):
        to_ms = time_bound(record.event_ms, record.append_ms)
        held = Held(record, sequence, sample_ms=1)
        join.admit(held, to_ms)
        if held.gone == NEVER:
            at_cut.changed.append((sequence, held))
        slow.admit(record, to_ms)
        windows_then.append({(*one.ref, one.ref in slow.met) for one in slow.held})
        cut = data.draw(st.integers(cut, sequence))
        for left in join.forget(cut):
            at_cut.leave(left, seen)
        at_cut.follow(cut, seen, ())
        found = {
            (side, offset, bool(mark & MATCHED)) for side in Side for offset, mark in each(at_cut.marks[side].runs())
        }
        assert found == windows_then[cut]
        assert sorted(at_cut.texts) == sorted(offset for side, offset, _ in found if side is Side.TEXT)
