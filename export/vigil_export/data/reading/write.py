"""Writes rows as an imagefolder: one folder per split, with `metadata.jsonl` and the pictures beside it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from stream_app.files import new_folder
from vigil_export.data.rows import Dataset, Progress, Row

# Names that a column of the files has already; a facet of that name comes from a column that was not used.
_OURS = ("file_name", "text", "label", "labels", "group", "sequence", "lang", "split")


def write_dataset(out: Path, dataset: Dataset, *, links: bool = False, progress: Progress | None = None) -> None:
    """Write a data set in our own words, pictures and all.

    Args:
        out: The folder to create. Rows with a split go to OUT/SPLIT, others to OUT itself.
        dataset: Its rows.
        links: Make hard links to the pictures in place of copies, where the file system can.
        progress: Told of each row.

    Raises:
        FileExistsError: `out` exists.
        OSError: A picture cannot be read or the folder cannot be written; nothing is left behind.
    """
    with new_folder(out) as draft:
        files: dict[str, _Split] = {}
        for number, row in enumerate(dataset.rows, 1):
            folder = files.setdefault(row.split, _Split(draft / row.split, links=links))
            folder.add(row, has_list=dataset.task == "multilabel")
            if progress is not None:
                progress(number, len(dataset.rows))
        for folder in files.values():
            write_lines(folder.path / "metadata.jsonl", folder.lines)


def write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


@dataclass(slots=True)
class _Split:
    """One folder as it grows."""

    path: Path
    links: bool
    lines: list[dict[str, Any]] = field(default_factory=list)
    _names: dict[Path, str] = field(default_factory=dict)
    # Our own files' names from the start: a picture must not take their place.
    _taken: set[str] = field(default_factory=lambda: {"metadata.jsonl", "metadata.csv"})

    def add(self, row: Row, *, has_list: bool) -> None:
        self.path.mkdir(exist_ok=True)
        line: dict[str, Any] = {"file_name": None if row.image is None else self._picture(row.image), "text": row.text}
        line |= {"labels": row.labels} if has_list else {"label": row.labels[0] if row.labels else None}
        # A group that was made up follows again from sequence or picture; as a given name, it could be another set's.
        group = row.group if row.is_group_named else None
        line |= {"group": group, "sequence": row.sequence or None, "lang": row.lang or None}
        line |= {f"found_{name}" if name in _OURS else name: value for name, value in row.facets}
        self.lines.append(line)

    def _picture(self, image: Path) -> str:
        if image not in self._names:
            stem, suffix = (re.sub(r"[^\w.-]", "_", part) for part in (image.stem, image.suffix))
            name, number = f"{stem}{suffix}", 1
            while name.lower() in self._taken:
                number += 1
                name = f"{stem}-{number}{suffix}"
            self._taken.add(name.lower())
            self._names[image] = name
            self._put(image, self.path / name)
        return self._names[image]

    def _put(self, image: Path, path: Path) -> None:
        if self.links:
            try:
                os.link(image.resolve(), path)
            except OSError:
                pass  # another file system, or one without links
            else:
                return
        shutil.copyfile(image, path)
