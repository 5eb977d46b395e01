"""How sure a figure is: bootstrap by group. In: a statistic of weighted rows. No PyTorch.

Rows of a group are not independent (frames of a camera, questions about one picture), so whole groups are drawn. A
difference of two models is one statistic of the same draws, which is what makes it paired. `n` rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
FEW_GROUPS = 20
"""With fewer groups an interval is too narrow to be trusted; reports say so."""

_FEW = "The decisions come from only {} groups: intervals from so few are too narrow."

_RARE = 3
"""What was seen in fewer groups is next to never seen."""

Weights = npt.NDArray[np.float64]
Statistic = Callable[[Weights], float]
"""float64 [n], how often each row counts -> a figure; NaN where these rows have none (one class only)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % interval; `low` and `high` are NaN where there is none (a single group)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Resampled:
    """A statistic of the rows and of each draw; those of equal rows, groups and seeds are of the same draws.

    Attributes:
        value: Of the rows themselves.
        draws: float64 [resamples], NaN where a draw has none; empty with a single group.
    """

    value: float
    draws: npt.NDArray[np.float64]

    @property
    def interval(self) -> Interval:
        """The value with the middle 95 % of the draws (Efron 1979)."""
        known = self.draws[~np.isnan(self.draws)]
        # Where most draws lack one of the classes, what is left is no fair sample.
        if math.isnan(self.value) or not len(known) or len(known) < len(self.draws) / 2:
            return Interval(self.value, math.nan, math.nan)
        low, high = np.quantile(known, (0.025, 0.975))
        return Interval(self.value, float(low), float(high))

    def above(self, others: Sequence[Resampled]) -> Resampled:
        """Return by how much it exceeds the best of the others, chosen again in every draw."""
        best = np.max([other.draws for other in others], axis=0)
        return Resampled(self.value - max(other.value for other in others), self.draws - best)


def resample(
    statistic: Statistic, groups: npt.NDArray[np.int64], *, resamples: int = RESAMPLES, seed: int = 0
) -> Resampled:
    """Compute a statistic of the rows, and of draws of whole groups with replacement.

    Args:
        statistic: Of the rows.
        groups: int64 [n].
        resamples: How many draws.
        seed: Equal seeds give equal draws.
    """
    value = statistic(np.ones(len(groups)))
    if len(np.unique(groups)) < 2:
        return Resampled(value, np.empty(0))
    return Resampled(value, np.array([statistic(weights) for weights in _draws(groups, resamples, seed)]))


def doubts_of_groups(groups: npt.NDArray[np.int64]) -> list[str]:
    """Say that intervals come from few groups, if they do; a note of a report.

    Args:
        groups: int64 [n], of the decisions.
    """
    count = len(np.unique(groups))
    return [_FEW.format(count)] if count < FEW_GROUPS else []


class Resampling:
    """How the intervals of one report are drawn: how often, all from one seed."""

    def __init__(self, resamples: int) -> None:
        """Take how many draws of each statistic."""
        self._resamples = resamples

    def __call__(self, statistic: Statistic, groups: npt.NDArray[np.int64]) -> Resampled:
        """Compute a statistic of the rows and of draws, as `resample`."""
        return resample(statistic, groups, resamples=self._resamples)

    def share(self, hits: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]) -> Interval:
        """Compute the share of rows that are hits.

        Where hits, or their absence, are of next to no groups, draws vary little or not at all: then no more is claimed
        than that what was never seen in n groups is below 3 / n with 95 % certainty (the rule of three).

        Args:
            hits: bool [n].
            groups: int64 [n].

        Returns:
            NaN without rows; no interval with a single group.
        """
        if not len(hits):
            return Interval(math.nan, math.nan, math.nan)
        counts = hits.astype(np.float64)
        found = self(lambda weights: float(weights @ counts / weights.sum()), groups).interval
        room = min(1.0, 3 / len(np.unique(groups)))
        high = max(found.high, room) if len(np.unique(groups[hits])) < _RARE else found.high
        low = min(found.low, 1 - room) if len(np.unique(groups[~hits])) < _RARE else found.low
        return found if math.isnan(found.low) else Interval(found.value, low, high)


def _draws(groups: npt.NDArray[np.int64], resamples: int, seed: int) -> Iterator[Weights]:
    _, place = np.unique(groups, return_inverse=True)
    count = int(place.max()) + 1
    rng = np.random.default_rng([seed, 91])
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)[place]
