"""What is minimised: the loss of rows, and of a batch with each side left out.

Modality dropout without chance: every batch is scored with what its rows have, with the text left out and with the
picture left out, so that one model serves pairs, lone pictures and lone texts. The encoders run once for all three.
Shapes: `b` rows, `d` features, `L` labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from vigil_export.data import Task
from vigil_export.models.model import FusionModel
from vigil_export.training.batches import Batch
from vigil_export.training.config import Recipe


def class_weights(truth: npt.NDArray[np.float32], task: Task) -> Tensor:
    """Weigh classes by how rare they are, so that each counts the same over all rows.

    Args:
        truth: float32 [n, L], 0 or 1.
        task: As in the manifest.

    Returns:
        float32 [L]: `multiclass` the weight of each class, with mean 1 over the rows; else what a row with the label
        counts where a row without it counts 1. A label without rows weighs 1.
    """
    having = truth.sum(0).astype(np.float64)
    if task == "multiclass":
        weights = np.where(having > 0, len(truth) / np.maximum(having, 1) / max(1, int((having > 0).sum())), 1.0)
    else:
        weights = np.where(having > 0, (len(truth) - having) / np.maximum(having, 1), 1.0)
    return torch.from_numpy(np.maximum(weights, 1e-3).astype(np.float32))


def row_losses(
    logits: Tensor, truth: Tensor, *, task: Task, weights: Tensor | None = None, gamma: float = 0.0
) -> Tensor:
    """Return the loss of each row.

    Args:
        logits: float32 [b, L].
        truth: float32 [b, L], 0 or 1; in `multiclass` one label each.
        task: As in the manifest.
        weights: Of `class_weights`.
        gamma: Of the focal loss (Lin et al. 2017, arXiv:1708.02002): a row counts (1 - p)^gamma, p being the
            probability of what is true; 0 is plain cross-entropy.

    Returns:
        float32 [b].
    """
    if task == "multiclass":
        target = truth.argmax(1)
        plain = cross_entropy(logits, target, reduction="none")
        weighted = plain if weights is None else plain * weights[target]
        return weighted if gamma == 0 else weighted * (1 - torch.exp(-plain)) ** gamma
    plain = binary_cross_entropy_with_logits(logits, truth, reduction="none")
    weighted = plain if weights is None else plain * torch.where(truth > 0.5, weights, torch.ones_like(weights))
    return (weighted if gamma == 0 else weighted * (1 - torch.exp(-plain)) ** gamma).mean(1)


def encode(model: FusionModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the features of each row's picture and text, float32 [b, ...]; each distinct one is encoded once."""
    seen = model.encode_images(batch.images)[batch.image_of]
    return seen, model.encode_texts(batch.tokens, batch.length)[batch.text_of]


def batch_losses(model: FusionModel, batch: Batch, recipe: Recipe, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the mean loss of a batch with what its rows have, and the weighed sum of those with a side left out.

    Args:
        model: Whose loss it is.
        batch: Its rows; those that lack a side count in the first mean alone.
        recipe: `loss`, `focal_gamma` and the weights of the lone sides count; a view of weight 0 is not worked out.
        weights: Of `class_weights`.
    """
    features = encode(model, batch)
    gamma = recipe.focal_gamma if recipe.loss == "focal" else 0.0

    def mean(image: Tensor, text: Tensor, counts: Tensor) -> Tensor:
        logits = model.head(*features, image, text)
        losses = row_losses(logits, batch.truth, task=model.spec.task, weights=weights, gamma=gamma)
        return (losses * counts).sum() / counts.sum().clamp(min=1)

    none = torch.zeros_like(batch.has_image)
    with_both = batch.has_image * batch.has_text
    both = mean(batch.has_image, batch.has_text, torch.ones_like(none))
    others = torch.zeros_like(both)
    if recipe.image_alone_weight:
        others = others + recipe.image_alone_weight * mean(with_both, none, with_both)
    if recipe.text_alone_weight:
        others = others + recipe.text_alone_weight * mean(none, with_both, with_both)
    return both, others


def count_right(logits: Tensor, truth: Tensor, task: Task) -> int:
    """Return how many decisions say exactly what is true, as `vigil_export.evaluation.metrics` defines it."""
    if task == "multiclass":
        return int((logits.argmax(1) == truth.argmax(1)).sum())
    return int(((logits >= 0) == (truth > 0.5)).all(1).sum())


def descend(parameters: Sequence[Tensor], loss: Callable[[], Tensor]) -> None:
    """Minimise a smooth loss over all rows at once (L-BFGS), in place."""
    optimizer = torch.optim.LBFGS(parameters, max_iter=300, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        found = loss()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(step)  # type: ignore[no-untyped-call]
