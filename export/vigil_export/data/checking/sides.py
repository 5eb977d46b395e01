"""Finds out whether a whole data set, or a split, lacks its texts or its pictures: often their column has another name.

In: rows. Out: what is lacking, in words, and which columns were not used. It opens no picture.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from vigil_export.data.rows import Row

Side = Literal["text", "picture"]

_COLUMNS: dict[Side, str] = {"text": "text", "picture": "file_name"}


@dataclass(frozen=True, slots=True)
class MissingSide:
    """A side that no row has, or none of a split.

    Attributes:
        side: Which.
        rows: How many rows lack it.
        words: What was expected and found, and what to do; to stand behind the number of rows.
    """

    side: Side
    rows: int
    words: str


def missing_sides(rows: Sequence[Row]) -> tuple[MissingSide, ...]:
    """Return the sides that no row has; never both, for a row without either is not read."""
    return tuple(
        MissingSide(
            side,
            len(rows),
            f"rows (all of them) have no {side}: expected it in the column {column}, found {_unused(rows)}; "
            f"if another column holds it, name it: --column {column}=NAME (train: --set data.columns.{column}=NAME)",
        )
        for side, column in _COLUMNS.items()
        if not any(_has(row, side) for row in rows)
    )


def missing_in_splits(rows: Sequence[Row]) -> tuple[MissingSide, ...]:
    """Return the sides that no row of a split has, but some of another do; their other columns are not it."""
    found = []
    for side in _COLUMNS:
        known = {name for row in rows if _has(row, side) for name, value in row.facets if value.strip()}
        having = {row.split for row in rows if _has(row, side)}
        for split in sorted({row.split for row in rows} - having) if having else ():
            lacking = [row for row in rows if row.split == split]
            words = (
                f"rows (all of {split or 'those without a split'}) have no {side}, but some of other splits "
                f"have: expected it in the same column there, found {_unused(lacking, known)}; if another column holds "
                "it, give that column the same name in all splits"
            )
            found.append(MissingSide(side, len(lacking), words))
    return tuple(found)


def _has(row: Row, side: Side) -> bool:
    return bool(row.text) if side == "text" else row.image is not None


def _unused(rows: Sequence[Row], known: Collection[str] = ()) -> str:
    unused = sorted({name for row in rows for name, _ in row.facets} - set(known))
    return f"columns that were not used ({', '.join(unused)})" if unused else "no other column"
