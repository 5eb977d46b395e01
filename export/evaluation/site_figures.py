"""Figures of a model of the drawn site, for its card. Goes in: predictions, a calibration. Goes out: JSON.

Intervals draw cameras, since a camera's rows are not independent; differences are drawn as pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from export.evaluation.intervals import RESAMPLES, bootstrap
from export.evaluation.metrics import auroc_of
from export.evaluation.predictions import Predictions
from export.evaluation.scores import score
from stream_app.bundle.manifest import PRESENCES, Calibration, Label, Presence

Scores = dict[Presence, npt.NDArray[np.float64]]
"""Calibrated probabilities, float64 [n, L] of each presence."""

ACCURACY_MEANS = (
    "share of rows whose decision is right: the most probable label if its calibrated probability is at least 0.5 "
    "(right if that event happens), else none (right if no event happens)"
)


def is_right(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return per row whether its decision is right, as `ACCURACY_MEANS` defines it; both arguments [n, L]."""
    best = scores.argmax(1)
    says_something = scores.max(1) >= 0.5
    hit = truth[np.arange(len(truth)), best] > 0.5
    result: npt.NDArray[np.bool_] = np.where(says_something, hit, truth.sum(1) == 0)
    return result


def _interval(values: npt.NDArray[np.float64], groups: npt.NDArray[np.int64], seed: int) -> list[float]:
    """Return [mean, low, high] of a value per row, resampling groups."""
    found = bootstrap(lambda weights: float(weights @ values / weights.sum()), groups, resamples=RESAMPLES, seed=seed)
    return [round(value, 4) for value in (found.value, found.low, found.high)]


def measure(
    predictions: Predictions, calibration: Calibration, *, labels: tuple[Label, ...], seed: int = 0
) -> dict[str, Any]:
    """Measure text alone, image alone and both.

    Args:
        predictions: Of rows with both sides, with the facets `kind`, `claims`, `picture`, `hour`, `language`.
        calibration: Of the model.
        labels: The labels with their thresholds.
        seed: Of the resampling.

    Returns:
        JSON: `rows`; `accuracy` of each presence and of the differences as [value, low, high]; `auroc` per label and
        presence; `by` facet -> value -> presence -> accuracy; `opens`: which share of true and false alarms reach
        open_at with both sides and with the text alone.
    """
    split = predictions
    scores = {presence: score(split, calibration, presence).probabilities for presence in PRESENCES}
    right = {presence: is_right(scores[presence], split.truth).astype(np.float64) for presence in PRESENCES}
    accuracy: dict[str, list[float]] = {
        str(presence): _interval(right[presence], split.groups, seed) for presence in PRESENCES
    }
    sides: tuple[Presence, ...] = ("image", "text")
    for side in sides:
        accuracy[f"both-{side}"] = _interval(right["both"] - right[side], split.groups, seed)
    ranks = {
        label.name: {
            presence: round(_auroc(scores[presence][:, place], split.truth[:, place] > 0.5), 4)
            for presence in PRESENCES
        }
        for place, label in enumerate(labels)
    }
    by = {
        facet: {
            str(value): {
                "rows": int((split.facets[facet] == value).sum()),
                **{p: round(float(right[p][split.facets[facet] == value].mean()), 4) for p in PRESENCES},
            }
            for value in np.unique(split.facets[facet])
        }
        for facet in ("kind", "picture", "hour", "language", "scene")
    }
    return {"rows": len(split), "accuracy": accuracy, "auroc": ranks, "by": by, "opens": _opens(scores, split, labels)}


def _auroc(chances: npt.NDArray[np.float64], happens: npt.NDArray[np.bool_]) -> float:
    return auroc_of(chances, happens)(np.ones(len(chances)))


def _opens(scores: Scores, split: Predictions, labels: tuple[Label, ...]) -> dict[str, float]:
    """Return which share of true and of false alarms would open an incident of the claimed label."""
    place_of = {label.name: place for place, label in enumerate(labels)}
    thresholds = np.array([label.open_at for label in labels])
    claims = np.array([place_of.get(str(claim), -1) for claim in split.facets["claims"]])
    rows = np.flatnonzero(claims >= 0)
    claimed = claims[rows]
    happens = split.truth[rows, claimed] > 0.5
    shares: dict[str, float] = {}
    presences: tuple[Presence, ...] = ("both", "text")
    for presence in presences:
        opens = scores[presence][rows, claimed] >= thresholds[claimed]
        shares[f"true alarms, {presence}"] = round(float(opens[happens].mean()), 4) if happens.any() else 0.0
        shares[f"false alarms, {presence}"] = round(float(opens[~happens].mean()), 4) if (~happens).any() else 0.0
    vague = split.facets["kind"] == "vague"
    opens_any = (scores["both"] >= thresholds) & (split.truth > 0.5)
    eventful = vague & (split.truth.sum(1) > 0)
    shares["events under a vague text, both"] = (
        round(float(opens_any[eventful].any(1).mean()), 4) if eventful.any() else 0.0
    )
    return shares
