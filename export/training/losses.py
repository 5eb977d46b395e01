"""The loss of a batch of logits. Shapes: `b` rows, `L` labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from export.data import Task


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
