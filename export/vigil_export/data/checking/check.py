"""Checks a data set before training. In: rows. Out: a report of counts and findings.

An error would make figures wrong or training stop; a warning costs quality; a note is worth knowing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from vigil_export.data.checking.duplicates import NEAR_BITS, near_pairs, normalise
from vigil_export.data.checking.parts import Part, parts_of
from vigil_export.data.checking.scan import Picture, distinct, hashes_of, scan
from vigil_export.data.checking.sides import missing_in_splits, missing_sides
from vigil_export.data.rows import SPLIT_NAMES, Dataset, Progress, Row

Severity = Literal["error", "warning", "note"]
#: What may be found, and how bad it is.
KINDS: Mapping[str, Severity] = {
    "unreadable": "error",
    "groups-cross": "error",
    "same-pictures-cross": "error",
    "near-pictures-cross": "error",
    "same-texts-cross": "warning",
    "contradictions": "warning",
    "tiny": "warning",
    "one-sided": "warning",
    "rare-labels": "warning",
    "new-languages": "warning",
    "no-text": "note",
    "no-picture": "note",
    "same-pictures": "note",
    "near-pictures": "note",
    "same-texts": "note",
}
# A class with fewer rows in a split than this has no figure worth reading.
_RARE = 10
_EXAMPLES = 3


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found: its kind, how often, in words with what to do, and a few examples."""

    kind: str
    severity: Severity
    count: int
    words: str
    examples: tuple[str, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that was counted and found."""

    task: str
    labels: tuple[str, ...]
    negative: tuple[str, ...]
    parts: tuple[Part, ...]
    findings: tuple[Finding, ...]

    def refused(self, allowed: Iterable[str]) -> tuple[Finding, ...]:
        """Return the errors that are not allowed."""
        allowed = frozenset(allowed)
        return tuple(found for found in self.findings if found.severity == "error" and found.kind not in allowed)


def check(
    dataset: Dataset,
    *,
    min_side: int = 32,
    bits: int = NEAR_BITS,
    looking: Progress | None = None,
    comparing: Progress | None = None,
) -> Report:
    """Check a data set.

    Args:
        dataset: Its rows.
        min_side: Pictures with a shorter side than this are tiny, pixels.
        bits: See `vigil_export.data.checking.duplicates.near_pairs`.
        looking: Told of each picture that was opened.
        comparing: Told of each picture that was compared.

    Returns:
        The report; findings in the order of `KINDS`.
    """
    pictures = scan(dataset.rows, looking)
    found = [
        *_about_pictures(pictures, min_side),
        *_about_groups(dataset),
        *_about_same_pictures(pictures),
        *_about_near_pictures(pictures, bits, comparing),
        *_about_sides(dataset.rows),
        *_about_texts(dataset.rows),
        *_about_contradictions(dataset.rows, pictures),
        *_about_parts(dataset),
    ]
    order = list(KINDS)
    return Report(
        task=dataset.task,
        labels=dataset.labels,
        negative=dataset.negative,
        parts=parts_of(dataset),
        findings=tuple(sorted(found, key=lambda one: order.index(one.kind))),
    )


def _finding(kind: str, count: int, words: str, examples: Sequence[object] = ()) -> list[Finding]:
    if not count:
        return []
    shown = tuple(str(example) for example in examples[:_EXAMPLES])
    return [Finding(kind=kind, severity=KINDS[kind], count=count, words=words, examples=shown)]


def _about_pictures(pictures: Sequence[Picture], min_side: int) -> list[Finding]:
    broken = [f"{picture.file}: {picture.fault}" for picture in pictures if picture.fault]
    tiny = [f"{p.file}: {p.width} x {p.height}" for p in pictures if not p.fault and min(p.width, p.height) < min_side]
    return [
        *_finding("unreadable", len(broken), "pictures that cannot be decoded: fix them, or remove their rows", broken),
        *_finding("tiny", len(tiny), f"pictures with a side below {min_side} pixels", tiny),
    ]


def _about_groups(dataset: Dataset) -> list[Finding]:
    crossing = crossing_groups(dataset)
    total = len({row.group for row in dataset.rows})
    examples = [f"{group}: {', '.join(splits)}" for group, splits in crossing.items()]
    words = f"of {total} groups are in more than one split: split again (`vigil-export data split`)"
    return _finding("groups-cross", len(crossing), words, examples)


def crossing_groups(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Return the groups that are in more than one split, with those splits: what is learned from them leaks."""
    found: dict[str, set[str]] = {}
    for row in dataset.rows:
        if row.split:
            found.setdefault(row.group, set()).add(row.split)
    order = {name: number for number, name in enumerate(SPLIT_NAMES)}
    return {
        group: tuple(sorted(splits, key=lambda name: order[name]))  # type: ignore[index]
        for group, splits in found.items()
        if len(splits) > 1
    }


def _about_same_pictures(pictures: Sequence[Picture]) -> list[Finding]:
    of_key: dict[str, list[Picture]] = {}
    for picture in pictures:
        of_key.setdefault(picture.key, []).append(picture)
    crossing = [same for same in of_key.values() if _is_crossing(split for picture in same for split in picture.splits)]
    within = [same for same in of_key.values() if len(same) > 1]
    return [
        *_finding(
            "same-pictures-cross",
            len(crossing),
            "pictures are in more than one split: `vigil-export data split --tie-pictures` avoids that",
            [" = ".join(str(picture.file) for picture in same[:3]) for same in crossing],
        ),
        *_finding(
            "same-pictures",
            sum(len(same) - 1 for same in within),
            "files repeat the bytes of another",
            [" = ".join(str(picture.file) for picture in same[:3]) for same in within],
        ),
    ]


def _about_near_pictures(pictures: Sequence[Picture], bits: int, progress: Progress | None) -> list[Finding]:
    whole = distinct(pictures)
    bit_of = {name: 1 << number for number, name in enumerate(SPLIT_NAMES)}
    lies_in = np.array([sum(bit_of.get(split, 0) for split in picture.splits) for picture in whole], np.uint8)  # type: ignore[call-overload]
    has_twin, crosses = np.zeros(len(whole), np.bool_), np.zeros(len(whole), np.bool_)
    pairs, examples = 0, list[str]()
    for portion in near_pairs(*hashes_of(whole), bits=bits, progress=progress):
        one, other = lies_in[portion[:, 0]], lies_in[portion[:, 1]]
        crossing = portion[(np.bitwise_count(one | other) > 1) & (one > 0) & (other > 0)]
        pairs += len(portion)
        has_twin[portion] = True
        crosses[crossing] = True
        examples += [f"{whole[a].file} ~ {whole[b].file}" for a, b in crossing[: _EXAMPLES - len(examples)]]
    words = "pictures have a near duplicate in another split: `vigil-export data split --tie-pictures` avoids that"
    return [
        *_finding("near-pictures-cross", int(crosses.sum()), words, examples),
        *_finding("near-pictures", int(has_twin.sum()), f"pictures have a near duplicate anywhere ({pairs} pairs)"),
    ]


def _about_sides(rows: Sequence[Row]) -> list[Finding]:
    return [
        finding
        for one in (*missing_sides(rows), *missing_in_splits(rows))
        for finding in _finding("one-sided", one.rows, one.words)
    ]


def _about_texts(rows: Sequence[Row]) -> list[Finding]:
    splits: dict[str, set[str]] = {}
    examples: dict[str, str] = {}
    times: Counter[str] = Counter()
    for row in rows:
        if row.text:
            key = normalise(row.text)
            splits.setdefault(key, set()).add(row.split)
            examples.setdefault(key, row.text)
            times[key] += 1
    crossing = [key for key, names in splits.items() if _is_crossing(names)]
    repeated = [key for key, count in times.most_common() if count > 1]
    return [
        *_finding(
            "same-texts-cross",
            len(crossing),
            f"of {len(splits)} distinct texts are in more than one split: figures of the text side may be optimistic",
            [examples[key] for key in crossing],
        ),
        *_finding(
            "same-texts",
            len(repeated),
            f"of {len(splits)} distinct texts occur more than once",
            [f"{times[key]} x {examples[key]}" for key in repeated],
        ),
    ]


def _about_contradictions(rows: Sequence[Row], pictures: Sequence[Picture]) -> list[Finding]:
    key_of: dict[Path | None, str] = {picture.file: picture.key for picture in pictures}
    seen: dict[tuple[str, str], Row] = {}
    found = []
    repeated: Counter[str] = Counter()
    for row in rows:
        earlier = seen.setdefault((key_of.get(row.image, ""), normalise(row.text)), row)
        if set(earlier.labels) != set(row.labels):
            found.append(f"{earlier.id} ({_names(earlier)}) and {row.id} ({_names(row)})")
            sides = "picture and text" if row.image and row.text else "picture alone" if row.image else "text alone"
            repeated[sides] += 1
    what = ", ".join(f"{count} {sides}" for sides, count in repeated.most_common())
    words = f"rows repeat another row ({what}) with other labels"
    return _finding("contradictions", len(found), words, found)


def _about_parts(dataset: Dataset) -> list[Finding]:
    parts = parts_of(dataset)
    # Multilabel needs no label for "nothing happened"; with exclusive labels it is one of the outputs.
    classes = dataset.labels if dataset.task != "binary" else (*dataset.labels, *dataset.negative)
    rare = [
        f"{label} in {part.name or 'all'}: {part.labels.get(label, 0)}"
        for part in parts
        for label in classes
        if part.labels.get(label, 0) < _RARE
    ]
    learnt = {language for part in parts if part.name == "train" for language in part.languages}
    new = [f"{part.name}: {lang}" for part in parts if learnt for lang in part.languages if lang not in learnt]
    return [
        *_finding("rare-labels", len(rare), f"labels have fewer than {_RARE} rows in a split", rare),
        *_finding("new-languages", len(new), "languages occur in a split but not in training", new),
        *_finding("no-text", sum(part.without_text for part in parts), "rows have no text"),
        *_finding("no-picture", sum(part.without_picture for part in parts), "rows have no picture"),
    ]


def _is_crossing(splits: Iterable[str]) -> bool:
    return len(set(splits) - {""}) > 1


def _names(row: Row) -> str:
    return ", ".join(row.labels) or "no label"
