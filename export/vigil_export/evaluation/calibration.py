"""Calibrates a model. In: raw logits of validation rows. Out: the calibration of the manifest.

Each presence (both sides, image alone, text alone) gets its own: a lone text is less certain than a pair. What it does
to a logit is serving's own code, `stream_app.bundle.calibration`. Shapes: `n` rows, `L` labels.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp
from sklearn.isotonic import isotonic_regression

from stream_app.bundle.calibration import LOGIT_LIMIT, log_odds
from stream_app.bundle.manifest import PRESENCES, Calibration, Knots, Presence, Scaling
from vigil_export.data.preparing.access import TestSplitError
from vigil_export.data.rows import Task
from vigil_export.evaluation.predictions import Predictions

Method = Literal["platt", "temperature", "isotonic", "none"]
METHODS: tuple[Method, ...] = get_args(Method)

PULL = 1.0
"""Strength, in rows, with which a calibration is pulled towards scale 1 and offset 0; it tames labels with few rows."""

LEAST_SCALE = 0.05
ISOTONIC_ROWS = 20
"""Rows with a label, and as many without it, that the isotonic map needs; of fewer it would learn their accidents."""

_Logits = npt.NDArray[np.float32]
_Values = npt.NDArray[np.float64]


def calibrate(predictions: Predictions, method: Method = "platt") -> Calibration:
    """Fit the calibration of each presence.

    Args:
        predictions: Of validation rows.
        method: `platt`: scale and offset per label (Platt 1999; for `multiclass` the same before the softmax, the
            vector scaling of Guo et al. 2017, arXiv:1706.04599). `temperature`: one scale for all labels.
            `isotonic`: Platt's, and then per label the monotone map of isotonic regression (Zadrozny and Elkan 2002),
            where there are rows enough for it. `none`: logits stay as they are.

    Returns:
        A calibration that keeps the order of rows: scales are positive, maps never fall. A presence that no row has
        keeps its logits as they are.

    Raises:
        TestSplitError: The predictions are of the test split.
        ValueError: The method is unknown.
    """
    if predictions.split == "test":
        raise TestSplitError("expected predictions of validation rows to calibrate on, found the test split")
    if method not in METHODS:
        raise ValueError(f"method of calibration: expected {', '.join(METHODS)}, found {method}")
    both, image, text = (_fit_presence(predictions, presence, method) for presence in PRESENCES)
    return Calibration(both=both, image=image, text=text)


def without_map(scaling: Scaling) -> list[int]:
    """Return the places of the labels that have no isotonic map."""
    if not scaling.knots:
        return list(range(len(scaling.scale)))
    return [place for place, knots in enumerate(scaling.knots) if not knots]


def rows_of(predictions: Predictions, presence: Presence) -> npt.NDArray[np.bool_]:
    """Return which rows can be judged with exactly these sides, bool [n]."""
    has = {"image": predictions.has_image, "text": predictions.has_text}
    return has["image"] & has["text"] if presence == "both" else has[presence]


def _fit_presence(predictions: Predictions, presence: Presence, method: Method) -> Scaling:
    rows = rows_of(predictions, presence)
    logits, truth = predictions.logits[presence][rows], predictions.truth[rows].astype(np.float64)
    if not np.isfinite(logits).all():
        raise ValueError(f"{predictions.name}: expected finite logits of rows with {presence}, found NaN or infinity")
    return fit_scaling(logits, truth, task=predictions.task, method=method)


def fit_scaling(logits: _Logits, truth: _Values, *, task: Task, method: Method) -> Scaling:
    """Fit one presence.

    Args:
        logits: float32 [n, L], raw and finite.
        truth: float64 [n, L], 0 or 1.
        task: Of the model.
        method: As in `calibrate`.
    """
    count = truth.shape[1]
    plain = Scaling(scale=(1.0,) * count, offset=(0.0,) * count)
    if method == "none" or not len(logits):
        return plain
    if method == "temperature":
        return Scaling(scale=(_temperature(logits, truth, task),) * count, offset=plain.offset)
    fitted = _platt(logits, truth, task)
    if method == "platt":
        return fitted
    values = log_odds(logits, task=task, scaling=fitted)
    knots = tuple(_isotonic(values[:, label], truth[:, label]) for label in range(count))
    return Scaling(scale=fitted.scale, offset=fitted.offset, knots=knots if any(knots) else ())


def _platt(logits: _Logits, truth: _Values, task: Task) -> Scaling:
    """Maximise the likelihood over scale and offset per label; the pull makes its optimum unique and finite."""
    inputs, count = logits.astype(np.float64), truth.shape[1]

    def loss(weights: _Values) -> tuple[float, _Values]:
        scale, offset = weights[:count], weights[count:]
        value, beyond = _likelihood(inputs * scale + offset, truth, task)
        pull = np.concatenate((scale - 1, offset))
        gradient = np.concatenate(((beyond * inputs).sum(0), beyond.sum(0))) + PULL * pull
        return value + PULL / 2 * float(pull @ pull), gradient

    start = np.concatenate((np.ones(count), np.zeros(count)))
    bounds = [(LEAST_SCALE, None)] * count + [(None, None)] * count
    precise = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 10_000, "maxfun": 100_000}
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options=precise).x
    return Scaling(
        scale=tuple(_scale(value) for value in found[:count]),
        offset=tuple(round(float(value), 6) for value in found[count:]),
    )


def _temperature(logits: _Logits, truth: _Values, task: Task) -> float:
    """Return 1 / temperature, found between 1/50 and 50 on the logarithm of the scale."""
    inputs, most = logits.astype(np.float64), float(np.log(50))

    def loss(log_scale: float) -> float:
        return _likelihood(inputs * np.exp(log_scale), truth, task)[0]

    found = minimize_scalar(loss, bounds=(-most, most), method="bounded", options={"xatol": 1e-7})
    return _scale(np.exp(found.x))


def _likelihood(values: _Values, truth: _Values, task: Task) -> tuple[float, _Values]:
    """Return the negative log-likelihood of all rows and labels, nats, and its gradient by the values, [n, L]."""
    if task == "multiclass":
        norm = logsumexp(values, axis=1)
        return float((norm - (values * truth).sum(1)).sum()), np.exp(values - norm[:, None]) - truth
    return float((np.logaddexp(0, values) - values * truth).sum()), sigmoid(values) - truth


def _scale(value: float) -> float:
    return max(LEAST_SCALE, round(float(value), 6))


def _isotonic(values: _Values, truth: _Values) -> Knots:
    """Return the corners of the isotonic map of log-odds to log-odds; none where there are too few rows.

    Each level of the regression is a share of rows that have the label. It is smoothed towards one half by half a row
    each way (Jeffreys), so that a level without any is no certainty. Between the middles of two levels the map goes
    straight, so that it rarely puts two rows at one value as the steps of the regression would.
    """
    if min(truth.sum(), len(truth) - truth.sum()) < ISOTONIC_ROWS:
        return ()
    order = np.argsort(values, kind="stable")
    # Rows of one value are one point with their mean, or the regression would part them by the order of the file.
    points, first, count = np.unique(values[order], return_index=True, return_counts=True)
    share = np.add.reduceat(truth[order], first) / count
    level = isotonic_regression(share, sample_weight=count.astype(np.float64))
    starts = np.flatnonzero(np.r_[True, np.diff(level) > 1e-12])
    rows = np.add.reduceat(count, starts)
    hits = np.add.reduceat(share * count, starts)
    smoothed = (hits + 0.5) / (rows + 1)
    middles = np.add.reduceat(points * count, starts) / rows
    corners = [_rounded(x, p) for x, p in zip(middles, np.maximum.accumulate(smoothed), strict=True)]
    return tuple(corner for at, corner in enumerate(corners) if at == 0 or corner[0] > corners[at - 1][0])


def _rounded(x: float, share: float) -> tuple[float, float]:
    y = float(np.clip(np.log(share / (1 - share)), -LOGIT_LIMIT, LOGIT_LIMIT))
    return round(float(x), 6), round(y, 6)


def sigmoid(values: _Values) -> _Values:
    """Return 1 / (1 + exp(-value)), float64 in (0, 1) for values within +-36."""
    result: _Values = 1 / (1 + np.exp(-np.clip(values, -40, 40)))
    return result
