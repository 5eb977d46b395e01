"""Evaluates one run. In: its predictions, its calibration. Out: every figure of the report. No PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from stream_app.bundle.manifest import PRESENCES, Label, Presence
from vigil_export.evaluation.calibrated import Calibrated
from vigil_export.evaluation.intervals import RESAMPLES, Interval, Resampling
from vigil_export.evaluation.metrics import (
    FIGURES,
    OfLabel,
    auroc,
    auroc_of,
    average_precision_of,
    is_right,
    loss,
    of_label,
)
from vigil_export.evaluation.operating_points import OperatingPoint, operating_points
from vigil_export.evaluation.predictions import Predictions, PredictionsError
from vigil_export.evaluation.scores import Scored, score

MISSING_WORDS: dict[Presence, str] = {"both": "all sides", "image": "text left out", "text": "image left out"}
FACET_VALUES = 15
"""Of a facet with more values, those with the lowest accuracy are shown."""
FACET_DECISIONS = 5
"""Values with fewer decisions are not among the lowest: their accuracy is chance."""


Shown = Literal["all", "lowest", "most decisions"]


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Figures of one label, judged with all sides; `decisions` is how many have it."""

    name: str
    auroc: Interval
    average_precision: Interval
    decided: OfLabel
    threshold: Label
    decisions: int


@dataclass(frozen=True, slots=True)
class FacetLine:
    """Figures of the decisions with one value of a facet; a presence that none of them has is absent."""

    value: str
    decisions: int
    groups: int
    accuracy: dict[Presence, Interval]
    auroc: float
    loss: float


@dataclass(frozen=True, slots=True)
class Facet:
    """A breakdown.

    Attributes:
        name: Of the facet.
        values: How many there are; more than lines where only some are shown.
        shown: Which: all of them, the lowest in accuracy, or, where each has few decisions, those with the most.
        lines: Sorted by value, by accuracy from the lowest, or by decisions from the most.
    """

    name: str
    values: int
    shown: Shown
    lines: tuple[FacetLine, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All figures of a run on a split.

    Attributes:
        predictions: What they are about.
        calibrated: With what.
        scored: Decisions of each presence that any row has.
        figures: Presence -> name in `FIGURES` -> value with interval.
        labels: With all sides.
        operating_points: With all sides.
        facets: Breakdowns.
        mistakes: Places in `scored["both"]` of the worst wrong decisions, worst first.
    """

    predictions: Predictions
    calibrated: Calibrated
    scored: dict[Presence, Scored]
    figures: dict[Presence, dict[str, Interval]]
    labels: tuple[LabelFigures, ...]
    operating_points: tuple[OperatingPoint, ...]
    facets: tuple[Facet, ...]
    mistakes: npt.NDArray[np.int64]


def evaluate(
    predictions: Predictions,
    calibrated: Calibrated,
    *,
    recall: float = 0.9,
    frames_per_second: float | None = None,
    worst: int = 24,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Compute every figure.

    Args:
        predictions: Of a split.
        calibrated: Calibration and thresholds, fitted on other rows.
        recall: At which false alarms are counted.
        frames_per_second: That a camera sends, for false alarms per camera and day.
        worst: How many mistakes to list.
        resamples: Of the intervals.

    Raises:
        PredictionsError: There are no rows, the labels are others, or a logit is not finite.
    """
    names = tuple(label.name for label in calibrated.labels)
    if names != predictions.labels:
        raise PredictionsError(
            f"{predictions.name}: expected the labels {names} of its calibration, found {predictions.labels}"
        )
    if not len(predictions):
        raise PredictionsError(f"{predictions.name}: expected predictions of at least one row, found none")
    predictions = _with_sides(predictions)
    scored = {presence: score(predictions, calibrated.calibration, presence) for presence in PRESENCES}
    scored = {presence: found for presence, found in scored.items() if len(found)}
    both, drawn = scored["both"], Resampling(resamples)
    facets = {name: _shown(both, name) for name in both.facets if len(np.unique(both.facets[name])) > 1}
    return Evaluation(
        predictions=predictions,
        calibrated=calibrated,
        scored=scored,
        figures={presence: _figures(found, drawn) for presence, found in scored.items()},
        labels=tuple(_label(both, place, label, drawn) for place, label in enumerate(calibrated.labels)),
        operating_points=operating_points(
            both, calibrated.labels, recall=recall, frames_per_second=frames_per_second, drawn=drawn
        ),
        facets=tuple(_facet(name, chosen, scored, drawn) for name, chosen in facets.items()),
        mistakes=worst_mistakes(both, worst),
    )


def names_of_rows(evaluation: Evaluation, place: int, most: int) -> list[str]:
    """Return the names of the rows, at most so many, that the decision at a place of `scored["both"]` joins."""
    predictions = evaluation.predictions
    first = evaluation.scored["both"].first[place]
    rows = np.flatnonzero(predictions.decisions == predictions.decisions[first])[:most]
    return [predictions.ids[row] for row in rows]


def _figures(scored: Scored, drawn: Resampling) -> dict[str, Interval]:
    return {name: drawn(of(scored), scored.groups).interval for name, of in FIGURES.items()}


def worst_mistakes(scored: Scored, most: int) -> npt.NDArray[np.int64]:
    """Return the places of wrong decisions, the surest first: those with the greatest miss of any label."""
    wrong = np.flatnonzero(~is_right(scored))
    miss = np.abs(scored.probabilities - scored.truth)[wrong].max(1)
    return np.asarray(wrong[np.argsort(-miss, kind="stable")][:most], np.int64)


def _with_sides(predictions: Predictions) -> Predictions:
    """Add the facet `sides` where rows differ in what they have."""
    has_image, has_text = predictions.has_image, predictions.has_text
    if (has_image & has_text).all():
        return predictions
    sides = np.where(has_image & has_text, "both", np.where(has_image, "image only", "text only"))
    return replace(predictions, facets={**predictions.facets, "sides": sides.astype(np.str_)})


def _label(scored: Scored, place: int, label: Label, drawn: Resampling) -> LabelFigures:
    micro, happens = scored.micro[:, place], scored.truth[:, place] > 0.5
    return LabelFigures(
        name=label.name,
        auroc=drawn(auroc_of(micro, happens), scored.groups).interval,
        average_precision=drawn(average_precision_of(micro, happens), scored.groups).interval,
        decided=of_label(scored, place),
        threshold=label,
        decisions=int(happens.sum()),
    )


_Chosen = tuple[Shown, npt.NDArray[np.str_]]


def _shown(both: Scored, name: str) -> _Chosen:
    """Choose the values of a facet that a table has room for, in its order."""
    found, count = np.unique(both.facets[name], return_counts=True)
    if len(found) <= FACET_VALUES:
        return "all", found
    enough = count >= FACET_DECISIONS
    if not enough.any():
        return "most decisions", found[np.argsort(-count, kind="stable")][:FACET_VALUES]
    right = is_right(both)
    rates = np.array([right[both.facets[name] == value].mean() for value in found[enough]])
    return "lowest", found[enough][np.argsort(rates, kind="stable")][:FACET_VALUES]


def _facet(name: str, chosen: _Chosen, scored: dict[Presence, Scored], drawn: Resampling) -> Facet:
    shown, kept = chosen
    lines = tuple(_line(name, str(value), scored, drawn) for value in kept)
    return Facet(name=name, values=len(np.unique(scored["both"].facets[name])), shown=shown, lines=lines)


def _line(name: str, value: str, scored: dict[Presence, Scored], drawn: Resampling) -> FacetLine:
    parts = {presence: found.take(found.facets[name] == value) for presence, found in scored.items()}
    both = parts["both"]
    ones = np.ones(len(both))
    return FacetLine(
        value=value,
        decisions=len(both),
        groups=len(np.unique(both.groups)),
        accuracy={p: drawn.share(is_right(part), part.groups) for p, part in parts.items() if len(part)},
        auroc=auroc(both)(ones),
        loss=loss(both)(ones),
    )
