"""Fusion heads: both sides' features and what is present in, logits out. Chosen by the `kind` of a `FusionSpec`."""

from typing import Protocol

from export.models.fusions.attention import AttentionHead
from export.models.fusions.bilinear import BilinearHead
from export.models.fusions.concat import ConcatHead
from export.models.fusions.decision import DecisionHead
from export.models.fusions.gated import GatedHead
from export.models.fusions.head import FusionHead
from export.models.fusions.one_side import ImageOnlyHead, TextOnlyHead
from export.models.fusions.product import ProductHead
from export.models.fusions.spec import DecisionRule, FusionKind, FusionSpec
from export.models.fusions.transformer import TransformerHead
from export.models.layers import Form


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
