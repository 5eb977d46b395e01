"""What a journal tells of how loaded a task was: its idle ticks and thinning levels, each with its place.

In: a recording. Out: per task what it did at which place among its inputs, for a replay that judges under the load of
that night. Places are positions of both inputs, so they mean the same whatever judges.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from stream_app.core.checkpoint import CheckpointError, decode_checkpoint
from stream_app.core.journal import JournalThinning, JournalTick
from stream_app.core.types import Side
from stream_app.replay.reading import readable
from stream_app.replay.recording import RecordingError
from stream_app.wire.checkpoints import state_key
from stream_app.wire.journal import JournalError, JournalRecord, decode_journal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stream_app.replay.recording import Recording

Told = JournalTick | JournalThinning
#: A row holds next text, next frame, which of the two it is, and its value: 32 bytes, for there may be one a second.
_ROW = 4
_TICK, _LEVEL = 0, 1
_NO_MORE = 1 << 62


class Overload:
    """What one task's journal tells, in its order; and from where to where the recording has the task's inputs."""

    def __init__(self) -> None:
        """Begin with nothing told."""
        self.rows = array("q")
        self.is_journaled = False
        self._level: int | None = None
        self._first = [_NO_MORE, _NO_MORE]
        self._last = [-1, -1]

    def note_input(self, side: Side, offset: int) -> None:
        """Take note of an input."""
        self._first[side] = min(self._first[side], offset)
        self._last[side] = max(self._last[side], offset)

    def note_journal(self, record: JournalRecord) -> None:
        """Take note of a journal record."""
        self.is_journaled = True
        for entry in record.entries:
            if isinstance(entry, JournalTick):
                self.rows.extend((entry.next_text, entry.next_frame, _TICK, entry.to_ms))
            elif isinstance(entry, JournalThinning):
                self._set_level(entry)
        if record.keyframe is not None:
            # The level that was in force when the recording began has no entry in it.
            try:
                found = decode_checkpoint(record.keyframe.checkpoint)
            except CheckpointError:
                return
            self._set_level(JournalThinning(found.thinning_level, found.next_text, found.next_frame))

    def start(self, side: Side) -> int:
        """Return the position of a side before its first input."""
        return self._first[side]

    def behind(self, side: Side, offset: int) -> int:
        """Return the position of a side behind an input; behind its last one there is nothing to wait for."""
        return offset + 1 if offset < self._last[side] else _NO_MORE

    def _set_level(self, to: JournalThinning) -> None:
        if to.level != self._level:
            self._level = to.level
            self.rows.extend((to.next_text, to.next_frame, _LEVEL, to.level))


class Following:
    """How far one task has come along what its journal tells."""

    def __init__(self, overload: Overload) -> None:
        """Begin before the first input."""
        self._overload = overload
        self._at = 0
        self._next = [overload.start(side) for side in Side]

    def passed(self, side: Side, offset: int) -> None:
        """Say that an input was admitted."""
        self._next[side] = max(self._next[side], self._overload.behind(side, offset))

    def due(self) -> Iterator[Told]:
        """Yield, once, all that was told before the next input."""
        rows = self._overload.rows
        while self._at < len(rows):
            next_text, next_frame, what, value = rows[self._at : self._at + _ROW]
            if next_text > self._next[Side.TEXT] or next_frame > self._next[Side.FRAME]:
                return
            self._at += _ROW
            yield (JournalTick if what == _TICK else JournalThinning)(value, next_text, next_frame)


def recorded_overload(recording: Recording) -> Mapping[int, Overload]:
    """Read what a recording's journal tells, by task.

    Raises:
        RecordingError: if there is no journal in it, or a record of it is none.
    """
    deployment = recording.about.deployment
    found: dict[int, Overload] = {}
    # What cannot be read is said by the replay that follows.
    for kind, record in readable(recording):
        if kind in {"texts", "frames"}:
            if record.value is None and record.size:
                # Of another zone, say: it is left out of the replay too.
                continue
            side = Side.TEXT if kind == "texts" else Side.FRAME
            found.setdefault(record.partition, Overload()).note_input(side, record.offset)
        elif kind == "journal":
            try:
                journal = decode_journal(record.value or b"")
            except JournalError as error:
                place = f"partition {record.partition}, offset {record.offset}"
                raise RecordingError(f"journal at {place}: {error}") from error
            if record.key == state_key(deployment, journal.partition):
                found.setdefault(journal.partition, Overload()).note_journal(journal)
    if not any(overload.is_journaled for overload in found.values()):
        raise RecordingError(
            f"expected a journal of the deployment {deployment}, which tells the ticks and thinning levels of that "
            "time, found none: without it only the canonical replay is possible"
        )
    return {task: overload for task, overload in found.items() if overload.is_journaled}
