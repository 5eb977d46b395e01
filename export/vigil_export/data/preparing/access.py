"""Opens splits for a purpose, and keeps test rows away from everything that learns from them.

Training, calibration and the choice of thresholds come this way; what is fitted on test rows says nothing any more.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from stream_app.bundle.manifest import ImageSpec
from vigil_export.data.preparing.prepare import prepare
from vigil_export.data.rows import SPLIT_NAMES, DataError, Dataset, SplitName
from vigil_export.data.split import Split

Purpose = Literal["training", "calibration", "evaluation"]


class TestSplitError(RuntimeError):
    """The test split was asked for to learn from it: a mistake in the program, not in the data."""

    __test__ = False  # no test class, whatever pytest makes of its name


class Splits:
    """The splits of a data set, each read when it is first asked for.

    Attributes:
        dataset: Its rows say which split they belong to.
    """

    def __init__(self, dataset: Dataset, image: ImageSpec, cache: Path) -> None:
        """Take a data set.

        Args:
            dataset: With a split in its rows: its own, or one of `vigil_export.data.dividing`.
            image: Size of the pictures.
            cache: Folder where prepared pictures are kept.
        """
        self.dataset, self._image, self._cache = dataset, image, cache
        self._opened: dict[tuple[SplitName, ...], Split] = {}

    @property
    def sizes(self) -> dict[SplitName, int]:
        """How many rows each split has; no picture is opened for that."""
        counts = Counter(row.split for row in self.dataset.rows)
        return {name: counts[name] for name in SPLIT_NAMES}

    def open(self, name: SplitName, *more: SplitName, purpose: Purpose) -> Split:
        """Return a split, or several as one.

        Args:
            name: Which.
            more: Further ones.
            purpose: What for. Only `evaluation` may see the test split.

        Raises:
            TestSplitError: The test split was asked for to train or calibrate.
            DataError: A split has no rows, or a picture of it cannot be read.
        """
        names = (name, *more)
        if "test" in names and purpose != "evaluation":
            raise TestSplitError(
                f"expected train or validation for {purpose}, found test: its figures would be invalid"
            )
        if names not in self._opened:
            rows = [row for row in self.dataset.rows if row.split in names]
            if lacking := [one for one in names if not self.sizes[one]]:
                sizes = ", ".join(f"{split} {size}" for split, size in self.sizes.items())
                also = "train --all-rows` needs none" if name == "train" else "crossval` measures without"
                raise DataError(
                    f"expected rows of the split {lacking[0]}, found none ({sizes}, without a split "
                    f"{len(self.dataset) - sum(self.sizes.values())}); `vigil-export data split` makes splits, `{also}"
                )
            self._opened[names] = prepare(self.dataset, rows, self._image, self._cache)
        return self._opened[names]
