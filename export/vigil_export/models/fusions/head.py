"""What all fusion heads have: features of both sides and what is present in, logits out."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from stream_app.bundle.manifest import Presence
from vigil_export.models.layers import Form


class FusionHead(nn.Module):
    """A fusion head.

    `forward(image_features, text_features, image_present, text_present)` takes float32 [b, *image_shape],
    [b, *text_shape], [b] and [b] (1 where the side is present, 0 where not) and gives logits, float32 [b, L]. Whatever
    stands in the features of an absent side, NaN included, has no influence.

    A class of heads is made of (image_shape, text_shape, labels, spec): the shapes of a row's features on both sides,
    how many logits, and what it is made of, of which each says what counts. Pooled features have shape (d,); in the
    token form cells have (s, d) and words (t, d + 1).

    Attributes:
        FORM: Which form of features it takes.
        LOOKS_AT: The side that alone has an influence, or both.
    """

    FORM: ClassVar[Form] = "pooled"
    LOOKS_AT: ClassVar[Presence] = "both"
