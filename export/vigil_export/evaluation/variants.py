"""What the variants of an exported run cost, as they are kept in its `variants.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import msgspec

Variant = Literal["fp32", "fp16", "int8"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
"""Of the graphs of a bundle, the exact one first."""


class VariantFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a variant costs.

    Attributes:
        variant: Which.
        size_bytes: Of its three graphs.
        rows: On how many validation rows the rest was measured.
        accuracy: Share of right decisions, 0-1.
        balanced_accuracy: Mean recall (`vigil_export.evaluation.metrics`), 0-1: what happens seldom counts alike. None
            where these rows lack the two classes of each label.
        auroc: Mean over labels of the area under the ROC curve, 0-1: the lowest of rows judged with what they have, by
            the picture alone, and by the text alone. It sees labels that open far below one half, too. None where it
            cannot be told: these rows lack the two classes of each label, or an older version measured.
        auroc_loss: Most of it that any of the three loses against `fp32`, whether it is the lowest or not; below 0
            where all gain. None as for `auroc`.
        ece: Expected calibration error as `vigil_export.evaluation.metrics` defines it, 0-1.
        logit_difference: Greatest absolute difference of a raw logit from `fp32`.
        pairs_per_s: Pairs that one CPU thread of the machine that exported encodes and fuses per second.
    """

    variant: Variant
    size_bytes: int
    rows: int
    accuracy: float
    balanced_accuracy: float | None
    auroc: float | None = None
    auroc_loss: float | None = None
    ece: float
    logit_difference: float
    pairs_per_s: float


def read_variants(path: Path) -> tuple[VariantFigures, ...]:
    """Return the variants, fp32 first; none where no such file can be read."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=tuple[VariantFigures, ...])
    except (OSError, msgspec.MsgspecError):
        return ()
    return found if found and found[0].variant == "fp32" else ()
