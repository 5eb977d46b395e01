"""Low-rank bilinear fusion: every product of an image feature and a text feature counts, through few factors.

Liu et al. 2018, "Efficient Low-rank Multimodal Fusion" (arXiv:1806.00064). A full bilinear layer has d x d x width
weights; as a sum of `rank` products of two projections it has 2 x rank x d x width.

Shapes: `b` batch, `d` features of a side, `r` rank, `L` labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vigil_export.models.fusions.head import FusionHead
from vigil_export.models.fusions.spec import FusionSpec
from vigil_export.models.layers import classifier, present_or


class BilinearHead(FusionHead):
    """Sum over r of (A_r [image; 1]) * (B_r [text; 1]) -> dense with ReLU -> one logit per label.

    The 1 behind each side's features keeps what one side says by itself beside the products. It is also all that is
    left of an absent side, whose features count as 0.
    """

    def __init__(
        self, image_shape: tuple[int, ...], text_shape: tuple[int, ...], labels: int, spec: FusionSpec
    ) -> None:
        """Build it with random weights; of the spec `width`, `rank` and `dropout` count."""
        super().__init__()
        self.rank, self.width = spec.rank, spec.width
        # The bias of a dense layer is its weight for the 1.
        self.image = nn.Linear(image_shape[0], spec.rank * spec.width)
        self.text = nn.Linear(text_shape[0], spec.rank * spec.width)
        # Biases about 1, so that in the beginning each side alone passes.
        with torch.no_grad():
            self.image.bias.add_(1.0)
            self.text.bias.add_(1.0)
        self.weigh = nn.Parameter(torch.full((spec.rank, 1), spec.rank**-0.5))
        self.classify = classifier(spec.width, labels, width=spec.width, dropout=spec.dropout)

    def forward(
        self, image_features: Tensor, text_features: Tensor, image_present: Tensor, text_present: Tensor
    ) -> Tensor:
        """Fuse: float32 [b, d], [b, d], [b], [b] -> logits, float32 [b, L]."""
        nothing = image_features.new_zeros(())
        image = self.image(present_or(image_features, image_present, nothing))  # [b, r * width]
        text = self.text(present_or(text_features, text_present, nothing))  # [b, r * width]
        products = (image * text).reshape(-1, self.rank, self.width)  # [b, r, width]
        return self.classify((products * self.weigh).sum(1))  # type: ignore[no-any-return]
