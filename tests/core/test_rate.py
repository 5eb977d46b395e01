"""Rate: a token bucket per zone, in append time."""

from __future__ import annotations

import pytest

from stream_app.core.rate import MAX_ZONES, Level, Rate
from stream_app.core.settings import Semantic

SETTINGS = Semantic(rate_per_s=10, rate_burst=3)


def passes(rate: Rate, times: list[int], *, zone: str = "x", sequence: int = 1) -> list[bool]:
    return [rate.allows(zone, time, sequence + number)[0] for number, time in enumerate(times)]


def test_a_burst_passes_and_the_excess_does_not() -> None:
    assert passes(Rate(SETTINGS), [0, 0, 0, 0, 0]) == [True, True, True, False, False]


def test_tokens_come_back_at_the_rate_and_not_beyond_the_burst() -> None:
    rate = Rate(SETTINGS)
    assert passes(rate, [0, 0, 0, 99, 100, 100]) == [True, True, True, False, True, False]
    assert passes(rate, [100_000] * 4, sequence=10) == [True, True, True, False]


def test_append_time_that_runs_back_gives_and_takes_nothing() -> None:
    assert passes(Rate(SETTINGS), [100, 100, 100, 0, 0, 199, 200]) == [True, True, True, False, False, False, True]


def test_zones_have_buckets_of_their_own() -> None:
    rate = Rate(SETTINGS)
    passes(rate, [0] * 9)
    assert passes(rate, [0] * 3, zone="y", sequence=20) == [True] * 3


def test_a_flood_is_reported_once_and_is_over_when_the_bucket_is_full_again() -> None:
    rate = Rate(SETTINGS)
    reports = [rate.allows("x", time, n)[1] for n, time in enumerate([0] * 6 + [100] * 3 + [400] * 5, start=1)]
    assert [n for n, is_first in enumerate(reports) if is_first] == [3, 12]


def test_the_levels_at_an_earlier_sequence_number_are_the_levels_of_then() -> None:
    rate = Rate(SETTINGS)
    passes(rate, [0, 0, 0], sequence=1)
    assert {cut: [level.tokens for _, level in rate.levels_at(cut, 0, SETTINGS)] for cut in range(4)} == {
        0: [], 1: [2_000], 2: [1_000], 3: [0],
    }  # fmt: skip
    rate.forget(2, 0, SETTINGS)
    assert [level.tokens for _, level in rate.levels_at(3, 0, SETTINGS)] == [0]


def test_a_crash_refills_nothing() -> None:
    rate, successor = Rate(SETTINGS), Rate(SETTINGS)
    passes(rate, [0, 0, 0, 0])
    successor.restore(dict(rate.levels_at(4, 0, SETTINGS)))
    assert successor.allows("x", 0, 5) == (False, False)
    assert passes(successor, [100], sequence=6) == [True]


def test_a_bucket_that_is_full_is_in_no_checkpoint_and_is_forgotten() -> None:
    rate = Rate(SETTINGS)
    passes(rate, [0])
    assert [zone for zone, _ in rate.levels_at(1, 99, SETTINGS)] == ["x"]
    assert not list(rate.levels_at(1, 100, SETTINGS))
    rate.forget(1, 100, SETTINGS)
    assert not rate._levels


@pytest.mark.parametrize(
    ("rule", "spent", "switch_ms", "burst", "tokens"),
    [
        ("what is left stays", 2, 0, 9, 1_000),
        ("no bucket holds more than the new burst", 1, 0, 1, 1_000),
        ("what came back by then came back at the old rate", 3, 100, 9, 1_000),
        ("full stays full", 1, 100, 9, 9_000),
    ],
)
def test_a_bucket_under_other_settings(rule: str, spent: int, switch_ms: int, burst: int, tokens: int) -> None:
    other = Semantic(rate_per_s=1, rate_burst=burst)
    rate = Rate(SETTINGS)
    passes(rate, [0] * spent)
    before = dict(rate.levels_at(5, switch_ms, SETTINGS))
    rate.switch(other, 6, switch_ms)
    assert rate._levels["x"][-1] == (6, Level(tokens, switch_ms)), rule
    assert dict(rate.levels_at(5, switch_ms, SETTINGS)) == before, "the state at an earlier cut is that of then"
    assert passes(rate, [switch_ms] * 10, sequence=7).count(True) == tokens // 1_000


def test_a_flood_that_was_reported_is_not_reported_again_because_settings_changed() -> None:
    rate = Rate(SETTINGS)
    passes(rate, [0] * 4)
    rate.switch(Semantic(rate_per_s=1, rate_burst=9), 6, 0)
    assert rate.allows("x", 0, 7) == (False, False)


def test_of_too_many_zones_the_fullest_counts_as_full_whenever_commits_come() -> None:
    for commits in (False, True):
        rate = Rate(SETTINGS)
        for sequence in range(1, 100):  # full again before the others begin
            rate.allows(f"early {sequence}", 0, sequence)
        for number in range(3):
            rate.allows("x", 1_000, 100 + number)
        for number in range(1, MAX_ZONES):
            rate.allows(f"{number:04}", 1_000, 200 + number)
        if commits:
            rate.forget(150, 1_000, SETTINGS)
        cut = 200 + MAX_ZONES
        before = dict(rate.levels_at(cut - 1, 1_000, SETTINGS))
        assert len(before) == MAX_ZONES
        rate.allows("one more", 1_000, cut)
        after = dict(rate.levels_at(cut, 1_000, SETTINGS))
        assert before.keys() - after.keys() == {"0001"}, "x is emptier"
        assert len(after) == MAX_ZONES
        assert dict(rate.levels_at(cut - 1, 1_000, SETTINGS)) == before, "the cut lies before it"
        successor = Rate(SETTINGS)
        successor.restore(before)
        successor.allows("one more", 1_000, cut)
        assert dict(successor.levels_at(cut, 1_000, SETTINGS)) == after
