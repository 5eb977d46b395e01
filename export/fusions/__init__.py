"""Fusion heads: both sides' features and what is present in, logits out. Chosen by the `kind` of a `FusionSpec`."""

from typing import Protocol

from export.fusions.attention import AttentionHead
from export.fusions.bilinear import BilinearHead
from export.fusions.concat import ConcatHead
from export.fusions.decision import DecisionHead
from export.fusions.gated import GatedHead
from export.fusions.head import FusionHead
from export.fusions.one_side import ImageOnlyHead, TextOnlyHead
from export.fusions.product import ProductHead
from export.fusions.spec import DecisionRule, FusionKind, FusionSpec
from export.fusions.transformer import TransformerHead
from export.layers import Form


class _Kind(Protocol):
    """A class of heads, made of the shapes of a row's features on both sides, the number of labels and the spec."""

    @property
    def FORM(self) -> Form: ...  # noqa: N802 - a constant of the class

    def __call__(
        self, image_shape: tuple[int, ...], text_shape: tuple[int, ...], labels: int, spec: FusionSpec
    ) -> FusionHead: ...


FUSIONS: dict[FusionKind, _Kind] = {
    "concat": ConcatHead,
    "gated": GatedHead,
    "product": ProductHead,
    "bilinear": BilinearHead,
    "attention": AttentionHead,
    "transformer": TransformerHead,
    "decision": DecisionHead,
    "image_only": ImageOnlyHead,
    "text_only": TextOnlyHead,
}
"""Kind -> class of its heads."""

__all__ = ["FUSIONS", "DecisionHead", "DecisionRule", "FusionHead", "FusionKind", "FusionSpec"]
