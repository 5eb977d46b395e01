"""Stage five: results come back in any order; decisions are made in sequence order. The cut lies in between.

In: one entry per sequence number, some with observations to be scored, and the scores. Out: the entries whose own and
all earlier observations are scored, in order. Guarantee: the cut never passes unfinished work.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream_app.core.types import DeadLetter, JournalEntry, Notice, Observation, Ref, Scored


class Position:
    """Where a task stands after a sequence number.

    Stream time, next offsets, the newest append time of all, and the append time of the last record of each side
    (by which a successor knows the topic again); times in ms.
    """

    __slots__ = ("append_ms", "frame_ms", "next_frame", "next_text", "sequence", "stream_ms", "text_ms")

    def __init__(
        self,
        sequence: int,
        stream_ms: int,
        next_text: int,
        next_frame: int,
        append_ms: int,
        text_ms: int,
        frame_ms: int,
    ) -> None:
        self.sequence = sequence
        self.stream_ms = stream_ms
        self.next_text = next_text
        self.next_frame = next_frame
        self.append_ms = append_ms
        self.text_ms = text_ms
        self.frame_ms = frame_ms

    def copy(self) -> Position:
        """Return a copy that does not move with this one."""
        return Position(
            self.sequence,
            self.stream_ms,
            self.next_text,
            self.next_frame,
            self.append_ms,
            self.text_ms,
            self.frame_ms,
        )


class Entry:
    """One sequence number on its way to be decided: its position, its observations, and what else it puts out.

    ``left`` are records that left the window, gave up their bytes, or never entered it; ``counts`` are for the books.
    Most entries put nothing out, so what is empty is the one empty tuple, not a list of its own.
    """

    __slots__ = (
        "counts",
        "dead_letters",
        "journal",
        "left",
        "missing",
        "notices",
        "observations",
        "position",
        "results",
    )

    def __init__(self, position: Position, observations: list[Observation]) -> None:
        self.position = position
        self.observations = observations
        self.missing = len(observations)
        self.results: list[Scored | None] = [None] * self.missing
        self.dead_letters: Sequence[DeadLetter] = ()
        self.notices: Sequence[Notice] = ()
        self.journal: Sequence[JournalEntry] = ()
        self.left: Sequence[Ref] = ()
        self.counts: Sequence[tuple[str, int]] = ()


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
