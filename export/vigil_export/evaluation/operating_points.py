"""What a threshold means: recall, precision, false alarms a day. In: scored decisions. No PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stream_app.bundle.manifest import Label
from stream_app.core.score import MICRO, micro_logit
from vigil_export.evaluation.intervals import Interval, Resampling
from vigil_export.evaluation.scores import Scored

SECONDS_PER_DAY = 86_400
ASSUMPTION = (
    "Counted as if the rows without the label were what the camera sees all day and every decision stood alone; the "
    "live system joins successive alarms into one incident, so it raises fewer."
)


_DIGITS = 1_000_000


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What one label does at one threshold.

    Attributes:
        label: Its name.
        at: What the threshold was set by, in words.
        threshold: Probability that a decision must reach.
        recall: Share of the decisions with the label that reach it, with its interval; NaN without any.
        precision: Share of the decisions reaching it that have the label, with its interval; NaN where none reaches it.
        rate: Share of the decisions without the label that reach it, with its interval.
        negatives: Decisions without the label.
        per_day: False alarms per camera and day with their interval; None without a rate of frames.
    """

    label: str
    at: str
    threshold: float
    recall: Interval
    precision: Interval
    rate: Interval
    negatives: int
    per_day: Interval | None


def operating_points(
    scored: Scored,
    labels: tuple[Label, ...],
    *,
    recall: float,
    frames_per_second: float | None,
    drawn: Resampling,
) -> tuple[OperatingPoint, ...]:
    """Say what each alerting label does, at its open_at and at a chosen recall.

    Args:
        scored: Decisions.
        labels: With their thresholds.
        recall: The threshold of this line is the highest at which these decisions reach the recall: a point of the
            ROC curve, not one that was chosen without them.
        frames_per_second: That a camera sends; None: no figures per day. A decision uses up as many as it joins.
        drawn: How intervals are drawn.
    """
    found = []
    for place, label in enumerate(labels):
        if not label.alerts:
            continue
        found.append(at_open(scored, place, label, frames_per_second=frames_per_second, drawn=drawn))
        positives = np.sort(scored.micro[scored.truth[:, place] > 0.5, place])
        if len(positives):
            # The highest score such that enough of the positives reach it.
            missed = math.floor(len(positives) * (1 - recall) + 1e-9)
            least = int(positives[min(missed, len(positives) - 1)])
            at = f"recall {recall:.0%}", _reached_by(least)
            found.append(_at(scored, place, at, least, frames_per_second, drawn))
    return tuple(found)


def at_open(
    scored: Scored, place: int, label: Label, *, frames_per_second: float | None = None, drawn: Resampling
) -> OperatingPoint:
    """Say what the label at this place does at its open_at; arguments as in `operating_points`."""
    at = "open_at", label.open_at
    return _at(scored, place, at, micro_logit(label.open_at), frames_per_second, drawn)


def _at(
    scored: Scored,
    place: int,
    at: tuple[str, float],
    least: int,
    frames_per_second: float | None,
    drawn: Resampling,
) -> OperatingPoint:
    opens, happens = scored.micro[:, place] >= least, scored.truth[:, place] > 0.5
    rate = drawn.share(opens[~happens], scored.groups[~happens])
    per_day = None
    if frames_per_second is not None:
        # Decisions that join several frames are as many fewer.
        joined = float(scored.rows[~happens].mean()) if not happens.all() else 1.0
        day = SECONDS_PER_DAY * frames_per_second / joined
        per_day = Interval(rate.value * day, rate.low * day, rate.high * day)
    return OperatingPoint(
        label=scored.labels[place],
        at=at[0],
        threshold=at[1],
        recall=drawn.share(opens[happens], scored.groups[happens]),
        precision=drawn.share(happens[opens], scored.groups[opens]),
        rate=rate,
        negatives=int((~happens).sum()),
        per_day=per_day,
    )


def _reached_by(least: int) -> float:
    """Return a probability that this micro-logit reaches: rounded down, so that it may be set as a threshold."""
    exact = 1 / (1 + math.exp(-least / MICRO))
    return math.floor(exact * _DIGITS) / _DIGITS or exact
