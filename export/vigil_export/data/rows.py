"""A data set as it is on disk: rows of names, not of pixels. Readers make it; nothing here opens a picture.

It must not know PyTorch, models, or where the rows came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Task = Literal["binary", "multiclass", "multilabel"]
SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
Progress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""


class DataError(ValueError):
    """A data set cannot be used as it is; the message names file and line, what was expected, what was found."""


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled pair, or one side of one.

    Attributes:
        id: Unique within the data set and stable between readings: the metadata file and its line.
        image: The picture's file; None where the row has none.
        text: The sentence; empty where the row has none.
        labels: Names of what is true of it; empty where nothing is.
        group: Rows of one group are not independent (one scene, one camera): splits never part them and intervals
            resample them. A row without one is a group of its own.
        sequence: Pictures of one event share it; a text may be judged with all pictures of its sequence. Empty: alone.
        lang: The language of the text, or empty.
        split: The split that the data set gives it, or empty.
        facets: Further columns by which figures can be broken down, (name, value) sorted by name.
        is_group_named: Whether the data set names the group. A name that was made up in reading means nothing beside
            another data set, so it is not written.
    """

    id: str
    image: Path | None
    text: str
    labels: tuple[str, ...]
    group: str
    sequence: str = ""
    lang: str = ""
    split: str = ""
    facets: tuple[tuple[str, str], ...] = ()
    is_group_named: bool = True


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows with the meaning of their labels.

    Attributes:
        task: `binary` has one output (the label that is not `negative`), `multiclass` one of several for each row,
            `multilabel` any number.
        labels: Names of the model's outputs, in the order of the logits.
        negative: Names that mean "nothing happened": no output in `binary` and `multilabel`, an output that never
            alerts in `multiclass`.
        rows: In the order of the files.
    """

    task: Task
    labels: tuple[str, ...]
    negative: tuple[str, ...]
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.rows)
