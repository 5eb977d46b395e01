"""Pools the folds of a cross-validation. In: each fold's predictions and calibration. No PyTorch.

The folds come from different models, so their logits are calibrated first, each by its own model's calibration; what
comes out needs none any more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from export.evaluation.calibrated import Calibrated
from export.evaluation.calibration import rows_of
from export.evaluation.predictions import Predictions, PredictionsError, sides_of
from stream_app.bundle.calibration import LOGIT_LIMIT, scaled, through
from stream_app.bundle.manifest import PRESENCES, Presence, Scaling

FOLD = "fold"
"""The facet that numbers the folds from 1, if the data set has none of that name."""


def pool(parts: Sequence[tuple[Predictions, Calibrated]], *, name: str, are_ids_unique: bool = True) -> Predictions:
    """Pool folds.

    Args:
        parts: At least one; groups are numbered alike in all of them.
        name: Of the whole.
        are_ids_unique: Whether no row is in two parts, as test rows are; else ids begin with the number of the part.

    Returns:
        The rows of all parts with calibrated logits, and what their models look at: calibrated apart for each presence,
        the logits of a model of one side no longer show that they are the same with the other left out.

    Raises:
        PredictionsError: The parts have other labels, or were calibrated by a map of the softmax's result.
    """
    first = parts[0][0]
    for predictions, calibrated in parts:
        if (predictions.task, predictions.labels) != (first.task, first.labels):
            raise PredictionsError(f"{predictions.name}: expected the labels {first.labels}, found others")
        if first.task == "multiclass" and any(calibrated.calibration.of(one).knots for one in PRESENCES):
            raise PredictionsError(f"{predictions.name}: expected platt, temperature or none, found isotonic")
    ids = [row if are_ids_unique else f"{number}/{row}" for number, (one, _) in enumerate(parts, 1) for row in one.ids]
    sides = {sides_of(one) for one, _ in parts}
    before = np.cumsum([0, *(int(one.decisions.max(initial=-1)) + 1 for one, _ in parts)])
    return Predictions(
        name=name,
        task=first.task,
        labels=first.labels,
        logits={one: np.concatenate([_calibrated(*part, one) for part in parts]) for one in PRESENCES},
        truth=np.concatenate([one.truth for one, _ in parts]),
        has_image=np.concatenate([one.has_image for one, _ in parts]),
        has_text=np.concatenate([one.has_text for one, _ in parts]),
        decisions=np.concatenate([one.decisions + start for (one, _), start in zip(parts, before, strict=False)]),
        groups=np.concatenate([one.groups for one, _ in parts]),
        ids=tuple(ids),
        facets=_facets([one for one, _ in parts]),
        split=first.split,
        looks_at=sides.pop() if len(sides) == 1 else "both",
    )


def _calibrated(predictions: Predictions, calibrated: Calibrated, presence: Presence) -> npt.NDArray[np.float32]:
    """Return float32 [n, L]: of `both`, each row is calibrated by the sides that it has."""
    result = np.full_like(predictions.logits[presence], np.nan)
    sides = PRESENCES if presence == "both" else (presence,)
    for side in reversed(sides):  # what has both sides comes last, and counts
        rows = rows_of(predictions, side)
        result[rows] = _through(predictions.logits[presence][rows], calibrated.calibration.of(side))
    return result


def _through(logits: npt.NDArray[np.float32], scaling: Scaling) -> npt.NDArray[np.float64]:
    values = scaled(logits, scaling)
    if scaling.knots:
        rows = [[through(value, knots) for value, knots in zip(row, scaling.knots, strict=True)] for row in values]
        values = np.array(rows, np.float64).reshape(logits.shape)
    return np.clip(values, -LOGIT_LIMIT, LOGIT_LIMIT)


def _facets(parts: Sequence[Predictions]) -> dict[str, npt.NDArray[np.str_]]:
    names = sorted({name for one in parts for name in one.facets})
    found = {
        name: np.concatenate([one.facets.get(name, np.full(len(one), "", np.str_)) for one in parts]) for name in names
    }
    numbers = np.concatenate([np.full(len(one), str(number), np.str_) for number, one in enumerate(parts, 1)])
    return {FOLD: numbers, **found}
