"""Brings the logits of a smaller variant back to those of float32. In: logits of both. Out: a calibration.

Rounding the weights shifts and scales all logits of a label a little; a straight line for each label undoes that. It is
fitted to logits, not to the truth, so rows that the model was trained on serve as well as others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_app.bundle.manifest import Calibration, Presence, Scaling
from vigil_export.evaluation.predictions import Predictions

_MOST_STRETCH = 2.0
"""A line steeper than this, or flatter than its inverse, is not rounding; then only the shift is undone."""


def corrected(calibration: Calibration, found: Predictions, reference: Predictions) -> Calibration:
    """Prepend to a calibration the lines that map a variant's logits to those of float32.

    Args:
        calibration: Of float32.
        found: Logits of the variant, n rows.
        reference: Logits of float32, of the same rows.

    Returns:
        The calibration of the variant; knots stay as they are.
    """

    def one(presence: Presence) -> Scaling:
        scaling = calibration.of(presence)
        slope, shift = _lines(found.logits[presence], reference.logits[presence])
        scale = np.array(scaling.scale, np.float64)
        return Scaling(
            scale=tuple((scale * slope).tolist()),
            offset=tuple((scale * shift + np.array(scaling.offset)).tolist()),
            knots=scaling.knots,
        )

    return Calibration(both=one("both"), image=one("image"), text=one("text"))


def _lines(
    found: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return slope and shift of each label, float64 [L], by least squares; 1 and 0 where nothing is known."""
    rows = np.isfinite(found).all(1) & np.isfinite(reference).all(1)
    labels = found.shape[1]
    if not rows.any():
        return np.ones(labels), np.zeros(labels)
    x, y = found[rows].astype(np.float64), reference[rows].astype(np.float64)
    spread = x.var(0)
    together = ((x - x.mean(0)) * (y - y.mean(0))).mean(0)
    slope = np.divide(together, spread, out=np.ones(labels), where=spread > 1e-12)
    slope = np.where((slope > 1 / _MOST_STRETCH) & (slope < _MOST_STRETCH), slope, 1.0)
    return slope, y.mean(0) - slope * x.mean(0)
