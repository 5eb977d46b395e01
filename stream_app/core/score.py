"""Micro-logits and probabilities. Thresholds and means work on integers; probabilities are only for people to read."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from math import exp
from typing import Final

#: One unit of logit is this many micro-logits.
MICRO = 1_000_000
#: Logits beyond this say nothing more: their probability rounds to 0.0000 or 1.0000 long before.
LIMIT = 20 * MICRO

# Decimal arithmetic is specified to the last digit, so every machine finds the same threshold.
_CONTEXT = Context(prec=16, rounding=ROUND_HALF_EVEN)
_ONE = Decimal(1)
_PLACES: Final = 10_000


def probability(micro_logit: int) -> float:
    """Return the probability of a calibrated micro-logit, rounded to four digits, equal on every machine.

    Libraries of mathematics differ in the last of sixteen digits. No micro-logit has a probability that lies so near to
    where rounding turns that this could be seen: a test looks at all of them that come near.
    """
    bounded = max(-LIMIT, min(LIMIT, micro_logit))
    return round(_PLACES / (1 + exp(-bounded / MICRO))) / _PLACES


def micro_logit(chance: float) -> int:
    """Return the micro-logit of a probability, for thresholds.

    Raises:
        ValueError: if the probability is not strictly between 0 and 1.
    """
    exact = Decimal(repr(chance))
    if not (exact.is_finite() and 0 < exact < 1):
        message = f"expected a probability strictly between 0 and 1, found {chance}"
        raise ValueError(message)
    logit = _CONTEXT.ln(_CONTEXT.divide(exact, _CONTEXT.subtract(_ONE, exact)))
    return int(_CONTEXT.multiply(logit, Decimal(MICRO)).to_integral_value(ROUND_HALF_EVEN))


def mean(total: int, count: int) -> int:
    """Return the mean of micro-logits, floored: integer division is the same everywhere."""
    return total // count
