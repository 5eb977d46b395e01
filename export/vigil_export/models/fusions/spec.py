"""What a fusion head is made of, as values that a configuration file holds. No PyTorch here."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

FusionKind = Literal[
    "concat", "gated", "product", "bilinear", "attention", "transformer", "decision", "image_only", "text_only"
]
DecisionRule = Literal["average", "weighted", "stack", "saturating"]


class FusionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fusion head.

    Attributes:
        kind: A name in `vigil_export.models.fusions.FUSIONS`.
        width: Units of the dense layers, width of attention; 0 in heads of one side and of decisions: linear.
        dropout: Share of the units left out in training.
        heads: Of attention.
        layers: Of the transformer.
        rank: Of the bilinear fusion.
        rule: How the two decisions are joined.
    """

    kind: FusionKind = "concat"
    width: Annotated[int, msgspec.Meta(ge=0)] = 128
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.2
    heads: Annotated[int, msgspec.Meta(ge=1)] = 4
    layers: Annotated[int, msgspec.Meta(ge=1)] = 2
    rank: Annotated[int, msgspec.Meta(ge=1)] = 8
    rule: DecisionRule = "stack"
