"""Fusion heads: both sides' features and what is present in, logits out. Chosen by the `kind` of a `FusionSpec`."""

from typing import Protocol

from vigil_export.models.fusions.attention import AttentionHead
from vigil_export.models.fusions.bilinear import BilinearHead
from vigil_export.models.fusions.concat import ConcatHead
from vigil_export.models.fusions.decision import DecisionHead
from vigil_export.models.fusions.gated import GatedHead
from vigil_export.models.fusions.head import FusionHead
from vigil_export.models.fusions.one_side import ImageOnlyHead, TextOnlyHead
from vigil_export.models.fusions.product import ProductHead
from vigil_export.models.fusions.spec import DecisionRule, FusionKind, FusionSpec
from vigil_export.models.fusions.transformer import TransformerHead
from vigil_export.models.layers import Form


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
