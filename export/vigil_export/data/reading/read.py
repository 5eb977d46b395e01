"""Opens a data set: a folder or file becomes rows. It must not open pictures, and it knows no model.

Our names of the columns are `file_name`, `text`, `label` or `labels`, `group`, `sequence`, `lang`, `split`; a data set
that calls them otherwise is read with `ReadOptions.columns`. Every further column with plain values becomes a facet.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from vigil_export.data.reading.labels import understand
from vigil_export.data.reading.records import Record, read_records, separator_hint, split_name
from vigil_export.data.rows import DataError, Dataset, Row, Task

COLUMNS = ("file_name", "text", "label", "labels", "group", "sequence", "lang", "split")


class ReadOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a data set is to be understood; every default fits a folder in our own words.

    Attributes:
        task: `auto` looks at the labels: see `vigil_export.data.reading.labels.understand`.
        labels: In the order of the logits; empty: those that are found, sorted.
        negative: Labels that mean "nothing happened"; empty: the usual names (normal, none, ...) where they occur.
        columns: Our name of a column -> the file's.
        separator: Between several labels of one cell.
    """

    task: Task | Literal["auto"] = "auto"
    labels: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    columns: dict[str, str] = {}
    separator: str = ";"


def open_dataset(path: Path, options: ReadOptions | None = None) -> Dataset:
    """Read the rows of a data set.

    Args:
        path: See `vigil_export.data.reading.records.read_records`.
        options: How to understand it.

    Returns:
        Rows in the order of the files, each with a label that `Dataset.labels` or `Dataset.negative` names. A row
        without a group gets its sequence as its group, else its picture (rows that share one are not independent),
        else itself.

    Raises:
        DataError: With the place, what was expected and what was found: a file or column that is missing, a line that
            cannot be read, a picture that is not there, an unknown label, one class only.
    """
    return open_datasets([path], options)


def open_datasets(paths: Sequence[Path], options: ReadOptions | None = None) -> Dataset:
    """Read several data sets as one: their labels are understood together, named groups of one name are one group.

    Args:
        paths: See `open_dataset`; with more than one, ids of rows begin with the number of theirs, and so do names of
            sequences that several of them have: each is an event of its own.
        options: How to understand them.

    Raises:
        DataError: As `open_dataset` does.
    """
    options = options or ReadOptions()
    sets: list[list[Row]] = []
    is_list = False
    for number, path in enumerate(paths, 1):
        records = read_records(path)
        if len(paths) > 1:
            records = [replace(record, place=f"{number}/{record.place}") for record in records]
        names = _columns(records, options)
        is_list |= "labels" in names
        seen: dict[Path, bool] = {}
        sets.append([_row(record, names, options.separator, seen) for record in records])
    rows = _with_own_sequences(sets)
    try:
        meaning = understand(rows, task=options.task, labels=options.labels, negative=options.negative, is_list=is_list)
    except DataError as error:
        raise DataError(f"{', '.join(map(str, paths))}: {error}") from error
    return Dataset(meaning.task, meaning.labels, meaning.negative, tuple(rows))


def _with_own_sequences(sets: Sequence[Sequence[Row]]) -> list[Row]:
    """Return the rows of all sets; where several have a sequence of one name, the number of its set stands before."""
    times = Counter(name for rows in sets for name in {row.sequence for row in rows} - {""})
    found: list[Row] = []
    for number, rows in enumerate(sets, 1):
        prefix = f"{number}/"
        while any(name.startswith(prefix) for name in times):  # as where a set was joined before
            prefix = f"_{prefix}"
        found += (_renamed(row, f"{prefix}{row.sequence}") if times[row.sequence] > 1 else row for row in rows)
    return found


def _renamed(row: Row, sequence: str) -> Row:
    """Give a row's sequence another name, and its group, where that is no name of its own."""
    return replace(row, sequence=sequence, group=row.group if row.is_group_named else sequence)


def _columns(records: Sequence[Record], options: ReadOptions) -> dict[str, str]:
    """Return our name -> the file's, for the columns that are there."""
    place = records[0].place
    columns_of = _columns_of_files(records)
    if unknown := sorted(set(options.columns) - set(COLUMNS)):
        raise DataError(f"columns: expected names out of {', '.join(COLUMNS)}, found {', '.join(unknown)}")
    found = set().union(*columns_of.values())
    listed = (", ".join(sorted(found)) or "none") + separator_hint(found)
    for ours, theirs in options.columns.items():
        if theirs not in found:
            raise DataError(f"{place}: expected a column {theirs!r} (for {ours}), found the columns {listed}")
    names = {ours: options.columns.get(ours, ours) for ours in COLUMNS}
    names = {ours: theirs for ours, theirs in names.items() if theirs in found}
    for declared, other in (("label", "labels"), ("labels", "label")):
        if declared in options.columns and other not in options.columns:
            names.pop(other, None)
    if ("label" in names) == ("labels" in names):
        raise DataError(f"{place}: expected one column label (one name) or labels (a list), found the columns {listed}")
    if "file_name" not in names and "text" not in names:
        raise DataError(f"{place}: expected a column file_name, text, or both, found the columns {listed}")
    labelled = names.get("label") or names["labels"]
    for file, columns in columns_of.items():
        if labelled not in columns:  # or all its rows would silently mean that nothing happened
            raise DataError(
                f"{file}: expected a column {labelled!r} as in the other files (null where nothing happened), found "
                f"the columns {', '.join(sorted(columns))}"
            )
    return names


def _columns_of_files(records: Sequence[Record]) -> dict[str, set[str]]:
    columns: dict[str, set[str]] = {}
    for record in records:
        columns.setdefault(record.place.rpartition(":")[0], set()).update(record.values)
    return columns


def _row(record: Record, names: Mapping[str, str], separator: str, seen: dict[Path, bool]) -> Row:
    def word(ours: str) -> str:
        return _word(record.values.get(names[ours]), record.place, names[ours]) if ours in names else ""

    used = set(names.values())
    name = word("file_name")
    image = _image(record, name, seen)
    text = word("text")
    text = text if text.strip() else ""
    if image is None and not text:
        raise DataError(f"{record.place}: expected a picture, a text, or both, found neither{_unused(record, used)}")
    sequence = word("sequence")
    group = word("group")
    split = word("split")
    if split and record.split and split_name(split, record.place) != record.split:
        raise DataError(f"{record.place}: expected split {record.split}, as its folder says, found {split!r}")
    facets = {name: _facet(value) for name, value in record.values.items() if name not in used}
    return Row(
        id=record.place,
        image=image,
        text=text,
        labels=_labels(record, names, separator),
        group=group or sequence or _alone(record, name),
        sequence=sequence,
        lang=word("lang"),
        split=record.split or (split_name(split, record.place) if split else ""),
        facets=tuple(sorted((name, value) for name, value in facets.items() if value is not None)),
        is_group_named=bool(group),
    )


def _unused(record: Record, used: Collection[str]) -> str:
    """Say which columns may hold what was not found; nothing where there are none."""
    columns = [name for name, value in record.values.items() if name not in used and (_facet(value) or "").strip()]
    return (
        f"; the columns {', '.join(sorted(columns))} were not used: if one holds it, name it, --column text=NAME or "
        "--column file_name=NAME (train: --set data.columns.text=NAME)"
        if columns
        else ""
    )


def _alone(record: Record, name: str) -> str:
    """Return the group of a row that names none; the same on every machine."""
    folder = record.place.rpartition(":")[0].rpartition("/")[0]
    return f"picture:{posixpath.normpath(f'{folder}/{name}')}" if name else f"row:{record.place}"


def _word(value: object, place: str, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise DataError(f"{place}: expected a word or a number in {column}, found {type(value).__name__}")


def _facet(value: object) -> str | None:
    is_plain = value is not None and isinstance(value, str | int | float)
    return _word(value, "", "") if is_plain else None


def _labels(record: Record, names: Mapping[str, str], separator: str) -> tuple[str, ...]:
    column = names.get("labels", names.get("label", ""))
    value: Any = record.values.get(column)
    if "labels" not in names:
        name = _word(value, record.place, column).strip()
        return (name,) if name else ()
    items = value if isinstance(value, list) else _word(value, record.place, column).split(separator)
    found = (_word(item, record.place, column).strip() for item in items)
    return tuple(dict.fromkeys(name for name in found if name))


def _image(record: Record, name: str, seen: dict[Path, bool]) -> Path | None:
    if not name:
        return None
    image = record.folder / name
    if image not in seen:
        seen[image] = image.is_file()
    if not seen[image]:
        raise DataError(f"{record.place}: expected the picture {image}, found no file there")
    return image
