"""Stage five: results come back in any order; decisions are made in sequence order. The cut lies in between.

In: one entry per sequence number, some with observations to be scored, and the scores. Out: the entries whose own and
all earlier observations are scored, in order. Guarantee: the cut never passes unfinished work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from stream_app.core.journal import JournalEntry
from stream_app.core.types import DeadLetter, InForce, Notice, Observation, Ref, Scored

if TYPE_CHECKING:
    from collections.abc import Iterator


class Position(msgspec.Struct, eq=False, gc=False):
    """How far a task has got after a sequence number.

    Stream time, next offsets, the newest append time of all, the append time of the last record of each side (by which
    a successor knows the topic again), and the model and settings in force; times in ms.
    """

    sequence: int
    stream_ms: int
    next_text: int
    next_frame: int
    append_ms: int
    text_ms: int
    frame_ms: int
    in_force: InForce


class Entry(msgspec.Struct, eq=False, gc=False):
    """One sequence number on its way to be decided: its position, its observations, and what else it puts out.

    ``left`` are records that left the window, lost their bytes, or never entered it; ``counts`` go to the counters;
    ``digest`` is of the record that was admitted or refused, empty where there was none.
    Most entries put nothing out, so what is empty is the one empty tuple, not a list of its own.
    """

    position: Position
    observations: Sequence[Observation] = ()
    results: list[Scored | None] = []
    missing: int = 0
    dead_letters: Sequence[DeadLetter] = ()
    notices: Sequence[Notice] = ()
    journal: Sequence[JournalEntry] = ()
    left: Sequence[Ref] = ()
    counts: Sequence[tuple[str, int]] = ()
    digest: bytes = b""

    @classmethod
    def awaiting(cls, position: Position, observations: Sequence[Observation]) -> Entry:
        """Make an entry that waits for the scores of these observations."""
        missing = len(observations)
        return cls(position, observations, [None] * missing, missing)


class Cut:
    """The entries between the cut and the head of the merge order."""

    __slots__ = ("_by_sequence", "_entries", "in_flight")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._by_sequence: dict[int, Entry] = {}
        self.in_flight = 0

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, entry: Entry) -> None:
        """Append the next sequence number's entry."""
        self._entries.append(entry)
        if entry.missing:
            self._by_sequence[entry.position.sequence] = entry
            self.in_flight += entry.missing

    def complete(self, scored: Scored) -> None:
        """Note one observation's scores.

        Raises:
            ValueError: if that observation is not in flight, or was scored already.
        """
        entry = self._by_sequence.get(scored.sequence)
        is_known = entry is not None and 0 <= scored.index < len(entry.results) and entry.results[scored.index] is None
        if entry is None or not is_known:
            message = f"observation {scored.sequence}.{scored.index} is not in flight"
            raise ValueError(message)
        entry.results[scored.index] = scored
        entry.missing -= 1
        self.in_flight -= 1
        if not entry.missing:
            del self._by_sequence[scored.sequence]

    def ready(self) -> Iterator[Entry]:
        """Yield, and remove, the finished entries at the front, in sequence order."""
        while self._entries and not self._entries[0].missing:
            yield self._entries.popleft()
