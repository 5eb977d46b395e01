"""The metrics of a run as its manifest carries them. Goes in: predictions with their calibration. Goes out: JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from export.evaluation.calibrated import Calibrated
from export.evaluation.compare import compare
from export.evaluation.evaluate import Evaluation, Facet, evaluate
from export.evaluation.intervals import RESAMPLES, Interval
from export.evaluation.predictions import Predictions

#: The most values of a facet that a card lists; texts or scenes by the hundred are no table.
FACET_VALUES = 15


def run_metrics(predictions: Predictions, calibrated: Calibrated, *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return figures of a split with 95 % intervals by group.

    Args:
        predictions: Of a split, `test` wherever there is one.
        calibrated: Calibration and thresholds of the run.
        resamples: Of the intervals.

    Returns:
        JSON: `rows`, `decisions`, `groups`; `figures`: presence -> figure -> [value, low, high]; `labels`: label ->
        figures; `facets`: name -> value -> decisions and accuracy of each presence; `gain`: the sentence on fusion;
        `notes`. What has no value (no interval with one group) is null.

    Raises:
        PredictionsError: The labels are others, or a logit is not finite.
    """
    found = evaluate(predictions, calibrated, resamples=resamples)
    both = found.scored["both"]
    content: dict[str, Any] = {
        "rows": len(predictions),
        "decisions": len(both),
        "groups": len(np.unique(both.groups)),
        "figures": {
            presence: {name: _span(value) for name, value in figures.items()}
            for presence, figures in found.figures.items()
        },
        "labels": {label.name: _label(found, at) for at, label in enumerate(found.labels)},
        "facets": {facet.name: _facet(facet) for facet in found.facets if facet.values <= FACET_VALUES},
    }
    if {"image", "text"} <= set(found.scored):
        comparison = compare([(predictions, calibrated)], resamples=resamples)
        content |= {"gain": comparison.first_line, "notes": list(comparison.notes)}
    return content


def _label(found: Evaluation, at: int) -> dict[str, Any]:
    label = found.labels[at]
    happens = found.scored["both"].truth[:, at] > 0.5
    return {
        "decisions": int(happens.sum()),
        "auroc": _span(label.auroc),
        "average_precision": _span(label.average_precision),
    }


def _facet(facet: Facet) -> dict[str, Any]:
    return {
        line.value: {"decisions": line.decisions, "accuracy": {p: _number(v) for p, v in line.accuracy.items()}}
        for line in facet.lines
    }


def _span(interval: Interval) -> list[float | None]:
    return [_number(value) for value in (interval.value, interval.low, interval.high)]


def _number(value: float) -> float | None:
    # The encoder of manifests writes NaN as null; said here, so that a card made before reads the same.
    return None if math.isnan(value) else round(value, 4)
