"""Data sets: rows as they are on disk, splits as training and evaluation read them. No PyTorch here."""

from vigil_export.data.preparing.access import Purpose, Splits, TestSplitError
from vigil_export.data.reading.read import ReadOptions, open_dataset
from vigil_export.data.rows import SPLIT_NAMES, DataError, Dataset, Row, SplitName, Task
from vigil_export.data.split import NO_IMAGE, Split

__all__ = [
    "NO_IMAGE",
    "SPLIT_NAMES",
    "DataError",
    "Dataset",
    "Purpose",
    "ReadOptions",
    "Row",
    "Split",
    "SplitName",
    "Splits",
    "Task",
    "TestSplitError",
    "open_dataset",
]
