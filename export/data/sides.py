"""Sees whether a whole data set lacks its texts or its pictures: often their column has another name.

Goes in: rows. Goes out: what lacks, in words. It opens no picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from export.data.rows import Row


@dataclass(frozen=True, slots=True)
class MissingSide:
    """A side that no row has.

    Attributes:
        side: Which.
        words: What was expected and found, and what to do; to stand behind the number of rows.
        unused: Columns of the files that were not used, one of which may hold it.
    """

    side: Literal["text", "picture"]
    words: str
    unused: tuple[str, ...]


def missing_sides(rows: Sequence[Row]) -> tuple[MissingSide, ...]:
    """Return the sides that no row has; never both, for a row without either is not read."""
    absent: list[tuple[Literal["text", "picture"], str]] = []
    if all(not row.text for row in rows):
        absent.append(("text", "text"))
    if all(row.image is None for row in rows):
        absent.append(("picture", "file_name"))
    unused = tuple(sorted({name for row in rows for name, _ in row.facets})) if absent else ()
    found = f"columns that were not used ({', '.join(unused)})" if unused else "no other column"
    return tuple(
        MissingSide(
            side,
            f"rows, which is all, have no {side}: expected it in the column {column}, found {found}; if another column "
            f"holds it, name that: --column {column}=NAME (train: --set data.columns.{column}=NAME)",
            unused,
        )
        for side, column in absent
    )
