"""Micro-logits and probabilities: integers decide, four digits are shown."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.score import LIMIT, MICRO, mean, micro_logit, probability
from tests.core.examples import examples


@pytest.mark.parametrize(
    ("logit", "expected"),
    [
        (0, 0.5),
        (MICRO, 0.7311),
        (-MICRO, 0.2689),
        (LIMIT, 1.0),
        (-LIMIT, 0.0),
        (10**12, 1.0),
        (200, 0.5),
        (201, 0.5001),
    ],
)
def test_a_probability_has_four_digits(logit: int, expected: float) -> None:
    assert probability(logit) == expected


@given(st.integers(-LIMIT, LIMIT))
@examples(100)
def test_a_probability_is_the_sigmoid_of_the_logit(logit: int) -> None:
    assert abs(probability(logit) - 1 / (1 + math.exp(-logit / MICRO))) <= 0.000_051


def test_no_probability_lies_where_the_last_digits_of_a_machine_could_turn_it() -> None:
    """All micro-logits beside the 10,000 places where the fourth digit turns, in decimal arithmetic of 30 digits."""
    nearest = Decimal(1)
    with localcontext() as context:
        context.prec = 30
        for odd in range(1, 20_000, 2):
            turn = Decimal(odd) / 20_000
            exact = (turn / (1 - turn)).ln() * MICRO
            below = int(exact.to_integral_value(rounding="ROUND_FLOOR"))
            for logit in (below, below + 1):
                chance = 1 / (1 + (Decimal(-logit) / MICRO).exp())
                nearest = min(nearest, abs(chance - turn))
                assert probability(logit) == (odd - 1 + 2 * (chance > turn)) / 20_000
    assert nearest > Decimal("1e-13")


@given(st.integers(1, 9_999))
@examples(100)
def test_a_threshold_is_reached_by_exactly_its_own_probability(ten_thousandths: int) -> None:
    chance = ten_thousandths / 10_000
    assert probability(micro_logit(chance)) == chance


@pytest.mark.parametrize("chance", [0.0, 1.0, -0.1, 1.1, math.inf, math.nan])
def test_a_threshold_that_is_no_probability_is_refused(chance: float) -> None:
    with pytest.raises(ValueError, match=r"probability|Infinity|NaN|nan"):
        micro_logit(chance)


def test_a_mean_is_floored() -> None:
    assert [mean(7, 2), mean(-7, 2), mean(6, 3)] == [3, -4, 2]
