"""Which offsets of one side are still needed, and what was found of each: one byte an offset, most of them alike.

In: marks that are put and taken off. Out: the lowest offset that is marked, and runs of bytes for a checkpoint. What a
record is, the inputs tell again; what was made of it, they cannot.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The window holds the record. The other marks but REMEMBERED are of a held record only.
HELD = 1
#: It was late when it was admitted.
LATE = 2
#: It has a partner.
MATCHED = 4
#: A frame that was given to be scored.
SCORED = 8
#: A frame whose bytes were dropped at the window's bound.
SHED = 16
#: Its CloudEvents source and id are remembered, so that a duplicate is known.
REMEMBERED = 32
#: It could not be scored.
FAILED = 64

#: Where a run of marks begins, and the marks from there on.
Run = tuple[int, bytes]

#: Offsets are kept in chunks of this many, so that one that stays for long costs no more than its chunk.
_BITS = 8
_CHUNK = 1 << _BITS
#: A run goes on over gaps shorter than this; a run of its own costs as much.
_RUNS = re.compile(rb"[^\0]+(?:\0{1,11}[^\0]+)*")
#: Bytes that an offset can take in an encoded checkpoint: a run of its own with its offset, or a byte behind a gap.
MAX_MARK_BYTES = 13


class Marks:
    """The marks of one side."""

    __slots__ = ("_chunks", "_emptied")

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        """Begin with what a checkpoint says."""
        self._chunks: dict[int, bytearray] = {}
        #: Chunks that lost a mark, and may be empty.
        self._emptied: set[int] = set()
        for start, marks in runs:
            at = 0
            while at < len(marks):
                number, place = divmod(start + at, _CHUNK)
                part = marks[at : at + _CHUNK - place]
                chunk = self._chunks.setdefault(number, bytearray(_CHUNK))
                chunk[place : place + len(part)] = part
                at += len(part)

    def put(self, offset: int, mark: int) -> None:
        """Set the marks of an offset; 0 for one that is needed no longer."""
        number = offset >> _BITS
        chunk = self._chunks.get(number)
        if chunk is None:
            if not mark:
                return
            chunk = self._chunks[number] = bytearray(_CHUNK)
        chunk[offset & (_CHUNK - 1)] = mark
        if not mark:
            self._emptied.add(number)

    def get(self, offset: int) -> int:
        """Return the marks of an offset."""
        chunk = self._chunks.get(offset >> _BITS)
        return 0 if chunk is None else chunk[offset & (_CHUNK - 1)]

    def lowest(self, otherwise: int) -> int:
        """Return the lowest offset that is marked."""
        self._tidy()
        if not self._chunks:
            return otherwise
        number = min(self._chunks)
        chunk = self._chunks[number]
        return number * _CHUNK + len(chunk) - len(chunk.lstrip(b"\0"))

    def runs(self) -> list[Run]:
        """Return all marks as runs; equal marks give equal runs, however they came to be."""
        self._tidy()
        found: list[Run] = []
        for first, joined in self._joined():
            found += [(first + match.start(), match.group()) for match in _RUNS.finditer(joined)]
        return found

    def _joined(self) -> Iterator[tuple[int, bytes]]:
        numbers = sorted(self._chunks)
        begin = 0
        for place in range(1, len(numbers) + 1):
            if place == len(numbers) or numbers[place] != numbers[place - 1] + 1:
                yield numbers[begin] * _CHUNK, b"".join([self._chunks[number] for number in numbers[begin:place]])
                begin = place

    def _tidy(self) -> None:
        for number in self._emptied:
            chunk = self._chunks.get(number)
            if chunk is not None and chunk.count(0) == _CHUNK:
                del self._chunks[number]
        self._emptied.clear()


def each(runs: Iterable[Run]) -> Iterator[tuple[int, int]]:
    """Yield offset and marks of all that is marked, in order of offset."""
    for start, marks in runs:
        for place, mark in enumerate(marks):
            if mark:
                yield start + place, mark
