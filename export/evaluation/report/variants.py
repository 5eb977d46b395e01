"""Reads what smaller variants of a run cost. Goes in: the run's variants.json. Goes out: lines of a table."""

from __future__ import annotations

from pathlib import Path

import msgspec


class VariantLine(msgspec.Struct, frozen=True, kw_only=True):
    """One variant, as `vigil-export export` measured it on validation rows.

    Attributes:
        variant: `fp32`, `fp16` or `int8`.
        size_bytes: Of its three graphs.
        rows: On how many rows the rest was measured.
        accuracy: Share of right decisions, 0-1.
        ece: Expected calibration error, 0-1.
        logit_difference: Greatest absolute difference of a raw logit from `fp32`.
        pairs_per_s: Pairs that one CPU thread of the machine that exported encodes and fuses per second.
    """

    variant: str
    size_bytes: int
    rows: int
    accuracy: float
    ece: float
    logit_difference: float
    pairs_per_s: float


def read_variants(path: Path) -> tuple[VariantLine, ...]:
    """Return the variants, fp32 first; none where no such file can be read."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=tuple[VariantLine, ...])
    except (OSError, msgspec.MsgspecError):
        return ()
    return found if found and found[0].variant == "fp32" else ()
