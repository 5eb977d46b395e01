"""Fusion heads: both sides' features and what is present in, logits out. Chosen by the `kind` of a `FusionSpec`."""

from export.fusions.concat import ConcatHead
from export.fusions.head import FusionHead
from export.fusions.one_side import ImageOnlyHead, TextOnlyHead
from export.fusions.product import ProductHead
from export.fusions.spec import FusionKind, FusionSpec

FUSIONS: dict[FusionKind, type[ConcatHead | ImageOnlyHead | ProductHead | TextOnlyHead]] = {
    "concat": ConcatHead,
    "product": ProductHead,
    "image_only": ImageOnlyHead,
    "text_only": TextOnlyHead,
}
"""Kind -> class, each made of the shapes of a row's features on both sides, the number of labels and the spec."""

__all__ = ["FUSIONS", "FusionHead", "FusionKind", "FusionSpec"]
