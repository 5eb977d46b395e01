"""Thresholds that an operator sets in place of those that the bundle's manifest brings. They change results.

In: overrides per label, as probabilities. Out: the model's label rules with the overrides applied, and the settings
hash over everything that changes results. It must not know where the values come from.
"""

from __future__ import annotations

import difflib
import hashlib
from typing import TYPE_CHECKING

import msgspec

from stream_app.core.score import micro_logit
from stream_app.core.settings import Semantic, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.core.types import LabelRule


class ThresholdOverride(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds of one label, as probabilities strictly between 0 and 1; None leaves the manifest's value."""

    label: str
    open_at: float | None = None
    close_at: float | None = None


def override_labels(labels: Sequence[LabelRule], overrides: Sequence[ThresholdOverride]) -> tuple[LabelRule, ...]:
    """Apply overrides to the labels of a bundle.

    Args:
        labels: the rules that the manifest brings.
        overrides: at most one per label.

    Returns:
        The rules in the same order.

    Raises:
        SettingsError: if an override names no label of the bundle, or close_at would lie above open_at.
    """
    names = [label.name for label in labels]
    for override in overrides:
        if override.label not in names:
            nearest = difflib.get_close_matches(override.label, names, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            message = f"setting thresholds.{override.label}: expected a label of the bundle ({', '.join(names)}){hint}"
            raise SettingsError(message)
    by_label = {override.label: override for override in overrides}
    return tuple(_override(label, by_label.get(label.name)) for label in labels)


def settings_sha256(semantic: Semantic, thresholds: Sequence[ThresholdOverride]) -> str:
    """Return the settings hash: over the semantic settings and the threshold overrides, in any order.

    Without overrides it is :attr:`Semantic.sha256`, so that naming none and having none are the same.
    """
    if not thresholds:
        return semantic.sha256
    ordered = sorted(thresholds, key=lambda override: override.label)
    return hashlib.sha256(msgspec.json.encode((semantic, ordered), order="sorted")).hexdigest()


def _override(label: LabelRule, override: ThresholdOverride | None) -> LabelRule:
    if override is None:
        return label
    open_at = label.open_at if override.open_at is None else micro_logit(override.open_at)
    close_at = label.close_at if override.close_at is None else micro_logit(override.close_at)
    if close_at > open_at:
        message = (
            f"setting thresholds.{label.name}: expected close_at <= open_at, "
            f"found micro-logits {close_at} > {open_at} (the manifest's value applies where none is set)"
        )
        raise SettingsError(message)
    return msgspec.structs.replace(label, open_at=open_at, close_at=close_at)
