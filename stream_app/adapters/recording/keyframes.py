"""Where the verification of a range can begin: the keyframes of each task, and what of the inputs they still need.

In: records of the journal. Out: for each task the keyframe to start from, or in words why there is none. It must not
know where records come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.adapters.recording.layout import Begins, InForce, Place
from stream_app.core.checkpoint import CheckpointError, decode_checkpoint
from stream_app.core.event_time import format_event_time
from stream_app.core.journal import JournalReset
from stream_app.core.types import Side
from stream_app.wire.checkpoints import state_key
from stream_app.wire.journal import JournalError, NewerJournalError, beginning_of, decode_journal

if TYPE_CHECKING:
    from stream_app.replay.recording import TopicRecord


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A keyframe: where it lies in the journal, and the lowest offsets of the inputs that are needed from it on."""

    journal_partition: int
    journal_offset: int
    append_ms: int
    text: int
    frame: int
    in_force: InForce

    def places(self, task: int) -> tuple[tuple[Place, int], ...]:
        """Return the offsets from which on a task's inputs and journal are needed."""
        return (
            (("texts", task), self.text),
            (("frames", task), self.frame),
            (("journal", self.journal_partition), self.journal_offset),
        )


class Keyframes:
    """The keyframes of a deployment's tasks, as far as its journal was read; in the order of the journal."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment
        self._found: dict[int, list[Start]] = {}
        #: By task, when it was reset and to where.
        self._resets: dict[int, list[tuple[int, JournalReset]]] = {}
        #: Those that this version cannot read, in words.
        self.unreadable: list[str] = []
        self._newer: set[bytes] = set()
        #: By task, the texts and frames below these offsets have their places in steps that were noted.
        self.reached: dict[int, tuple[int, int]] = {}

    @property
    def tasks(self) -> dict[int, list[Start]]:
        """All keyframes, by task."""
        return self._found

    def note(self, record: TopicRecord) -> None:
        """Take note of a journal record; of other deployments' nothing is kept."""
        try:
            read = decode_journal(record.value or b"")
        except NewerJournalError as error:
            self._note_newer(record, error)
            return
        except JournalError:
            return
        if record.key != state_key(self._deployment, read.partition):
            return
        resets = [(record.timestamp, entry) for entry in read.entries if isinstance(entry, JournalReset)]
        beginning = beginning_of(read)
        if beginning is not None:
            # What a task's first step took in is as if it had been reset to there.
            resets.append((record.timestamp, JournalReset(beginning[0].next_text, beginning[0].next_frame)))
        self._resets.setdefault(read.partition, []).extend(resets)
        if read.step is not None:
            text, frame = self.reached.get(read.partition, (0, 0))
            self.reached[read.partition] = (max(text, read.step.next_text), max(frame, read.step.next_frame))
        if read.keyframe is None:
            return
        try:
            checkpoint = decode_checkpoint(read.keyframe.checkpoint)
        except CheckpointError as error:
            self.unreadable.append(f"keyframe at {record.partition}/{record.offset} of the journal: {error}")
            return
        start = Start(
            journal_partition=record.partition,
            journal_offset=record.offset,
            append_ms=record.timestamp,
            text=checkpoint.lowest(Side.TEXT),
            frame=checkpoint.lowest(Side.FRAME),
            in_force=InForce(
                read.partition,
                msgspec.Raw(msgspec.json.encode(checkpoint.model)),
                msgspec.Raw(msgspec.json.encode(checkpoint.settings)),
                checkpoint.settings_sha256,
            ),
        )
        self._found.setdefault(read.partition, []).append(start)

    def _note_newer(self, record: TopicRecord, error: NewerJournalError) -> None:
        """Say once for each task what a newer version wrote."""
        key = record.key or b""
        if key.startswith(f"{self._deployment}/".encode()) and key not in self._newer:
            self._newer.add(key)
            self.unreadable.append(f"record {record.partition}/{record.offset} of the journal, and maybe more: {error}")

    def start(self, task: int, from_ms: int, begins: Begins, *, to_ms: int | None = None) -> Start | None:
        """Return the newest keyframe at or before a time, else the first after it; of those whose inputs are there.

        Args:
            task: the task's number.
            from_ms: append time.
            begins: the first offsets of the inputs that are there.
            to_ms: append time of the end, exclusive, where more than the range was noted.
        """
        usable = [start for start in self._found.get(task, ()) if _is_usable(start, task, begins)]
        before = [start for start in usable if start.append_ms <= from_ms]
        chosen = before[-1] if before else next(iter(usable), None)
        return None if chosen is None else self._from_resets(chosen, task, begins, to_ms)

    def _from_resets(self, start: Start, task: int, begins: Begins, to_ms: int | None) -> Start:
        """Return a start with the inputs, too, that resets in the range went back to, as far as they are there."""
        for reset_ms, reset in self._resets.get(task, ()):
            if start.append_ms <= reset_ms and (to_ms is None or reset_ms < to_ms):
                text = max(reset.next_text, begins.get(("texts", task), 0))
                frame = max(reset.next_frame, begins.get(("frames", task), 0))
                start = msgspec.structs.replace(start, text=min(start.text, text), frame=min(start.frame, frame))
        return start


def _is_usable(start: Start, task: int, begins: Begins) -> bool:
    return begins.get(("texts", task), 0) <= start.text and begins.get(("frames", task), 0) <= start.frame


def in_words(task: int, start: Start | None, from_ms: int) -> str:
    """Say from when on a task can be verified."""
    if start is None:
        return f"task {task}: cannot be verified: no keyframe of it in the journal has its inputs still there"
    if start.append_ms <= from_ms:
        return f"task {task}: can be verified from the beginning"
    return f"task {task}: can be verified from {format_event_time(start.append_ms)} on, not before"
