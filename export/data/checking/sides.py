"""Sees whether a whole data set, or a split, lacks its texts or its pictures: often their column has another name.

Goes in: rows. Goes out: what lacks, in words, and which columns could hold it. It opens no picture.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from export.data.rows import Row

Side = Literal["text", "picture"]

_SIDES: tuple[Side, ...] = ("text", "picture")
_COLUMNS = {"text": "text", "picture": "file_name"}
_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
# A column with so few values, each of them in many rows, is a category (a camera, a shift), not prose.
_CATEGORIES = 15
# Words of categories are shorter on average, characters.
_WORD = 10


@dataclass(frozen=True, slots=True)
class MissingSide:
    """A side that no row has, or none of a split.

    Attributes:
        side: Which.
        rows: How many rows lack it.
        words: What was expected and found, and what to do; to stand behind the number of rows.
        holders: Columns that were not used and could hold it, by what their values look like.
    """

    side: Side
    rows: int
    words: str
    holders: tuple[str, ...]


def missing_sides(rows: Sequence[Row]) -> tuple[MissingSide, ...]:
    """Return the sides that no row has; never both, for a row without either is not read."""
    return tuple(
        MissingSide(
            side,
            len(rows),
            f"rows, which is all, have no {side}: expected it in the column {_COLUMNS[side]}, found {_unused(rows)}; "
            f"if another column holds it, name that: --column {_COLUMNS[side]}=NAME "
            f"(train: --set data.columns.{_COLUMNS[side]}=NAME)",
            _holders(rows, side),
        )
        for side in _SIDES
        if not any(_has(row, side) for row in rows)
    )


def missing_in_splits(rows: Sequence[Row]) -> tuple[MissingSide, ...]:
    """Return the sides that no row of a split has, but some of another; a column that these have beside is not it."""
    found = []
    for side in _SIDES:
        known = {name for row in rows if _has(row, side) for name, value in row.facets if value.strip()}
        having = {row.split for row in rows if _has(row, side)}
        for split in sorted({row.split for row in rows} - having) if having else ():
            lacking = [row for row in rows if row.split == split]
            words = (
                f"rows, which is all of {split or 'those without a split'}, have no {side}, but some of other splits "
                f"have: expected it in the same column there, found {_unused(lacking, known)}; if another column holds "
                "it, give that the same name in all splits"
            )
            found.append(MissingSide(side, len(lacking), words, _holders(lacking, side, known)))
    return tuple(found)


def _has(row: Row, side: Side) -> bool:
    return bool(row.text) if side == "text" else row.image is not None


def _unused(rows: Sequence[Row], known: Collection[str] = ()) -> str:
    unused = sorted({name for row in rows for name, _ in row.facets} - set(known))
    return f"columns that were not used ({', '.join(unused)})" if unused else "no other column"


def _holders(rows: Sequence[Row], side: Side, known: Collection[str] = ()) -> tuple[str, ...]:
    """Return the columns that were not used, beside those known, whose values look like this side."""
    values: dict[str, list[tuple[Path | None, str]]] = {}
    for row in rows:
        for name, value in row.facets:
            if value.strip() and name not in known:
                values.setdefault(name, []).append((row.folder, value.strip()))
    return tuple(name for name in sorted(values) if _looks_like(side, values[name]))


def _looks_like(side: Side, values: Sequence[tuple[Path | None, str]]) -> bool:
    are_pictures = _are_most(_is_picture(folder, value) for folder, value in set(values))
    return are_pictures if side == "picture" else not are_pictures and _are_prose([value for _, value in values])


def _is_picture(folder: Path | None, value: str) -> bool:
    if value.lower().endswith(_PICTURE_SUFFIXES):
        return True
    try:
        return folder is not None and (folder / value).is_file()
    except OSError:  # too long for a name
        return False


def _are_prose(values: Sequence[str]) -> bool:
    distinct = set(values)
    if len(distinct) <= _CATEGORIES and 2 * len(distinct) <= len(values):
        return False
    characters = "".join(distinct)
    if sum(map(str.isalpha, characters)) <= sum(map(str.isdigit, characters)):  # times, measures, identifiers
        return False
    is_long = len(characters) > _WORD * len(distinct)
    return is_long or _are_most(" " in value for value in distinct) or _are_most(map(_has_cjk, distinct))


def _has_cjk(value: str) -> bool:
    return any("\u3040" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7a3" for character in value)


def _are_most(answers: Iterable[bool]) -> bool:
    found = list(answers)
    return 2 * sum(found) > len(found)
