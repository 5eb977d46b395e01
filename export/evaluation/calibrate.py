"""Calibrates a trained model. Goes in: raw logits of validation rows. Goes out: scales, offsets and thresholds.

Each presence (both sides, image alone, text alone) gets its own calibration: a lone text is less certain than a pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream_app.bundle.calibration import scaled
from stream_app.bundle.manifest import PRESENCES, Calibration, Label, Scaling

Logits = dict[str, npt.NDArray[np.float32]]
"""`both`, `image`, `text` -> raw logits, float32 [n, L]."""

PULL = 1.0
"""Strength, in rows, with which a calibration is pulled towards scale 1 and offset 0; it tames labels with few rows."""

ALONE_RECALL = 0.9
"""Share of the validation rows with a truthful alarm text that must reach `open_at` without any picture."""

BETA = 1.0
LOWEST_OPEN, HIGHEST_OPEN = 0.5, 0.9
CLOSE_SHARE = 0.6

THRESHOLD_RULE = (
    f"open_at of a label is the threshold with the best F{BETA:g} on validation rows with both sides, lowered where "
    f"needed until "
    f"{ALONE_RECALL:.0%} of the validation rows in which the event happens and the text says so reach it with the text "
    f"alone (an alarm whose picture is lost must not be swallowed), and kept within {LOWEST_OPEN} and {HIGHEST_OPEN}. "
    f"close_at is {CLOSE_SHARE:g} of open_at."
)


def fit_scaling(logits: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> Scaling:
    """Fit scale and offset per label by maximum likelihood (Platt 1999), with Newton's method.

    Args:
        logits: float32 [n, L], raw.
        truth: float32 [n, L], 0 or 1.

    Returns:
        A scaling with positive scales.
    """
    pairs = [_fit_label(logits[:, label].astype(np.float64), truth[:, label]) for label in range(truth.shape[1])]
    return Scaling(scale=tuple(scale for scale, _ in pairs), offset=tuple(offset for _, offset in pairs))


def _fit_label(logit: npt.NDArray[np.float64], truth: npt.NDArray[np.float32]) -> tuple[float, float]:
    inputs = np.stack((logit, np.ones_like(logit)), 1)
    weights, start = np.array((1.0, 0.0)), np.array((1.0, 0.0))
    for _ in range(50):
        chance = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (chance - truth) + PULL * (weights - start)
        curvature = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + PULL * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - np.clip(step, -1, 1)
        if float(np.abs(step).max()) < 1e-9:
            break
    return max(0.05, round(float(weights[0]), 6)), round(float(weights[1]), 6)


def _sigmoid(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(values, -40, 40)))
    return result


def fit_calibration(logits: Logits, truth: npt.NDArray[np.float32]) -> Calibration:
    """Fit the calibration of each presence; arguments as in `fit_scaling`."""
    both, image, text = (fit_scaling(logits[presence], truth) for presence in PRESENCES)
    return Calibration(both=both, image=image, text=text)


@dataclass(frozen=True, slots=True)
class Scores:
    """Calibrated probabilities of the rows of a split, float64 [n, L] for each presence."""

    both: npt.NDArray[np.float64]
    image: npt.NDArray[np.float64]
    text: npt.NDArray[np.float64]

    def of(self, presence: str) -> npt.NDArray[np.float64]:
        """Return the scores of that presence."""
        return {"both": self.both, "image": self.image, "text": self.text}[presence]


def apply(logits: Logits, calibration: Calibration) -> Scores:
    """Return the calibrated probabilities of raw logits, as serving computes them."""
    both, image, text = (_sigmoid(scaled(logits[presence], calibration.of(presence))) for presence in PRESENCES)
    return Scores(both, image, text)


def choose_thresholds(
    scores: Scores, truth: npt.NDArray[np.float32], *, is_reported: npt.NDArray[np.bool_], names: tuple[str, ...]
) -> tuple[Label, ...]:
    """Choose open_at and close_at of each label by `THRESHOLD_RULE`.

    Args:
        scores: Calibrated scores of the validation rows.
        truth: float32 [n, L], 0 or 1.
        is_reported: bool [n, L]: does the row's text truthfully say that this label's event happens?
        names: Names of the labels.

    Returns:
        One label each; all of them alert.
    """
    found = []
    for place, name in enumerate(names):
        open_at = _best_f(scores.both[:, place], truth[:, place] > 0.5)
        alone = scores.text[is_reported[:, place], place]
        if len(alone):
            open_at = min(open_at, float(np.quantile(alone, 1 - ALONE_RECALL)))
        open_at = round(min(HIGHEST_OPEN, max(LOWEST_OPEN, open_at)), 3)
        found.append(Label(name=name, alerts=True, open_at=open_at, close_at=round(open_at * CLOSE_SHARE, 3)))
    return tuple(found)


def _best_f(score: npt.NDArray[np.float64], happens: npt.NDArray[np.bool_]) -> float:
    best, best_at = -1.0, LOWEST_OPEN
    for threshold in np.arange(LOWEST_OPEN, HIGHEST_OPEN + 1e-9, 0.01):
        opens = score >= threshold
        hits = float((opens & happens).sum())
        f_score = (1 + BETA**2) * hits / max(1.0, BETA**2 * float(happens.sum()) + float(opens.sum()))
        if f_score > best + 1e-12:
            best, best_at = f_score, float(threshold)
    return best_at
