"""Counts what each split of a data set holds. In: rows. Out: numbers. It opens no picture."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from unicodedata import name as name_of_character

import msgspec

from vigil_export.data.checking.duplicates import normalise
from vigil_export.data.rows import SPLIT_NAMES, Dataset, Row


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one split; `name` is empty for rows that have none."""

    name: str
    rows: int
    groups: int
    pictures: int
    without_picture: int
    without_text: int
    without_label: int
    distinct_texts: int
    labels: dict[str, int]
    languages: dict[str, int]


def parts_of(dataset: Dataset) -> tuple[Part, ...]:
    """Count each split that has rows, in the order of training, and rows without one last."""
    parts = []
    for name in (*SPLIT_NAMES, ""):
        rows = [row for row in dataset.rows if row.split == name]
        if rows:
            parts.append(
                Part(
                    name=name,
                    rows=len(rows),
                    groups=len({row.group for row in rows}),
                    pictures=len({row.image for row in rows} - {None}),
                    without_picture=sum(row.image is None for row in rows),
                    without_text=sum(not row.text for row in rows),
                    without_label=sum(not row.labels for row in rows),
                    distinct_texts=len({normalise(row.text) for row in rows if row.text}),
                    labels=dict(Counter(label for row in rows for label in row.labels).most_common()),
                    languages=dict(Counter(language_of(row) for row in rows if row.text).most_common()),
                )
            )
    return tuple(parts)


def language_of(row: Row) -> str:
    """Return the row's language where it has one, else the script of most of its letters (`latin`, `cjk`, ...)."""
    if row.lang or not row.text:
        return row.lang
    scripts = Counter(_script(character) for character in row.text[:200] if character.isalpha())
    return scripts.most_common(1)[0][0] if scripts else "no letters"


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    return name_of_character(character, "unnamed").split()[0].lower()
