"""How far scores that were computed again lie from the recorded ones: per label, and at the thresholds.

In: pairs of scores of one observation, with the thresholds that were in force. Out: figures. Differences are of
calibrated probabilities, since these are what people set thresholds by; what passes a threshold is told by the exact
scores, as the core tells it.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from stream_app.core.score import LIMIT, MICRO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.core.types import LabelRule, Model, Scored

#: Differences are counted in steps of a millionth, so memory has a bound whatever the recording's length.
_STEP: Final = 1e-6
#: So many flips are listed one by one; all are counted.
MAX_LISTED: Final = 20


Threshold = Literal["open_at", "close_at"]


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """Which observation it was: its task and place there, its newest event time, and its records in words."""

    partition: int
    sequence: int
    event_ms: int
    inputs: tuple[str, ...]


class Flip(msgspec.Struct, frozen=True, kw_only=True):
    """An observation that reached a threshold of a label as recorded and not when scored again, or the reverse.

    ``at`` is the threshold, ``recorded`` and ``again`` are what the label got, all as probabilities.
    """

    of: Observed
    label: str
    threshold: Threshold
    at: float
    recorded: float
    again: float
    is_inside: bool


class LabelDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One label: how many scores were compared, the greatest and the median |dp|, and flips in and outside the band."""

    label: str
    scores: int
    greatest: float
    typical: float
    flips_inside: int
    flips_outside: int


class Rescored(msgspec.Struct, frozen=True, kw_only=True):
    """What came of scoring again.

    ``decisions`` were compared; ``failed_otherwise`` are those in which a side could be scored only once, so that the
    scores are of other things; ``without_bundle`` counts by model what was not scored for want of its bundle. ``notes``
    say what else has to be known. ``flips`` are the first ones, those outside the band before those inside.
    """

    band: float
    tolerance: float
    decisions: int
    labels: tuple[LabelDifference, ...]
    flips: tuple[Flip, ...]
    failed_otherwise: int
    without_bundle: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def is_within(self) -> bool:
        """Whether everything that was compared lies within the tolerance, and nothing flips outside the band."""
        is_near = all(one.greatest <= self.tolerance and not one.flips_outside for one in self.labels)
        return is_near and not self.failed_otherwise

    @property
    def is_complete(self) -> bool:
        """Whether every decision that was verified was scored again."""
        return self.decisions > 0 and not self.without_bundle


class Differences:
    """The sums behind a :class:`Rescored`."""

    def __init__(self, band: float, tolerance: float) -> None:
        self._band = band
        self._tolerance = tolerance
        self._decisions = self._failed_otherwise = 0
        self._steps: dict[str, Counter[int]] = {}
        self._greatest: dict[str, float] = {}
        self._flips: dict[tuple[str, bool], int] = {}
        self._listed: tuple[list[Flip], list[Flip]] = ([], [])
        self._without: Counter[str] = Counter()

    def leave_out(self, model: Model) -> None:
        """Count a decision whose bundle is not at hand."""
        self._without[f"{model.name}/{model.version}, sha256 {model.sha256}"] += 1

    def add(self, of: Observed, model: Model, recorded: Scored, again: Scored, labels: Sequence[str]) -> None:
        """Compare the scores of one observation.

        Args:
            of: which it is.
            model: by which it was scored, with the thresholds that were in force.
            recorded: then.
            again: now.
            labels: those of the bundle that scored again, in its order.
        """
        self._decisions += 1
        if _failures(recorded) != _failures(again):
            self._failed_otherwise += 1
            return
        if recorded.full is None or again.full is None:
            return
        found = dict(zip(labels, again.full, strict=True))
        for rule, before in zip(model.labels, recorded.full, strict=True):
            if rule.name in found:
                self._add(of, rule, before, found[rule.name])

    def result(self, notes: Sequence[str] = ()) -> Rescored:
        """Return what was found."""
        inside, outside = self._listed
        return Rescored(
            band=self._band,
            tolerance=self._tolerance,
            decisions=self._decisions,
            labels=tuple(self._label(name) for name in self._steps),
            flips=tuple((outside + inside)[:MAX_LISTED]),
            failed_otherwise=self._failed_otherwise,
            without_bundle=dict(self._without),
            notes=tuple(notes),
        )

    def _add(self, of: Observed, rule: LabelRule, before: int, after: int) -> None:
        recorded, again = chance(before), chance(after)
        difference = abs(again - recorded)
        self._steps.setdefault(rule.name, Counter())[round(difference / _STEP)] += 1
        self._greatest[rule.name] = max(self._greatest.get(rule.name, 0.0), difference)
        if not rule.is_alerting:
            return
        thresholds: tuple[tuple[Threshold, int], ...] = (("open_at", rule.open_at), ("close_at", rule.close_at))
        for name, at in thresholds:
            if (before >= at) == (after >= at):
                continue
            is_inside = abs(recorded - chance(at)) <= self._band
            self._flips[rule.name, is_inside] = self._flips.get((rule.name, is_inside), 0) + 1
            listed = self._listed[not is_inside]
            if len(listed) < MAX_LISTED:
                listed.append(
                    Flip(
                        of=of, label=rule.name, threshold=name, at=chance(at), recorded=recorded, again=again,
                        is_inside=is_inside,
                    )
                )  # fmt: skip

    def _label(self, name: str) -> LabelDifference:
        steps = self._steps[name]
        return LabelDifference(
            label=name,
            scores=steps.total(),
            greatest=self._greatest[name],
            typical=_median(steps) * _STEP,
            flips_inside=self._flips.get((name, True), 0),
            flips_outside=self._flips.get((name, False), 0),
        )


def chance(micro_logit: int) -> float:
    """Return the probability of a calibrated micro-logit, to the last digit that a float has."""
    bounded = max(-LIMIT, min(LIMIT, micro_logit))
    return 1 / (1 + math.exp(-bounded / MICRO))


def _median(steps: Counter[int]) -> int:
    left = (steps.total() + 1) // 2
    for step in sorted(steps):
        left -= steps[step]
        if left <= 0:
            return step
    return 0


def _failures(scored: Scored) -> tuple[bool, bool]:
    return (scored.image_failure is not None, scored.text_failure is not None)
