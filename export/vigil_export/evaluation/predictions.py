"""What a model said about rows: raw logits with the truth beside them. All figures and comparisons come from these.

Written as one `.npz` without pickled objects, so that two runs can be compared years later without their models.
Shapes: `n` rows, `L` labels.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import numpy.typing as npt

from stream_app.bundle.manifest import PRESENCES, Presence
from stream_app.files import write_whole
from vigil_export.data.rows import Task
from vigil_export.data.split import Split

FORMAT = 1

SAME_LOGIT = 1e-5
"""A model whose logits differ by less when a side is left out does not look at that side."""


class PredictionsError(ValueError):
    """A file of predictions cannot be read, or two of them are not about the same rows."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Raw logits of rows.

    Attributes:
        name: Of the run, as tables show it.
        task: As in the manifest.
        labels: L names.
        logits: Presence -> float32 [n, L]: with what the row has (`both`), with the text left out (`image`), with the
            image left out (`text`). Rows that lack the only side that is left are NaN there.
        truth: float32 [n, L], 0 or 1.
        has_image: bool [n].
        has_text: bool [n].
        decisions: int64 [n]. Rows of one decision are results of one text with several pictures; they are combined by
            the mean of their calibrated logits, as the live system combines them. One row each: 0 to n - 1.
        groups: int64 [n].
        ids: n names; the rows of two runs are paired by them.
        facets: Name -> n values.
        split: `train`, `validation`, `test`, or empty where nobody knows. Nothing is fitted to the test split.
        looks_at: What the model looks at, where somebody wrote it down; else `sides_of` finds it out.
    """

    name: str
    task: Task
    labels: tuple[str, ...]
    logits: dict[Presence, npt.NDArray[np.float32]]
    truth: npt.NDArray[np.float32]
    has_image: npt.NDArray[np.bool_]
    has_text: npt.NDArray[np.bool_]
    decisions: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    facets: dict[str, npt.NDArray[np.str_]]
    split: str = ""
    looks_at: Presence | None = None

    @classmethod
    def of(
        cls,
        split: Split,
        logits: dict[Presence, npt.NDArray[np.float32]],
        *,
        task: Task,
        labels: tuple[str, ...],
        name: str,
        decisions: npt.NDArray[np.int64] | None = None,
        split_name: str = "",
    ) -> Self:
        """Put raw logits beside what is known of their rows; arguments as the attributes, each row its own decision."""
        return cls(
            name=name,
            task=task,
            labels=labels,
            logits=logits,
            truth=split.truth,
            has_image=split.has_image,
            has_text=split.has_text,
            decisions=np.arange(len(split), dtype=np.int64) if decisions is None else decisions,
            groups=split.groups,
            ids=split.ids,
            facets=split.facets,
            split=split_name,
        )

    def __len__(self) -> int:
        """Return n."""
        return len(self.ids)

    def save(self, path: Path) -> None:
        """Write them, whole or not at all; equal predictions give equal arrays.

        Raises:
            OSError: The disk is full, or the place cannot be written; what lay there before still does.
        """
        head = {
            "format": FORMAT,
            "name": self.name,
            "task": self.task,
            "labels": self.labels,
            "split": self.split,
            "looks_at": self.looks_at,
        }
        arrays: dict[str, npt.NDArray[Any]] = {
            "head": np.frombuffer(json.dumps(head).encode(), np.uint8),
            "truth": self.truth,
            "has_image": self.has_image,
            "has_text": self.has_text,
            "decisions": self.decisions,
            "groups": self.groups,
            "ids": np.array(self.ids, np.str_),
            **{f"logits.{presence}": values for presence, values in self.logits.items()},
            **{f"facet.{name}": values for name, values in self.facets.items()},
        }
        written = io.BytesIO()
        np.savez_compressed(written, allow_pickle=False, **arrays)
        write_whole(path, written.getvalue())


def sides_of(predictions: Predictions) -> Presence:
    """Return what a model looks at: as it is written down, else by whether logits change when a side is left out."""
    if predictions.looks_at is not None:
        return predictions.looks_at
    rows = predictions.has_image & predictions.has_text
    whole = predictions.logits["both"][rows]
    sides: tuple[Presence, ...] = ("text", "image")
    for side in sides:
        alone = predictions.logits[side][rows]
        if len(whole) and np.isfinite(alone).all() and float(np.abs(whole - alone).max()) < SAME_LOGIT:
            return side
    return "both"


def load_predictions(path: Path) -> Predictions:
    """Read predictions.

    Raises:
        PredictionsError: The file is missing, no file of predictions, or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        head = json.loads(arrays["head"].tobytes())
        found, task = head["format"], head["task"]
        if found != FORMAT or task not in get_args(Task):
            raise PredictionsError(
                f"{path}: expected predictions of format {FORMAT}, found format {found}, task {task}"
            )
        return Predictions(
            name=head["name"],
            task=task,
            labels=tuple(head["labels"]),
            logits={presence: arrays[f"logits.{presence}"] for presence in PRESENCES},
            truth=arrays["truth"],
            has_image=arrays["has_image"],
            has_text=arrays["has_text"],
            decisions=arrays["decisions"],
            groups=arrays["groups"],
            ids=tuple(arrays["ids"].tolist()),
            facets={name.removeprefix("facet."): arrays[name] for name in arrays if name.startswith("facet.")},
            split=head.get("split", ""),
            looks_at=_looks_at(path, head.get("looks_at")),
        )
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
        if isinstance(error, PredictionsError):
            raise
        advice = "remove it, and `vigil-export evaluate` computes it again (of a cross-validation: `crossval --resume`)"
        advice = "" if isinstance(error, OSError) else f"; {advice}"
        raise PredictionsError(f"{path}: expected a file of predictions, found {error}{advice}") from error


def _looks_at(path: Path, found: object) -> Presence | None:
    if found is None:
        return None
    for presence in PRESENCES:
        if found == presence:
            return presence
    raise PredictionsError(f"{path}: expected looks_at of {', '.join(PRESENCES)}, found {found}")
