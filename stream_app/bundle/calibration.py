"""Calibration: raw logits of the fusion head in, calibrated integer micro-logits out.

A result is calibrated by what was present when it was computed (both sides, the image alone, the text alone). Every
row's result depends on that row alone, to the last bit: multiplication, addition and rounding are exact in IEEE
arithmetic, and the exponentials of "multiclass" and the knots of isotonic calibration go through scalar arithmetic,
since vectorised arithmetic may round the tail of an array differently. Training calibrates with this very code.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

from stream_app.core.score import LIMIT, MICRO

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream_app.bundle.manifest import Calibration, Knots, Presence, Scaling, Task

#: Calibrated logits are clipped to this: beyond, the probability is 0 or 1 to eight digits.
LOGIT_LIMIT = LIMIT / MICRO


def micro_logits(
    logits: NDArray[np.float32], *, task: Task, calibration: Calibration, presence: Presence
) -> list[tuple[int, ...]]:
    """Calibrate rows of logits.

    Args:
        logits: float32 [b, L], as the fusion head gives them.
        task: ``multilabel`` and ``binary``: each label is its own sigmoid. ``multiclass``: p = softmax of the
            scaled logits, and the label's calibrated logit is log(p / (1 - p)). Knots, if any, come last.
        calibration: the scalings of the manifest.
        presence: which sides the rows were computed from.

    Returns:
        b rows of L integers: round(calibrated logit * 1e6), half to even, within +-20,000,000.

    Raises:
        ValueError: if a logit is not finite; it must not become a score.
    """
    if not np.isfinite(logits).all():
        message = "expected finite logits, found NaN or infinity"
        raise ValueError(message)
    scaling = calibration.of(presence)
    rows = log_odds(logits, task=task, scaling=scaling).tolist()
    if scaling.knots:
        rows = [[through(value, knots) for value, knots in zip(row, scaling.knots, strict=True)] for row in rows]
    clipped = np.clip(np.array(rows, dtype=np.float64).reshape(logits.shape), -LOGIT_LIMIT, LOGIT_LIMIT)
    return [tuple(row) for row in np.rint(clipped * MICRO).astype(np.int64).tolist()]


def log_odds(logits: NDArray[np.float32], *, task: Task, scaling: Scaling) -> NDArray[np.float64]:
    """Return each label's own log-odds before the knots, float64 [b, L]; arguments as in ``micro_logits``."""
    values = scaled(logits, scaling)
    if task != "multiclass":
        return values
    return np.array([_one_against_rest(row) for row in values.tolist()], dtype=np.float64).reshape(logits.shape)


def through(value: float, knots: Knots) -> float:
    """Return where a piecewise-linear map takes a value.

    Args:
        value: finite.
        knots: as in the manifest.

    Returns:
        The value itself without knots. It never falls when ``value`` rises, to the last bit: rounding keeps order,
        and no line may pass the corner that it ends in.
    """
    if not knots:
        return value
    after = bisect_right(knots, value, key=lambda knot: knot[0])
    if after == 0:
        return knots[0][1]
    if after == len(knots):
        return knots[-1][1]
    (x, y), (next_x, next_y) = knots[after - 1], knots[after]
    return min(next_y, y + (value - x) / (next_x - x) * (next_y - y))


def scaled(logits: NDArray[np.float32], scaling: Scaling) -> NDArray[np.float64]:
    """Return logit * scale + offset per label, float64 [b, L]."""
    scale = np.array(scaling.scale, dtype=np.float64)
    offset = np.array(scaling.offset, dtype=np.float64)
    result: NDArray[np.float64] = logits.astype(np.float64) * scale + offset
    return result


def _one_against_rest(row: list[float]) -> list[float]:
    """Return log(p / (1 - p)) of p = softmax(row): z_i - log(sum over j != i of exp(z_j)).

    The sum leaves label i out instead of taking 1 - p, which loses all digits when p is close to 1.
    """
    return [value - _log_sum_exp(row[:index] + row[index + 1 :]) for index, value in enumerate(row)]


def _log_sum_exp(values: list[float]) -> float:
    highest = max(values)
    return highest + math.log(math.fsum(math.exp(value - highest) for value in values))
