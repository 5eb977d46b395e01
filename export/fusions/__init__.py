"""Fusion heads: both sides' features and what is present in, logits out. Chosen by name in `export.model.ModelSpec`."""

from collections.abc import Callable

from export.fusions.concat import ConcatHead

FUSIONS: dict[str, Callable[[int, int, int], ConcatHead]] = {"concat": ConcatHead}
"""Name -> factory that takes the lengths of the image's and the text's features and the number of labels."""

__all__ = ["FUSIONS", "ConcatHead"]
