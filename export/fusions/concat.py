"""Fusion by concatenation: both sides' features side by side, then dense layers.

Shapes: `b` batch, `d` features of a side, `L` labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConcatHead(nn.Module):
    """Concatenate, two dense layers, one logit per label.

    A side that is absent is replaced by a learned vector, so whatever stands in its features has no influence.
    """

    def __init__(
        self, image_features: int, text_features: int, labels: int, *, width: int = 128, dropout: float = 0.2
    ) -> None:
        """Build it with random weights.

        Args:
            image_features: Length of a row's image features.
            text_features: Length of a row's text features.
            labels: How many logits.
            width: Units of the dense layer between.
            dropout: Share of the units left out in training.
        """
        super().__init__()
        self.no_image = nn.Parameter(torch.zeros(image_features))
        self.no_text = nn.Parameter(torch.zeros(text_features))
        self.dense = nn.Linear(image_features + text_features, width)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(width, labels)

    def forward(
        self, image_features: Tensor, text_features: Tensor, image_present: Tensor, text_present: Tensor
    ) -> Tensor:
        """Fuse.

        Args:
            image_features: float32 [b, d].
            text_features: float32 [b, d].
            image_present: float32 [b], 1 where there is an image, 0 where there is none.
            text_present: float32 [b], the same for the text.

        Returns:
            Logits, float32 [b, L].
        """
        image = torch.where(image_present[:, None] > 0.5, image_features, self.no_image[None, :])
        text = torch.where(text_present[:, None] > 0.5, text_features, self.no_text[None, :])
        hidden = torch.relu(self.dense(torch.cat((image, text), 1)))  # [b, width]
        return self.out(self.drop(hidden))  # type: ignore[no-any-return]
