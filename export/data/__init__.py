"""Data sets: whatever the source, a split is arrays of prepared pictures, texts and truth."""

from export.data.split import Split

__all__ = ["Split"]
