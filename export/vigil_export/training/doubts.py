"""Says what is doubtful about a training. In: rows, predictions of validation rows. Out: sentences.

Shapes: `n` rows, `L` labels.
"""

from __future__ import annotations

from itertools import compress

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stream_app.bundle.manifest import PRESENCES
from vigil_export.data import Dataset, Split
from vigil_export.evaluation.calibration import rows_of
from vigil_export.evaluation.predictions import Predictions
from vigil_export.models.fusions import FusionKind
from vigil_export.training.config import Recipe
from vigil_export.training.losses import class_weights, descend, row_losses
from vigil_export.training.run import ADVICE, TrainingError

LARGEST_LOGIT = 500.0
"""Beyond, neighbours of float32 lie 6e-5 apart: the export's check, to 1e-4, hardly holds."""

_NOTHING_LEARNED = {
    "gradient": "try another recipe.rate or more recipe.epochs, and check whether the labels fit the rows",
    "probe": "try other pretrained encoders or more rows, and check whether the labels fit the rows",
}


def doubts_of_rows(train: Split, validation: Split, dataset: Dataset, fusion: FusionKind) -> list[str]:
    """Say what can be trained but will hardly be worth it; a side that the fusion does not use is ignored."""
    found = []
    for side, column, lacking, other in (
        ("text", "text", [not part.has_text.any() for part in (train, validation)], "image_only"),
        ("picture", "file_name", [not part.has_image.any() for part in (train, validation)], "text_only"),
    ):
        if any(lacking) and fusion != other:
            rows = " or ".join(compress(("training", "validation"), lacking))
            advice = f"--set data.columns.{column}=NAME" if all(lacking) else "give it the same name in all splits"
            found.append(f"no {rows} row has a {side}; if it is in another column, {advice}")
    with_label = validation.truth.mean(axis=0)
    lonely = [name for name, share in zip(dataset.labels, with_label, strict=True) if share in {0, 1}]
    if lonely:
        found.append(
            f"all or none of the validation rows have {', '.join(lonely)}: its calibration and thresholds are guesses; "
            "`vigil-export data split` spreads labels over the splits"
        )
    return found


def doubts_of_result(predictions: Predictions, learned: npt.NDArray[np.float32], recipe: Recipe) -> list[str]:
    """Say what went wrong with a model without an error: it diverged, or knows only how frequent labels are.

    Args:
        predictions: Of validation rows, by the model as it is kept.
        learned: float32 [n, L], the truth of the training rows.
        recipe: How it was trained; losses are compared as it weighs them.

    Raises:
        TrainingError: A logit is not finite.
    """
    logits = np.concatenate([predictions.logits[one][rows_of(predictions, one)] for one in PRESENCES])
    if not np.isfinite(logits).all():
        raise TrainingError(f"expected finite logits of validation rows, found NaN or infinity: {ADVICE}")
    largest = float(np.abs(logits).max(initial=0))
    loss, constant = _losses(predictions, learned, recipe)
    kind = "focal validation loss" if _gamma(recipe) else "validation loss"
    if largest > LARGEST_LOGIT:
        return [
            (
                f"expected logits within {LARGEST_LOGIT:g} of 0, found {largest:.4g}, and a {kind} of {loss:.4g}: "
                f"the model diverged, and `vigil-export export` will probably refuse it; {ADVICE}"
            )
        ]
    if loss >= constant:
        return [
            (
                f"expected a {kind} below {constant:.4g}, that of the same answer for every row, "
                f"found {loss:.4g}: nothing was learned that generalises; {_NOTHING_LEARNED[recipe.method]}"
            )
        ]
    return []


def _gamma(recipe: Recipe) -> float:
    """Return that of the focal loss by which the model was trained; 0 where it was cross-entropy."""
    return recipe.focal_gamma if (recipe.method, recipe.loss) == ("gradient", "focal") else 0.0


def _losses(predictions: Predictions, learned: npt.NDArray[np.float32], recipe: Recipe) -> tuple[float, float]:
    """Return the mean loss over rows, and that of the constant which loses least on the training rows."""
    weights = class_weights(learned, predictions.task).double() if recipe.class_weights else None

    def mean(logits: Tensor, truth: npt.NDArray[np.float32]) -> Tensor:
        target = torch.from_numpy(truth).double()
        each = logits.double().expand(len(target), -1)
        return row_losses(each, target, task=predictions.task, weights=weights, gamma=_gamma(recipe)).mean()

    best = torch.zeros(learned.shape[1], dtype=torch.float64, requires_grad=True)
    # A label without rows would pull its logit to minus infinity.
    descend([best], lambda: mean(best, learned) + 1e-6 * best.square().sum())
    rows = predictions.has_image | predictions.has_text
    truth = predictions.truth[rows]
    return float(mean(torch.from_numpy(predictions.logits["both"][rows]), truth)), float(mean(best.detach(), truth))
