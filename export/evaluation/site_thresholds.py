"""The drawn site's rule for thresholds. Goes in: calibrated validation rows, and which texts tell the truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.evaluation.predictions import Predictions
from export.evaluation.scores import score
from export.evaluation.thresholds import CLOSE_SHARE
from stream_app.bundle.manifest import Calibration, Label

ALONE_RECALL = 0.9
"""Share of the validation rows with a truthful alarm text that must reach `open_at` without any picture."""

BETA = 1.0
LOWEST_OPEN, HIGHEST_OPEN = 0.5, 0.9

THRESHOLD_RULE = (
    f"open_at of a label is the threshold with the best F{BETA:g} on validation rows with both sides, lowered where "
    f"needed until "
    f"{ALONE_RECALL:.0%} of the validation rows in which the event happens and the text says so reach it with the text "
    f"alone (an alarm whose picture is lost must not be swallowed), and kept within {LOWEST_OPEN} and {HIGHEST_OPEN}. "
    f"close_at is {CLOSE_SHARE:g} of open_at."
)


def choose_reported(
    predictions: Predictions, calibration: Calibration, *, is_reported: npt.NDArray[np.bool_]
) -> tuple[Label, ...]:
    """Choose open_at and close_at of each label by `THRESHOLD_RULE`.

    Args:
        predictions: Of validation rows, one decision each, all with both sides.
        calibration: Fitted to them.
        is_reported: bool [n, L]: does the row's text truthfully say that this label's event happens?

    Returns:
        One label each; all of them alert.
    """
    both, text = (score(predictions, calibration, presence).probabilities for presence in ("both", "text"))
    found = []
    for place, name in enumerate(predictions.labels):
        open_at = _best_f(both[:, place], predictions.truth[:, place] > 0.5)
        alone = text[is_reported[:, place], place]
        if len(alone):
            open_at = min(open_at, float(np.quantile(alone, 1 - ALONE_RECALL)))
        open_at = round(min(HIGHEST_OPEN, max(LOWEST_OPEN, open_at)), 3)
        found.append(Label(name=name, alerts=True, open_at=open_at, close_at=round(open_at * CLOSE_SHARE, 3)))
    return tuple(found)


def _best_f(chances: npt.NDArray[np.float64], happens: npt.NDArray[np.bool_]) -> float:
    best, best_at = -1.0, LOWEST_OPEN
    for threshold in np.arange(LOWEST_OPEN, HIGHEST_OPEN + 1e-9, 0.01):
        opens = chances >= threshold
        hits = float((opens & happens).sum())
        f_score = (1 + BETA**2) * hits / max(1.0, BETA**2 * float(happens.sum()) + float(opens.sum()))
        if f_score > best + 1e-12:
            best, best_at = f_score, float(threshold)
    return best_at
