"""Attention both ways: the cells of the picture look at the words, the words look at the cells.

Parallel co-attention of Lu et al. 2016 (arXiv:1606.00061) with the attention of transformers, as in the co-attention
layers of ViLBERT (Lu et al. 2019, arXiv:1908.02265).

Shapes: `b` batch, `s` image cells, `t` text tokens, `d` features of a side, `L` labels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from vigil_export.models.fusions.head import FusionHead
from vigil_export.models.fusions.sides import Side, unmarked
from vigil_export.models.fusions.spec import FusionSpec
from vigil_export.models.layers import Attention, Form, classifier, mean_of_real


class AttentionHead(FusionHead):
    """Image tokens attend to the text and text tokens to the image; the means of both -> dense -> logits.

    An absent side is one learned token, which the other side can only look at or past.
    """

    FORM: ClassVar[Form] = "tokens"

    def __init__(
        self, image_shape: tuple[int, ...], text_shape: tuple[int, ...], labels: int, spec: FusionSpec
    ) -> None:
        """Build it with random weights; of the spec `width`, `heads` and `dropout` count."""
        super().__init__()
        self.image = Side(image_shape[0], image_shape[1], spec.width)
        self.text = Side(text_shape[0], text_shape[1] - 1, spec.width)
        self.no_image, self.no_text = (nn.Parameter(torch.zeros(spec.width)) for _ in range(2))
        self.image_to_text = Attention(spec.width, spec.heads, dropout=spec.dropout)
        self.text_to_image = Attention(spec.width, spec.heads, dropout=spec.dropout)
        self.normal_image, self.normal_text = nn.LayerNorm(spec.width), nn.LayerNorm(spec.width)
        self.classify = classifier(2 * spec.width, labels, width=spec.width, dropout=spec.dropout)

    def forward(
        self, image_features: Tensor, text_features: Tensor, image_present: Tensor, text_present: Tensor
    ) -> Tensor:
        """Fuse: float32 [b, s, d], [b, t, d + 1], [b], [b] -> logits, float32 [b, L]."""
        words, is_word = unmarked(text_features, text_present)
        image = self.image(image_features, image_present, self.no_image)  # [b, s, width]
        text = self.text(words, text_present, self.no_text)  # [b, t, width]
        is_cell = torch.ones_like(image[:, :, 0], dtype=torch.bool)  # [b, s]
        told = self.normal_image(image + self.image_to_text(image, text, is_word))  # [b, s, width]
        shown = self.normal_text(text + self.text_to_image(text, image, is_cell))  # [b, t, width]
        pooled = torch.cat((told.mean(1), mean_of_real(shown, is_word)), 1)  # [b, 2 width]
        return self.classify(pooled)  # type: ignore[no-any-return]
