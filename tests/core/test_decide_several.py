"""Decide, where an incident needs several texts: k of them within m ms, whatever order results come in."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.decide import MAX_REACHED
from stream_app.core.types import InForce, Model
from tests.core.decide_bench import MODEL, Bench, frame, phases, text
from tests.core.examples import examples


def test_of_k_texts_within_m_ms_the_kth_opens_and_one_text_counts_once() -> None:
    bench = Bench(open_texts=2, open_within_ms=1_000)
    assert bench.judge(0, text(1, 0), frame(1), 3) == []
    assert bench.judge(0, text(1, 0), frame(2), 3) == []
    assert bench.judge(1_001, text(2, 1_001), frame(3), 3) == []
    (opened,) = bench.judge(1_500, text(3, 1_500), frame(4), 3)
    assert (opened.phase, opened.evidence[0].offset) == ("opened", 3)


def test_a_younger_text_that_reaches_open_at_first_does_not_hide_an_older_one() -> None:
    bench = Bench(open_texts=2, open_within_ms=1_000)
    assert bench.judge(2_000, text(1, 0), frame(1), 3) == []
    assert bench.judge(2_000, text(2, 1_600), frame(2), 3) == []
    assert phases(bench.judge(2_100, text(3, 500), frame(3), 3)) == ["opened"]


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(2, 4), st.integers(0, 8))
@examples(300)
def test_in_any_order_the_first_text_that_is_one_of_k_within_m_ms_opens(
    times: list[int], needed: int, within_ms: int
) -> None:
    bench = Bench(open_texts=needed, open_within_ms=within_ms)
    for count in range(1, len(times) + 1):
        is_due = any(max(some) - min(some) <= within_ms for some in combinations(times[:count], needed))
        alerts = bench.judge(40, text(count, times[count - 1]), frame(count), 3)
        assert phases(alerts) == ["opened"] * is_due
        if is_due:
            break


def test_two_late_texts_count_together_though_stream_time_has_long_passed_them() -> None:
    bench = Bench(open_texts=2, open_within_ms=1_000)
    assert bench.judge(900_000, text(1, 0), None, 3, is_late=True) == []
    assert phases(bench.judge(903_000, text(2, 1_000), None, 3, is_late=True)) == ["opened"]


def test_a_text_that_can_count_no_more_is_in_no_checkpoint_and_counts_no_more_where_none_was_made() -> None:
    # H is 5 s here: a text of 0 can meet one of 1,000, and that one is held until S is past 6,000.
    for is_pruned in (False, True):
        bench = Bench(open_texts=2, open_within_ms=1_000)
        bench.judge(0, text(1, 0), frame(1), 3)
        bench.decide.prune(6_000)
        assert len(bench.decide.state().reached) == 1
        if is_pruned:
            bench.decide.prune(6_001)
            assert not bench.decide.state().reached
        assert bench.judge(6_001, text(2, 1_000), frame(2), 3) == []


def test_what_reached_open_at_is_taken_over_by_a_successor() -> None:
    bench, successor = (Bench(open_texts=2, open_within_ms=1_000) for _ in range(2))
    bench.judge(900_000, text(1, 0), None, 3, is_late=True)
    successor.decide.restore(bench.decide.state(), [])
    assert phases(successor.judge(903_000, text(2, 500), None, 3, is_late=True)) == ["opened"]


def test_what_reached_open_at_under_another_model_does_not_count() -> None:
    bench = Bench(open_texts=2, open_within_ms=1_000)
    bench.judge(0, text(1, 0), frame(1), 3)
    bench.decide.switch(InForce(Model("n", "2", "ff", MODEL.labels), bench.settings, ""), 0)
    assert bench.judge(0, text(2, 0), frame(2), 3) == []
    assert phases(bench.judge(0, text(3, 0), frame(3), 3)) == ["opened"]


def test_of_too_many_texts_that_wait_for_another_the_oldest_is_forgotten() -> None:
    bench = Bench(open_texts=2, open_within_ms=1_000)
    for number in range(MAX_REACHED + 1):
        assert bench.judge(0, text(number, number // 8, zone=f"z{number}"), None, 3) == []
    reached = bench.decide.state().reached
    assert len(reached) == MAX_REACHED
    assert "z0" not in {zone for zone, _, _ in reached}
