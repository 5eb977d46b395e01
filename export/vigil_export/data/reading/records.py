"""Files of a data set to records: finds the metadata files of a folder and reads them line by line.

In: a folder or a file. Out: one mapping per line, with its place for messages. It must not know what the
columns mean, nor open a picture.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vigil_export.data.rows import DataError, SplitName

# The names by which data sets in the field call the three splits; the first of each is ours.
_SPELLINGS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_METADATA = ("metadata.jsonl", "metadata.csv")
_QUESTIONS = "questions.json"
# Beside one question file lies one folder of pictures, each named by its number.
_PICTURES = "images"
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, slots=True)
class Record:
    """One line as it is in its file.

    Attributes:
        place: File and line, `train/metadata.jsonl:17`, relative to the data set; unique within it.
        folder: Where file names of this line begin.
        split: Given by the folder that the file lies in, or empty.
        values: Column -> value.
    """

    place: str
    folder: Path
    split: str
    values: dict[str, Any]


def split_name(found: str, place: str) -> SplitName:
    """Return our name of a split.

    Args:
        found: As the data set spells it.
        place: Where, for the message.

    Raises:
        DataError: It is none of the spellings that the field uses.
    """
    for name, spellings in _SPELLINGS.items():
        if found.strip().lower() in spellings:
            return name
    raise DataError(f"{place}: expected the split train, validation or test, found {found!r}")


def read_records(path: Path) -> list[Record]:
    """Read all records of a data set.

    Args:
        path: A folder with `metadata.jsonl` or `metadata.csv` (in it, or in one folder per split), or with a
            `questions.json` per split; the same below a folder `data`; or one `.jsonl` or `.csv` file.

    Returns:
        The records in the order of the splits and lines.

    Raises:
        DataError: Nothing of the kind is there, or a file cannot be read; the message says where.
    """
    root, files = _find(path)
    records: list[Record] = []
    for file, split in files:
        name = file.relative_to(root).as_posix()
        try:
            found = _read_file(file, name, split)
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: expected UTF-8, found another encoding ({error.reason})") from error
        except OSError as error:
            raise DataError(f"{file}: expected a file that can be read, found: {error.strerror}") from error
        if not found:  # a split that was cut off must not pass for one that is not there
            raise DataError(f"{file}: expected at least one line of data, found none; write it again, or remove it")
        records += found
    return records


def separator_hint(columns: Collection[str]) -> str:
    """Say what to do where a whole header was read as one column; nothing where it was not."""
    is_whole = len(columns) == 1 and any(mark in name for name in columns for mark in ";\t")
    return "; write the file again, separated by commas" if is_whole else ""


def _find(path: Path) -> tuple[Path, list[tuple[Path, str]]]:
    if path.is_file():
        if path.suffix in {".jsonl", ".csv"}:
            return path.parent, [(path, "")]
        raise DataError(f"{path}: expected a folder, a .jsonl or a .csv file, found {path.suffix or path.name}")
    if not path.is_dir():
        raise DataError(f"{path}: expected a folder or a file, found nothing there")
    for root in (path, path / "data"):
        files = _files_in(root)
        if files:
            return root, files
    raise DataError(
        f"{path}: expected metadata.jsonl, metadata.csv or train/questions.json (in the folder, in a folder per split, "
        "or below `data`), found none (docs/data.md shows the format)"
    )


def _files_in(root: Path) -> list[tuple[Path, str]]:
    at_root = [(root / name, "") for name in _METADATA if (root / name).is_file()]
    in_splits: list[tuple[Path, str]] = [
        (root / spelling / name, split)
        for split, spellings in _SPELLINGS.items()
        for spelling in spellings
        for name in (*_METADATA, _QUESTIONS)
        if (root / spelling / name).is_file()
    ]
    folders = [file.parent for file, _ in at_root + in_splits]
    if (at_root and in_splits) or len(set(folders)) < len(folders):
        found = ", ".join(file.relative_to(root).as_posix() for file, _ in at_root + in_splits)
        raise DataError(f"{root}: expected one file of metadata, or one in each split, found {found}")
    return at_root or in_splits


def _read_file(file: Path, name: str, split: str) -> list[Record]:
    if file.name == _QUESTIONS:
        return _read_questions(file, name, split)
    lines = _jsonl(file, name) if file.suffix == ".jsonl" else _csv(file, name)
    return [Record(f"{name}:{line}", file.parent, split, values) for line, values in lines]


def _jsonl(file: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield number, decoder.decode(line)
            except msgspec.DecodeError as error:
                raise DataError(f"{name}:{number}: expected a JSON object, found {_short(line)} ({error})") from error


def _csv(file: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, strict=True)
        number = 1
        try:
            header = [name.strip() for name in next(reader, [])]
            if len(set(header)) < len(header):
                raise DataError(f"{name}:1: expected every column once, found {', '.join(header)}")
            number = reader.line_num + 1
            for cells in reader:
                if cells and len(cells) != len(header):
                    raise DataError(
                        f"{name}:{number}: expected {len(header)} columns, found {len(cells)}{separator_hint(header)}"
                    )
                if cells:
                    yield number, dict(zip(header, cells, strict=True))
                number = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{name}:{number}: expected CSV with a header, found: {error}") from error


def _read_questions(file: Path, name: str, split: str) -> list[Record]:
    try:
        items = msgspec.json.decode(file.read_bytes(), type=list[tuple[str, str, int | str]])
    except msgspec.DecodeError as error:
        raise DataError(f"{name}: expected a list of [question, answer, picture], found: {error}") from error
    suffix = next((suffix for suffix in _PICTURE_SUFFIXES if any((file.parent / _PICTURES).glob(f"*{suffix}"))), "")
    records = []
    for number, (question, answer, picture) in enumerate(items, 1):
        image = f"{_PICTURES}/{picture}{suffix}"
        values = {"file_name": image, "text": question, "label": answer}
        records.append(Record(f"{name}:{number}", file.parent, split, values))
    return records


def _short(line: str) -> str:
    line = line.strip()
    return repr(line if len(line) <= 60 else f"{line[:57]}...")
