"""Concatenation: both sides' features side by side, then dense layers. The classic of CNN and RNN.

As in Vinyals et al. 2015 (arXiv:1411.4555) a CNN reads the picture and an LSTM the text; Ngiam et al. 2011
("Multimodal Deep Learning", ICML) trained such joint layers with one side left out.

Shapes: `b` batch, `d` features of a side, `L` labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vigil_export.models.fusions.head import FusionHead
from vigil_export.models.fusions.spec import FusionSpec
from vigil_export.models.layers import present_or


class ConcatHead(FusionHead):
    """[image; text] -> dense with ReLU -> one logit per label. An absent side is replaced by a learned vector."""

    def __init__(
        self, image_shape: tuple[int, ...], text_shape: tuple[int, ...], labels: int, spec: FusionSpec
    ) -> None:
        """Build it with random weights; of the spec `width` and `dropout` count."""
        super().__init__()
        self.no_image = nn.Parameter(torch.zeros(image_shape))
        self.no_text = nn.Parameter(torch.zeros(text_shape))
        self.dense = nn.Linear(image_shape[0] + text_shape[0], spec.width)
        self.drop = nn.Dropout(spec.dropout)
        self.out = nn.Linear(spec.width, labels)

    def forward(
        self, image_features: Tensor, text_features: Tensor, image_present: Tensor, text_present: Tensor
    ) -> Tensor:
        """Fuse: float32 [b, d], [b, d], [b], [b] -> logits, float32 [b, L]."""
        image = present_or(image_features, image_present, self.no_image)
        text = present_or(text_features, text_present, self.no_text)
        hidden = torch.relu(self.dense(torch.cat((image, text), 1)))  # [b, width]
        return self.out(self.drop(hidden))  # type: ignore[no-any-return]
