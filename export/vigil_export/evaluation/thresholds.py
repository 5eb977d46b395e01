"""Chooses open_at and close_at. In: calibrated validation decisions, a rule. Out: labels of the manifest.

Counts compare integers exactly as serving does: a decision opens when its micro-logit reaches that of open_at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream_app.bundle.manifest import Label
from stream_app.core.score import micro_logit
from vigil_export.evaluation.scores import Scored

CLOSE_SHARE = 0.6
"""close_at as a share of open_at: an incident goes on at scores that would not open one."""

UNKNOWN_OPEN = 0.5
"""open_at of a label that no validation decision has, or that all have: there is nothing to choose by."""

_GRID = (0.0001, 0.0002, 0.0005, *(step / 1000 for step in range(1, 1000)), 0.9995, 0.9998, 0.9999)
_GRID_MICRO = np.array([micro_logit(chance) for chance in _GRID], np.int64)

_BOOLS = npt.NDArray[np.bool_]


class RuleError(ValueError):
    """A rule for thresholds cannot be read; the message says which there are."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What an open_at is chosen for.

    Attributes:
        kind: `f` (highest F-beta), `recall` (highest threshold that still reaches the recall), `false-alarms` (lowest
            threshold at which at most this share of the decisions without the label opens), `cost` (lowest sum of
            costs; value is what a miss costs when a false alarm costs 1).
        value: beta, recall, share or cost.
    """

    kind: str
    value: float

    def __str__(self) -> str:
        """Return the rule as `parse_rule` reads it."""
        return f"{self.kind}={self.value:g}"

    @property
    def words(self) -> str:
        """The rule as a sentence for people."""
        return {
            "f": f"the threshold with the best F{self.value:g}",
            "recall": f"the highest threshold that {100 * self.value:g} % of the decisions with the label reach",
            "false-alarms": f"the lowest threshold that at most {100 * self.value:g} % of those without it reach",
            "cost": f"the threshold with the lowest cost, a miss costing as much as {self.value:g} false alarms",
        }[self.kind]


F1 = Rule("f", 1.0)
_BOUNDS = {"f": (0.0, math.inf), "recall": (0.0, 1.0), "false-alarms": (0.0, 1.0), "cost": (0.0, math.inf)}


def parse_rule(words: str) -> Rule:
    """Read a rule: `f=1`, `recall=0.95`, `false-alarms=0.01` or `cost=10`.

    Raises:
        RuleError: It is none of them, or its number is out of bounds.
    """
    found = re.fullmatch(r"([a-z-]+)=([0-9.eE+-]+)", words.strip())
    kind = found.group(1) if found else ""
    try:
        value = float(found.group(2)) if found else math.nan
    except ValueError:
        value = math.nan
    low, high = _BOUNDS.get(kind, (0.0, 0.0))
    if not (low < value <= high and math.isfinite(value)):
        raise RuleError(
            f"rule for thresholds: expected f=BETA, recall=SHARE, false-alarms=SHARE or cost=COST of a miss, "
            f"each above 0 and shares at most 1; found {words!r}"
        )
    return Rule(kind, value)


def choose(scored: Scored, rule: Rule, *, silent: Collection[str] = ()) -> tuple[Label, ...]:
    """Choose the thresholds of each label.

    Args:
        scored: Decisions of validation rows, judged with all that they have.
        rule: What for.
        silent: Names of labels that never alert (what "nothing happened" is called in `multiclass`).

    Returns:
        Labels as the manifest has them. open_at comes from a grid of thousandths, finer at its ends.
    """
    found = []
    for place, name in enumerate(scored.labels):
        open_at = _choose(scored.micro[:, place], scored.truth[:, place] > 0.5, rule)
        found.append(make_label(name, open_at, alerts=name not in silent))
    return tuple(found)


def make_label(name: str, open_at: float, *, alerts: bool) -> Label:
    """Return a label whose close_at is `CLOSE_SHARE` of open_at, rounded down."""
    return Label(name=name, alerts=alerts, open_at=open_at, close_at=math.floor(open_at * CLOSE_SHARE * 1e5) / 1e5)


def _choose(micro: npt.NDArray[np.int64], happens: _BOOLS, rule: Rule) -> float:
    positives, negatives = np.sort(micro[happens]), np.sort(micro[~happens])
    if not len(positives) or not len(negatives):
        return UNKNOWN_OPEN
    # How many reach each threshold of the grid.
    hits = len(positives) - np.searchsorted(positives, _GRID_MICRO, side="left")
    false_alarms = len(negatives) - np.searchsorted(negatives, _GRID_MICRO, side="left")
    if rule.kind == "recall":
        reaching = np.flatnonzero(hits >= rule.value * len(positives) - 1e-9)
        return _GRID[int(reaching[-1])] if len(reaching) else _GRID[0]
    if rule.kind == "false-alarms":
        quiet = np.flatnonzero(false_alarms <= rule.value * len(negatives) + 1e-9)
        return _GRID[int(quiet[0])] if len(quiet) else _GRID[-1]
    if rule.kind == "cost":
        return _middle_of_best(-(rule.value * (len(positives) - hits) + false_alarms))
    square = rule.value**2
    return _middle_of_best((1 + square) * hits / np.maximum(1, square * len(positives) + hits + false_alarms))


def _middle_of_best(worth: npt.NDArray[np.floating]) -> float:
    """Return the middle of the first run of best thresholds: the farthest from a decision that would go wrong."""
    is_best = worth >= worth.max() - 1e-12
    start = int(np.argmax(is_best))
    end = start + int(np.argmin(is_best[start:])) if not is_best[start:].all() else len(is_best)
    return _GRID[(start + end - 1) // 2]
