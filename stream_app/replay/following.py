"""One task of a recording, followed in the order of its journal from the first place on at which it can be begun.

That is its own first step, a keyframe whose inputs are there, or a reset. In: the task's records as the recording
yields them. Out: a :class:`~stream_app.replay.verification.TaskVerification`. A record of the journal is worked off
once all that its step took in and put out was read; what is missing is waited for until the recording is well past it,
for brokers' clocks differ.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from stream_app.core.checkpoint_state import NO_RECORD_MS
from stream_app.core.journal import JournalReset, JournalSkipped, JournalText
from stream_app.core.types import Side
from stream_app.replay.comparing import Comparing, read_keyframe, require_own_cut
from stream_app.replay.differing import CutOffError, DiffersError, LostError, ref
from stream_app.replay.driving import Driver, next_of
from stream_app.replay.verification import Difference, Gap, TaskVerification
from stream_app.wire.journal import (
    JournalError,
    JournalOrder,
    JournalRecord,
    NewerJournalError,
    beginning_of,
    decode_journal,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Generator, Iterator

    from stream_app.replay.inputs import Inputs
    from stream_app.replay.onlooking import Onlooker
    from stream_app.replay.outputs import Output
    from stream_app.replay.recording import About, TopicRecord

#: Records of one transaction are appended within its time-out, and brokers' clocks differ by less, in ms.
PATIENCE_MS = 60_000
#: Records of one transaction are appended so near to each other, but for clocks that differ, in ms.
_NEAR_MS = 1_000


class Follower:
    """Follows one task. The caller gives it the task's records, then lets it go on."""

    def __init__(
        self,
        about: About,
        partition: int,
        read_again: Callable[[Side], Iterator[TopicRecord]],
        onlooker: Onlooker | None = None,
    ) -> None:
        """Begin in front of the first place at which the task can be begun.

        Args:
            about: the recording.
            partition: the task's number.
            read_again: yields a side's records from the beginning.
            onlooker: is told of scores as they are given to the core.
        """
        self._about = about
        self._partition = partition
        self._comparing = Comparing(about, self._wait)
        self._driver = Driver(about, partition, read_again, self._comparing, self._wait, onlooker)
        self._inputs = self._driver.inputs
        self._journal: deque[tuple[TopicRecord, JournalRecord | JournalError]] = deque()
        self._lives_read = 0
        self._newest_ms = self._at_ms = -(1 << 62)
        self._end_ms: int | None = None
        self._order: JournalOrder | None = None
        #: Whether no record of the journal was worked off yet.
        self._is_first = True
        self._gaps: list[Gap] = []
        self._is_lost = False
        self._difference: Difference | None = None
        self._work = self._run()

    # -- what comes in -----------------------------------------------------------------------------------------

    def give_input(self, side: Side, record: TopicRecord) -> None:
        """Take a record of an input topic."""
        inputs = self._inputs[side]
        if self._difference is not None:
            return
        if record.offset <= inputs.newest:
            found = f"offset {record.offset} behind {inputs.newest}"
            self._found(DiffersError("inputs", "each once, in order of offset", found, (ref(side, record.offset),)))
            return
        inputs.add(record, is_idle=self._order is None and not self._journal)

    def give_journal(self, record: TopicRecord) -> None:
        """Take a record of the journal."""
        read: JournalRecord | JournalError
        try:
            read = decode_journal(record.value or b"")
            self._lives_read += sum(isinstance(entry, JournalReset) for entry in read.entries)
        except JournalError as error:
            read = error
        self._journal.append((record, read))

    def give_output(self, output: Output) -> None:
        """Take a record of another output topic."""
        output.life = self._lives_read
        if self._difference is None and not self._comparing.take_in(output):
            self._found(DiffersError(output.kind, "each output once", f"{output.name} twice"))

    def go(self, newest_ms: int) -> None:
        """Work off what can be worked off; append times up to ``newest_ms`` were read."""
        self._newest_ms = newest_ms
        if self._journal and self._difference is None:
            self._go_on()

    def end(self, end_ms: int) -> TaskVerification:
        """Say that everything was read, and that the recording reaches up to ``end_ms``; return what became of it."""
        comparing = self._comparing
        self._end_ms = end_ms
        if self._difference is None:
            self._go_on()
        if self._difference is None:
            try:
                comparing.look_at_leftovers(end_ms - PATIENCE_MS, is_following=self._order is not None)
            except DiffersError as differs:
                self._found(differs)
            except LostError as lost:
                self._note_gap(str(lost), *self._driver.place)
        comparing.after["steps"] += len(self._journal)
        for side, kind in ((Side.TEXT, "texts"), (Side.FRAME, "frames")):
            comparing.after[kind] += len(self._inputs[side])
        begun, begun_ms = self._driver.begun or (None, None)
        return TaskVerification(
            partition=self._partition,
            begun=begun,
            begun_ms=_known(begun_ms),
            reached_ms=_known(comparing.reached_ms),
            verified=_counted(comparing.verified),
            before=_counted(comparing.before),
            after=_counted(comparing.after),
            without_digests=comparing.without_digests,
            versions=tuple(self._driver.versions),
            gaps=tuple(self._gaps),
            difference=self._difference,
        )

    # -- the journal -------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        try:
            next(self._work, None)
        except DiffersError as differs:
            self._found(differs)

    def _run(self) -> Iterator[None]:
        """Work off the journal; yields whenever more has to be read, and returns at the end."""
        while self._journal or self._end_ms is None:
            if not self._journal:
                yield
                continue
            at, record = self._journal[0]
            self._at_ms = at.timestamp
            try:
                yield from self._work_off(at, record)
            except LostError as lost:
                self._lose(str(lost), record)
            except CutOffError:
                return
            self._is_first = False
            self._journal.popleft()

    def _work_off(self, at: TopicRecord, record: JournalRecord | JournalError) -> Iterator[None]:
        if isinstance(record, NewerJournalError):
            raise LostError(str(record)) from record
        if isinstance(record, JournalError):
            raise DiffersError("journal", "a journal record", record)
        order = self._order
        yield from self._seek(at, record) if order is None else self._driver.follow(order, at, record)

    def _wait(self, is_there: Callable[[], bool], inputs: Inputs | None = None) -> Generator[None, None, bool]:
        """Wait until something was read; return whether it was before the recording was well past it.

        If it is one of ``inputs`` that producers stamp, it may come as much later as their clocks are fast.

        Raises:
            CutOffError: at the recording's end, where it may lie behind that.
        """
        while not is_there():
            late_ms = self._at_ms + PATIENCE_MS
            if self._end_ms is not None and late_ms > self._end_ms:
                raise CutOffError
            is_past = self._newest_ms > late_ms and (inputs is None or inputs.is_by_broker)
            if self._end_ms is not None or is_past:
                return False
            yield
        return True

    def _seek(self, at: TopicRecord, record: JournalRecord) -> Iterator[None]:
        """Look for a beginning: the task's first step, a keyframe whose inputs are there, or a reset."""
        is_beginning = False
        try:
            is_beginning = self._is_first and (yield from self._is_beginning(record))
        except LostError as lost:
            self._lose(str(lost), record)
        if is_beginning:
            from_ms = self._about.from_ms
            # What was put out earlier is of a life whose reset lies before the recording.
            since_ms = from_ms if from_ms <= self._at_ms else self._at_ms - _NEAR_MS
            order = JournalOrder()
            self._take_up(order, max(since_ms, self._at_ms - PATIENCE_MS))
            yield from self._driver.follow(order, at, record)
            return
        self._comparing.before["steps"] += record.step is not None
        if any(isinstance(entry, JournalReset) for entry in record.entries):
            self._comparing.end_life(is_followed=False)
            order = JournalOrder()
            self._take_up(order, self._at_ms)
            list(order.of(record))
            return
        if record.epoch is not None:
            self._driver.enter_epoch(record.epoch)
        if record.keyframe is None or record.step is None:
            return
        checkpoint = read_keyframe(record)
        require_own_cut(checkpoint, record.step)
        for side in Side:
            inputs, lowest, following = self._inputs[side], checkpoint.lowest(side), next_of(checkpoint, side)
            if lowest < following:
                is_there = partial(_reaches, inputs, following - 1)
                yield from self._wait(is_there, inputs)
                if not inputs.has(lowest):
                    raise LostError(f"the keyframe needs {ref(side, lowest)}, which is not in the recording")
        self._driver.begin(checkpoint)
        self._take_up(JournalOrder((checkpoint.next_text, checkpoint.next_frame)), self._at_ms)

    def _is_beginning(self, record: JournalRecord) -> Generator[None, None, bool]:
        """Return whether a record is of the task's first step, and the recording begins no later than its inputs."""
        beginning, step = beginning_of(record), record.step
        if beginning is None or step is None:
            return False
        (switch, count), text, frame = beginning, self._inputs[Side.TEXT], self._inputs[Side.FRAME]
        places = [entry.offset for entry in record.entries if isinstance(entry, JournalText | JournalSkipped)]
        last_text, last_frame = max(places, default=-1), step.next_frame - 1 if count else -1
        try:
            yield from self._wait(partial(_reaches, text, last_text), text)
            yield from self._wait(partial(_reaches, frame, last_frame), frame)
        except CutOffError:
            return False
        found = frame.count(switch.next_frame, step.next_frame)
        # Offsets of a topic may have gaps, so only the frames that are there tell a task's first step from another.
        if found < count == step.next_frame - switch.next_frame and 0 <= frame.first <= switch.next_frame:
            raise LostError(f"the task's first step took in {count} frames, {found} of which are in the recording")
        return found >= count and (not places or 0 <= text.first <= places[0])

    def _take_up(self, order: JournalOrder, since_ms: int) -> None:
        """Follow the task from here on; what was put out before ``since_ms`` is of the time before."""
        self._order = order
        self._comparing.take_up(since_ms)
        if self._is_lost:
            self._is_lost = False
            self._gaps[-1] = msgspec.structs.replace(self._gaps[-1], until_ms=self._at_ms)

    def _lose(self, why: str, record: JournalRecord | JournalError) -> None:
        """Give the task up until the next keyframe."""
        if self._is_lost:
            has_keyframe = isinstance(record, JournalRecord) and record.keyframe is not None
            gap = self._gaps[-1]
            self._gaps[-1] = msgspec.structs.replace(gap, unusable=gap.unusable + has_keyframe)
        else:
            step = record.step if isinstance(record, JournalRecord) else None
            self._note_gap(why, *((step.sequence, step.stream_ms) if step is not None else self._driver.place))
        self._order = None
        self._driver.drop()
        self._comparing.lose()

    def _note_gap(self, why: str, sequence: int, stream_ms: int) -> None:
        self._gaps.append(Gap(sequence=sequence, stream_ms=stream_ms, why=why))
        self._is_lost = True

    def _found(self, differs: DiffersError) -> None:
        """Note the first difference, and hold nothing any more."""
        record = self._journal[0][1] if self._journal else None
        step = record.step if isinstance(record, JournalRecord) else None
        task = self._driver.task
        self._difference = Difference(
            partition=self._partition,
            sequence=step.sequence if step is not None else task.sequence if task is not None else 0,
            stream_ms=step.stream_ms if step is not None else task.stream_ms if task is not None else self._at_ms,
            what=differs.what,
            expected=differs.expected,
            found=differs.found,
            inputs=differs.inputs,
        )
        self._driver.drop()
        self._comparing.outputs.clear()
        for inputs in self._inputs:
            inputs.clear()


def _reaches(inputs: Inputs, offset: int) -> bool:
    return inputs.newest >= offset


def _known(stream_ms: int | None) -> int | None:
    """Return a stream time, None where there was no record yet."""
    return None if stream_ms == NO_RECORD_MS else stream_ms


def _counted(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}
