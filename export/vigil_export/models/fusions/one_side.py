"""The two baselines of one side: the picture alone and the text alone, through the same encoders and graphs.

Shapes: `b` batch, `d` features of a side, `L` labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vigil_export.models.fusions.head import FusionHead
from vigil_export.models.fusions.spec import FusionSpec
from vigil_export.models.layers import classifier, present_or


class ImageOnlyHead(FusionHead):
    """image -> dense with ReLU -> one logit per label. The text has no influence, present or not."""

    LOOKS_AT = "image"

    def __init__(
        self, image_shape: tuple[int, ...], text_shape: tuple[int, ...], labels: int, spec: FusionSpec
    ) -> None:
        """Build it with random weights; of the spec `width` (0: linear) and `dropout` count."""
        super().__init__()
        del text_shape
        self.no_image = nn.Parameter(torch.zeros(image_shape))
        self.classify = classifier(image_shape[0], labels, width=spec.width, dropout=spec.dropout)

    def forward(
        self, image_features: Tensor, text_features: Tensor, image_present: Tensor, text_present: Tensor
    ) -> Tensor:
        """Score: float32 [b, d], [b, d], [b], [b] -> logits, float32 [b, L]."""
        del text_features, text_present
        return self.classify(present_or(image_features, image_present, self.no_image))  # type: ignore[no-any-return]


class TextOnlyHead(FusionHead):
    """text -> dense with ReLU -> one logit per label. The picture has no influence, present or not."""

    LOOKS_AT = "text"

    def __init__(
        self, image_shape: tuple[int, ...], text_shape: tuple[int, ...], labels: int, spec: FusionSpec
    ) -> None:
        """Build it with random weights; of the spec `width` (0: linear) and `dropout` count."""
        super().__init__()
        del image_shape
        self.no_text = nn.Parameter(torch.zeros(text_shape))
        self.classify = classifier(text_shape[0], labels, width=spec.width, dropout=spec.dropout)

    def forward(
        self, image_features: Tensor, text_features: Tensor, image_present: Tensor, text_present: Tensor
    ) -> Tensor:
        """Score: float32 [b, d], [b, d], [b], [b] -> logits, float32 [b, L]."""
        del image_features, image_present
        return self.classify(present_or(text_features, text_present, self.no_text))  # type: ignore[no-any-return]
