"""Data sets: rows as they lie on disk, splits as training and evaluation read them. No PyTorch here."""

from export.data.rows import SPLIT_NAMES, DataError, Dataset, Row, SplitName, Task
from export.data.split import NO_IMAGE, Split

__all__ = ["NO_IMAGE", "SPLIT_NAMES", "DataError", "Dataset", "Row", "Split", "SplitName", "Task"]
