"""Measures a model. Goes in: calibrated scores of rows and their truth. Goes out: figures with intervals.

Intervals are 95 % percentile bootstraps (Efron 1979) that resample groups of rows that are not independent (here: a
camera's rows), and differences are resampled as pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from export.data import Split
from export.evaluation.calibrate import Scores
from stream_app.bundle.manifest import PRESENCES, Label

RESAMPLES = 1000
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


def auroc(score: npt.NDArray[np.float64], happens: npt.NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: the chance that a row with the event scores above one without; ties half.

    Returns:
        0-1; NaN where all rows are alike.
    """
    positives = int(happens.sum())
    negatives = len(happens) - positives
    if not positives or not negatives:
        return float("nan")
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((rank[happens].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _interval(values: npt.NDArray[np.float64], groups: npt.NDArray[np.int64], seed: int) -> list[float]:
    """Return [mean, low, high] of a value per row, resampling groups."""
    rng = np.random.default_rng([seed, 91])
    _, place = np.unique(groups, return_inverse=True)
    total, count = np.bincount(place, values), np.bincount(place)
    picks = rng.integers(0, len(total), (RESAMPLES, len(total)))
    means = total[picks].sum(1) / count[picks].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return [round(float(values.mean()), 4), round(float(low), 4), round(float(high), 4)]


def measure(scores: Scores, split: Split, *, labels: tuple[Label, ...], seed: int = 0) -> dict[str, Any]:
    """Measure text alone, image alone and both.

    Args:
        scores: Calibrated scores of the rows of the split.
        split: The rows, with the facets `kind`, `claims`, `picture`, `hour`, `language`.
        labels: The labels with their thresholds.
        seed: Of the resampling.

    Returns:
        JSON: `rows`; `accuracy` of each presence and of the differences as [value, low, high]; `auroc` per label and
        presence; `by` facet -> value -> presence -> accuracy; `opens`: which share of true and false alarms reach
        open_at with both sides and with the text alone.
    """
    right = {presence: is_right(scores.of(presence), split.truth).astype(np.float64) for presence in PRESENCES}
    accuracy: dict[str, list[float]] = {
        str(presence): _interval(right[presence], split.groups, seed) for presence in PRESENCES
    }
    for side in ("image", "text"):
        accuracy[f"both-{side}"] = _interval(right["both"] - right[side], split.groups, seed)
    ranks = {
        label.name: {
            presence: round(auroc(scores.of(presence)[:, place], split.truth[:, place] > 0.5), 4)
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


def _opens(scores: Scores, split: Split, labels: tuple[Label, ...]) -> dict[str, float]:
    """Return which share of true and of false alarms would open an incident of the claimed label."""
    place_of = {label.name: place for place, label in enumerate(labels)}
    thresholds = np.array([label.open_at for label in labels])
    claims = np.array([place_of.get(str(claim), -1) for claim in split.facets["claims"]])
    rows = np.flatnonzero(claims >= 0)
    claimed = claims[rows]
    happens = split.truth[rows, claimed] > 0.5
    shares: dict[str, float] = {}
    for presence in ("both", "text"):
        opens = scores.of(presence)[rows, claimed] >= thresholds[claimed]
        shares[f"true alarms, {presence}"] = round(float(opens[happens].mean()), 4) if happens.any() else 0.0
        shares[f"false alarms, {presence}"] = round(float(opens[~happens].mean()), 4) if (~happens).any() else 0.0
    vague = split.facets["kind"] == "vague"
    opens_any = (scores.both >= thresholds) & (split.truth > 0.5)
    eventful = vague & (split.truth.sum(1) > 0)
    shares["events under a vague text, both"] = (
        round(float(opens_any[eventful].any(1).mean()), 4) if eventful.any() else 0.0
    )
    return shares
