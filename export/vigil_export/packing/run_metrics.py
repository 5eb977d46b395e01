"""The metrics of a run as its manifest carries them. In: predictions with their calibration. Out: JSON."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from stream_app.bundle.manifest import Label
from vigil_export.evaluation.calibrated import Calibrated
from vigil_export.evaluation.compare import compare
from vigil_export.evaluation.evaluate import FACET_VALUES, Evaluation, Facet, evaluate
from vigil_export.evaluation.intervals import RESAMPLES, Interval, Resampling
from vigil_export.evaluation.operating_points import at_open
from vigil_export.evaluation.predictions import Predictions
from vigil_export.evaluation.scores import Scored

SAFE_FACETS = frozenset({"language", "sides", "fold"})
"""Facets that go into a bundle by default: their values are known. A user's own column may name people."""


def run_metrics(
    predictions: Predictions, calibrated: Calibrated, *, facets: Collection[str] = (), resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return figures of a split with 95 % intervals by group.

    Args:
        predictions: Of a split, `test` wherever there is one.
        calibrated: Calibration and thresholds of the run.
        facets: Columns whose values may be named, beside `SAFE_FACETS`.
        resamples: Of the intervals.

    Returns:
        JSON: `rows`, `decisions`, `groups`; `figures`: presence -> figure -> [value, low, high]; `labels`: label ->
        figures, and `at_open`: presence -> recall, precision and false alarms at its own threshold; `facets`: name ->
        value -> decisions, groups, and accuracy of each presence; `facets_held_back`: names of those not asked for;
        `gain`: the sentence on fusion; `notes`. What has no value (no interval with one group) is null.

    Raises:
        PredictionsError: The labels are others, or a logit is not finite.
    """
    found = evaluate(predictions, calibrated, resamples=resamples)
    both = found.scored["both"]
    listed = {facet.name: facet for facet in found.facets if facet.values <= FACET_VALUES}
    safe = SAFE_FACETS.union(facets)
    content: dict[str, Any] = {
        "rows": len(predictions),
        "decisions": len(both),
        "groups": len(np.unique(both.groups)),
        "figures": {
            presence: {name: _span(value) for name, value in figures.items()}
            for presence, figures in found.figures.items()
        },
        "labels": {label.name: _label(found, at, Resampling(resamples)) for at, label in enumerate(found.labels)},
        "facets": {name: _facet(facet) for name, facet in listed.items() if name in safe},
        "facets_held_back": sorted(listed.keys() - safe),
    }
    if {"image", "text"} <= set(found.scored):
        comparison = compare([(predictions, calibrated)], resamples=resamples)
        content |= {"gain": comparison.first_line, "notes": list(comparison.notes)}
    return content


def _label(found: Evaluation, at: int, drawn: Resampling) -> dict[str, Any]:
    label = found.labels[at]
    happens = found.scored["both"].truth[:, at] > 0.5
    return {
        "decisions": int(happens.sum()),
        "auroc": _span(label.auroc),
        "average_precision": _span(label.average_precision),
        "at_open": {
            presence: _at_open(scored, at, label.threshold, drawn)
            for presence, scored in found.scored.items()
            if label.threshold.alerts
        },
    }


def _at_open(scored: Scored, at: int, threshold: Label, drawn: Resampling) -> dict[str, Any]:
    point = at_open(scored, at, threshold, drawn=drawn)
    return {
        "recall": _span(point.recall),
        "precision": _span(point.precision),
        "false_alarms": _span(point.rate),
        "without": point.negatives,
    }


def _facet(facet: Facet) -> dict[str, Any]:
    return {
        line.value: {
            "decisions": line.decisions,
            "groups": line.groups,
            "accuracy": {presence: _span(interval) for presence, interval in line.accuracy.items()},
        }
        for line in facet.lines
    }


def _span(interval: Interval) -> list[float | None]:
    return [_number(value) for value in (interval.value, interval.low, interval.high)]


def _number(value: float) -> float | None:
    # The encoder of manifests writes NaN as null; done here too, so that a card made before that reads the same.
    return None if math.isnan(value) else round(value, 4)
