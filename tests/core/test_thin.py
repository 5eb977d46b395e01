"""Thin: of all pairs those worth scoring; the lowest offset per text, camera and bucket."""

from __future__ import annotations

import pytest

from stream_app.core.join import Held
from stream_app.core.settings import Semantic
from stream_app.core.thin import MAX_LEVEL, MAX_SAMPLED, Thin
from stream_app.core.types import Record, Side

HOUR_MS = 3_600_000


def frame(offset: int, event_ms: int, *, camera: str = "c1", zone: str = "x") -> Held:
    return Held(Record(Side.FRAME, offset, event_ms, event_ms, zone, camera), offset + 1)


def text(offset: int = 0, *, sample_ms: int = 1_000) -> Held:
    return Held(Record(Side.TEXT, offset, 0, 0, "x"), 1, sample_ms=sample_ms)


def test_one_pair_per_bucket_of_frame_time_the_first_that_comes_which_is_the_lowest_offset() -> None:
    thin, alarm = Thin(Semantic(sample_ms=1_000)), text()
    times = [0, 500, 999, 1_000, 1_999, -1, -1_000, 400]
    kept = [time for offset, time in enumerate(times) if thin.keeps_pair(alarm, frame(offset, time), offset + 1)]
    assert kept == [0, 1_000, -1]


def test_texts_and_cameras_do_not_thin_each_other() -> None:
    thin, one, other = Thin(Semantic()), text(1), text(2)
    assert all(thin.keeps_pair(alarm, frame(0, 0, camera=camera), 1) for alarm in (one, other) for camera in ("a", "b"))
    assert not thin.keeps_pair(one, frame(1, 0, camera="a"), 2)


def test_sample_ms_doubles_with_each_level_and_a_text_keeps_what_it_was_admitted_with() -> None:
    thin = Thin(Semantic(sample_ms=1_000))
    distances = [thin.sample_ms]
    for level in range(1, MAX_LEVEL + 1):
        thin.set_level(level, level)
        distances.append(thin.sample_ms)
    assert distances == [1_000, 2_000, 4_000, 8_000]
    early = text(sample_ms=1_000)
    assert [thin.keeps_pair(early, frame(n, n * 1_000), 9) for n in range(3)] == [True, True, True]


def test_the_level_at_an_earlier_sequence_number_is_the_level_of_then() -> None:
    thin = Thin(Semantic())
    thin.set_level(1, 10)
    thin.set_level(3, 20)
    assert [thin.level_at(cut) for cut in (9, 10, 19, 20)] == [0, 1, 1, 3]
    thin.forget(15, 0, 10_000)
    assert [thin.level_at(cut) for cut in (15, 20)] == [1, 3]


@pytest.mark.parametrize(
    ("rule", "times", "kept"),
    [
        ("one per bucket", [0, 9_999, 10_000, 19_999, 20_000], [0, 10_000, 20_000]),
        ("never one of an earlier bucket", [10_000, 0, 9_999, 20_000], [10_000, 20_000]),
        ("buckets may be left out", [0, 100_000], [0, 100_000]),
    ],
)
def test_per_camera_one_unmatched_frame(rule: str, times: list[int], kept: list[int]) -> None:
    thin = Thin(Semantic(unmatched_every_ms=10_000))
    assert [time for n, time in enumerate(times) if thin.keeps_frame(frame(n, time).record, n + 1, 0)] == kept, rule


def test_cameras_are_told_apart_by_zone_and_name() -> None:
    thin = Thin(Semantic())
    places = [("x", "a"), ("x", "b"), ("y", "a")]
    assert all(thin.keeps_frame(frame(0, 0, zone=zone, camera=camera).record, 1, 0) for zone, camera in places)
    assert not thin.keeps_frame(frame(1, 0, zone="y", camera="a").record, 2, 0)


def test_a_camera_is_forgotten_after_an_hour_whenever_commits_come() -> None:
    settings = Semantic(unmatched_every_ms=10_000)
    later = HOUR_MS + 10_001
    for commits in (False, True):
        thin = Thin(settings)
        assert thin.keeps_frame(frame(0, 0).record, 1, 0)
        if commits:
            thin.forget(1, later, 10_000)
        assert not list(thin.sampled_at(1, later, 10_000))
        assert thin.keeps_frame(frame(1, 5).record, 2, later)
        assert list(thin.sampled_at(1, later - 1, 10_000)) == ([] if commits else [(("x", "c1"), 0)])


def test_a_mark_beyond_the_cut_is_not_forgotten_with_what_lies_before_it() -> None:
    thin = Thin(Semantic(unmatched_every_ms=10_000))
    thin.keeps_frame(frame(0, HOUR_MS).record, 1, HOUR_MS)
    thin.keeps_frame(frame(1, 0).record, 9, 3 * HOUR_MS)
    thin.forget(5, HOUR_MS + 20_000, 10_000)
    assert list(thin.sampled_at(5, HOUR_MS + 20_000, 10_000)) == [(("x", "c1"), 360)]


def test_what_was_sampled_at_a_cut_is_restored() -> None:
    thin, successor = Thin(Semantic()), Thin(Semantic())
    thin.keeps_frame(frame(0, 0).record, 1, 0)
    thin.keeps_frame(frame(1, 10_000).record, 5, 0)
    thin.set_level(2, 3)
    successor.restore(thin.level_at(4), dict(thin.sampled_at(4, 0, 10_000)))
    assert successor.level == 2
    assert not successor.keeps_frame(frame(2, 1).record, 6, 0)
    assert successor.keeps_frame(frame(1, 10_000).record, 7, 0)


@pytest.mark.parametrize(
    ("every_ms", "next_ms"), [(1_000, 20_000), (7_000, 21_000), (19_999, 39_998), (100_000, 100_000)]
)
def test_under_another_unmatched_every_ms_a_camera_gets_its_next_frame_in_its_next_bucket(
    every_ms: int, next_ms: int
) -> None:
    thin = Thin(Semantic(unmatched_every_ms=10_000))
    assert thin.keeps_frame(frame(0, 12_000).record, 1, 0)
    thin.switch(Semantic(unmatched_every_ms=every_ms), 2, 0)
    assert list(thin.sampled_at(1, 0, 10_000)) == [(("x", "c1"), 1)], "the state at an earlier cut is that of then"
    kept = [thin.keeps_frame(frame(time, time).record, 3, 0) for time in (next_ms - 1, next_ms)]
    assert kept == [False, True]


def test_a_camera_that_was_forgotten_stays_so_under_another_unmatched_every_ms_whenever_commits_come() -> None:
    later = HOUR_MS + 10_001
    for commits in (False, True):
        thin = Thin(Semantic(unmatched_every_ms=10_000))
        thin.keeps_frame(frame(0, 0).record, 1, 0)
        if commits:
            thin.forget(1, later, 10_000)
        thin.switch(Semantic(unmatched_every_ms=10 * HOUR_MS), 2, later)
        assert not list(thin.sampled_at(2, later, 10 * HOUR_MS))
        assert thin.keeps_frame(frame(1, 5).record, 3, later)


def test_another_sample_ms_holds_for_the_texts_that_are_admitted_from_then_on() -> None:
    thin = Thin(Semantic(sample_ms=1_000))
    thin.set_level(1, 1)
    thin.switch(Semantic(sample_ms=300), 2, 0)
    assert thin.sample_ms == 600


def test_of_too_many_cameras_the_one_not_heard_of_for_longest_is_forgotten_whenever_commits_come() -> None:
    settings = Semantic(unmatched_every_ms=10_000)
    for commits in (False, True):
        thin = Thin(settings)
        thin.keeps_frame(frame(0, 0, camera="old").record, 1, 0)
        now = HOUR_MS + 20_000
        for number in range(MAX_SAMPLED):
            thin.keeps_frame(frame(0, now + (number > 0) * 10_000, camera=f"{number:04}").record, 2 + number, now)
        if commits:
            thin.forget(1, now, 10_000)
        cut = 2 + MAX_SAMPLED
        before = dict(thin.sampled_at(cut - 1, now, 10_000))
        assert len(before) == MAX_SAMPLED
        assert thin.keeps_frame(frame(0, now, camera="one more").record, cut, now)
        after = dict(thin.sampled_at(cut, now, 10_000))
        assert before.keys() - after.keys() == {("x", "0000")}
        assert dict(thin.sampled_at(cut - 1, now, 10_000)) == before, "the cut lies before it"
        successor = Thin(settings)
        successor.restore(0, before)
        successor.keeps_frame(frame(0, now, camera="one more").record, cut, now)
        assert dict(successor.sampled_at(cut, now, 10_000)) == after
        assert thin.keeps_frame(frame(1, now + 1, camera="0000").record, cut + 1, now), "it counts as its first"
