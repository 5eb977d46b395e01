"""Product: both sides are projected into one space and multiplied there. Questions about pictures want this.

Kim et al. 2017, "Hadamard Product for Low-rank Bilinear Pooling" (arXiv:1610.04325).

Shapes: `b` batch, `d` features of a side, `L` labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vigil_export.models.fusions.head import FusionHead
from vigil_export.models.fusions.spec import FusionSpec
from vigil_export.models.layers import classifier, present_or


class ProductHead(FusionHead):
    """tanh(A image) * tanh(B text) -> dense with ReLU -> one logit per label.

    An absent side is replaced by a learned vector of factors; it starts at 1, which leaves the other side as it is.
    """

    def __init__(
        self, image_shape: tuple[int, ...], text_shape: tuple[int, ...], labels: int, spec: FusionSpec
    ) -> None:
        """Build it with random weights; of the spec `width` and `dropout` count."""
        super().__init__()
        self.image = nn.Linear(image_shape[0], spec.width)
        self.text = nn.Linear(text_shape[0], spec.width)
        self.no_image = nn.Parameter(torch.ones(spec.width))
        self.no_text = nn.Parameter(torch.ones(spec.width))
        self.classify = classifier(spec.width, labels, width=spec.width, dropout=spec.dropout)

    def forward(
        self, image_features: Tensor, text_features: Tensor, image_present: Tensor, text_present: Tensor
    ) -> Tensor:
        """Fuse: float32 [b, d], [b, d], [b], [b] -> logits, float32 [b, L]."""
        image = present_or(torch.tanh(self.image(image_features)), image_present, self.no_image)  # [b, width]
        text = present_or(torch.tanh(self.text(text_features)), text_present, self.no_text)  # [b, width]
        return self.classify(image * text)  # type: ignore[no-any-return]
