"""Transformer fusion: one encoder over the tokens of both sides, which may look at each other in every layer.

MMBT (Kiela et al. 2019, arXiv:1909.02950) and ViLT (Kim et al. 2021, arXiv:2102.03334): tokens of both sides in one
sequence, told apart by a learned vector of the modality, judged by a token that stands before them.

Shapes: `b` batch, `s` image cells, `t` text tokens, `d` features of a side, `L` labels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from vigil_export.models.fusions.head import FusionHead
from vigil_export.models.fusions.sides import Side, unmarked
from vigil_export.models.fusions.spec import FusionSpec
from vigil_export.models.layers import Form, TransformerLayer


class TransformerHead(FusionHead):
    """[judge; image tokens; text tokens] -> layers of attention -> the judge -> one logit per label.

    The tokens of an absent side are masked; the judge is always there to look at.
    """

    FORM: ClassVar[Form] = "tokens"

    def __init__(
        self, image_shape: tuple[int, ...], text_shape: tuple[int, ...], labels: int, spec: FusionSpec
    ) -> None:
        """Build it with random weights; of the spec `width`, `heads`, `layers` and `dropout` count."""
        super().__init__()
        self.image = Side(image_shape[0], image_shape[1], spec.width)
        self.text = Side(text_shape[0], text_shape[1] - 1, spec.width)
        self.judge = nn.Parameter(torch.randn(spec.width) * 0.02)
        self.modality = nn.Parameter(torch.randn(2, spec.width) * 0.02)
        self.layers = nn.ModuleList(
            TransformerLayer(spec.width, spec.heads, dropout=spec.dropout) for _ in range(spec.layers)
        )
        self.normal = nn.LayerNorm(spec.width)
        self.out = nn.Linear(spec.width, labels)

    def forward(
        self, image_features: Tensor, text_features: Tensor, image_present: Tensor, text_present: Tensor
    ) -> Tensor:
        """Fuse: float32 [b, s, d], [b, t, d + 1], [b], [b] -> logits, float32 [b, L]."""
        words, is_word = unmarked(text_features, text_present)
        masked = image_features.new_zeros(())
        image = self.image(image_features, image_present, masked) + self.modality[0]  # [b, s, width]
        text = self.text(words, text_present, masked) + self.modality[1]  # [b, t, width]
        judge = self.judge.expand(image.shape[0], 1, -1)  # [b, 1, width]
        tokens = torch.cat((judge, image, text), 1)  # [b, 1 + s + t, width]
        is_real = torch.cat(
            (
                torch.ones_like(judge[:, :, 0], dtype=torch.bool),
                (image_present[:, None] > 0.5).expand(-1, image.shape[1]),
                is_word & (text_present[:, None] > 0.5),
            ),
            1,
        )
        for layer in self.layers:
            tokens = layer(tokens, is_real)
        return self.out(self.normal(tokens[:, 0]))  # type: ignore[no-any-return]
