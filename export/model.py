"""The model: an image encoder, a text encoder and a fusion head, each a graph of its own after export.

Shapes: `b` batch, `h`, `w` picture, `t` tokens, `d` features, `L` labels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from export.encoders import IMAGE_ENCODERS, TEXT_ENCODERS
from export.fusions import FUSIONS


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model is made of.

    Attributes:
        labels: Names of the labels, in the order of the logits.
        vocabulary: How many token ids there are.
        height: Rows of the picture.
        width: Columns of the picture.
        features: Length of a row's features, of each side.
        image_encoder: A name in `export.encoders.IMAGE_ENCODERS`.
        text_encoder: A name in `export.encoders.TEXT_ENCODERS`.
        fusion: A name in `export.fusions.FUSIONS`.
    """

    labels: tuple[str, ...]
    vocabulary: int
    height: int = 96
    width: int = 128
    features: int = 128
    image_encoder: str = "narrow-resnet"
    text_encoder: str = "lstm"
    fusion: str = "concat"


class FusionModel(nn.Module):
    """Encode each side once, fuse as often as needed."""

    def __init__(self, spec: ModelSpec) -> None:
        """Build it with random weights.

        Args:
            spec: Its parts.

        Raises:
            KeyError: No encoder or fusion of that name.
        """
        super().__init__()
        self.spec = spec
        self.image = IMAGE_ENCODERS[spec.image_encoder](spec.features)
        self.text = TEXT_ENCODERS[spec.text_encoder](spec.vocabulary, spec.features)
        self.head = FUSIONS[spec.fusion](spec.features, spec.features, len(spec.labels))

    def forward(
        self, image: Tensor, tokens: Tensor, length: Tensor, image_present: Tensor, text_present: Tensor
    ) -> Tensor:
        """Score pairs.

        Args:
            image: uint8 [b, h, w, 3], RGB.
            tokens: int64 [b, t].
            length: int64 [b].
            image_present: float32 [b], 0 or 1.
            text_present: float32 [b], 0 or 1.

        Returns:
            Logits, float32 [b, L].
        """
        logits: Tensor = self.head(self.image(image), self.text(tokens, length), image_present, text_present)
        return logits
