"""Gated fusion: a gate decides for every unit how much it takes from the picture and how much from the text.

The gated multimodal unit of Arevalo et al. 2017 (arXiv:1702.01992).

Shapes: `b` batch, `d` features of a side, `L` labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vigil_export.models.fusions.head import FusionHead
from vigil_export.models.fusions.spec import FusionSpec
from vigil_export.models.layers import present_or


class GatedHead(FusionHead):
    """z * tanh(A image) + (1 - z) * tanh(B text) with z = sigmoid(C [image; text]), then one logit per label.

    Without the text the gate is 1, without the picture 0: what is there is taken whole. Without both, 0 is taken.
    """

    def __init__(
        self, image_shape: tuple[int, ...], text_shape: tuple[int, ...], labels: int, spec: FusionSpec
    ) -> None:
        """Build it with random weights; of the spec `width` and `dropout` count."""
        super().__init__()
        self.image = nn.Linear(image_shape[0], spec.width)
        self.text = nn.Linear(text_shape[0], spec.width)
        self.gate = nn.Linear(image_shape[0] + text_shape[0], spec.width)
        self.drop = nn.Dropout(spec.dropout)
        self.out = nn.Linear(spec.width, labels)

    def forward(
        self, image_features: Tensor, text_features: Tensor, image_present: Tensor, text_present: Tensor
    ) -> Tensor:
        """Fuse: float32 [b, d], [b, d], [b], [b] -> logits, float32 [b, L]."""
        nothing = image_features.new_zeros(())
        image = present_or(image_features, image_present, nothing)
        text = present_or(text_features, text_present, nothing)
        gate = torch.sigmoid(self.gate(torch.cat((image, text), 1)))  # [b, width]
        from_image = present_or(present_or(gate, text_present, nothing + 1), image_present, nothing)
        from_text = present_or(present_or(1 - gate, image_present, nothing + 1), text_present, nothing)
        hidden = from_image * torch.tanh(self.image(image)) + from_text * torch.tanh(self.text(text))
        return self.out(self.drop(hidden))  # type: ignore[no-any-return]
