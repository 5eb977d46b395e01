"""One task of a recording, followed in the order of its journal from the first keyframe on whose inputs are there.

In: the task's records as the recording yields them. Out: a :class:`~stream_app.replay.verification.TaskVerification`. A
record of the journal is worked off once all that its step took in and put out was read; what is missing is waited for
until the recording is well past it, for brokers' clocks differ.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from stream_app.core.checkpoint_state import NO_RECORD_MS
from stream_app.core.journal import JournalReset
from stream_app.core.types import Side
from stream_app.replay.comparing import Comparing, read_keyframe, require_own_cut
from stream_app.replay.differing import CutOffError, DiffersError, LostError, ref
from stream_app.replay.driving import Driver, next_of
from stream_app.replay.verification import Difference, Gap, TaskVerification
from stream_app.wire.journal import JournalError, JournalOrder, JournalRecord, decode_journal

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Generator, Iterator

    from stream_app.replay.onlooking import Onlooker
    from stream_app.replay.outputs import Output
    from stream_app.replay.recording import About, TopicRecord

#: Records of one transaction are appended within its time-out, and brokers' clocks differ by less, in ms.
PATIENCE_MS = 60_000


class Follower:
    """Follows one task. The caller gives it the task's records, then lets it go on."""

    def __init__(
        self,
        about: About,
        partition: int,
        read_again: Callable[[Side], Iterator[TopicRecord]],
        onlooker: Onlooker | None = None,
    ) -> None:
        """Begin in front of the first keyframe.

        Args:
            about: the recording.
            partition: the task's number.
            read_again: yields a side's records from the beginning.
            onlooker: is told of scores as they are given to the core.
        """
        self._partition = partition
        self._comparing = Comparing(about, self._wait)
        self._driver = Driver(about, partition, read_again, self._comparing, self._wait, onlooker)
        self._inputs = self._driver.inputs
        self._journal: deque[tuple[TopicRecord, JournalRecord | JournalError]] = deque()
        self._lives_read = 0
        self._newest_ms = self._at_ms = -(1 << 62)
        self._end_ms: int | None = None
        self._order: JournalOrder | None = None
        self._gaps: list[Gap] = []
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
            if isinstance(record, JournalError):
                raise DiffersError("journal", "a journal record", record)
            try:
                yield from self._seek(record) if self._order is None else self._driver.follow(self._order, at, record)
            except LostError as lost:
                self._lose(str(lost), record)
            except CutOffError:
                return
            self._journal.popleft()

    def _wait(self, is_there: Callable[[], bool]) -> Generator[None, None, bool]:
        """Wait until something was read; return whether it was before the recording was well past it.

        Raises:
            CutOffError: at the recording's end, where it may lie behind that.
        """
        while not is_there():
            late_ms = self._at_ms + PATIENCE_MS
            if self._end_ms is not None and late_ms > self._end_ms:
                raise CutOffError
            if self._end_ms is not None or self._newest_ms > late_ms:
                return False
            yield
        return True

    def _seek(self, record: JournalRecord) -> Iterator[None]:
        """Look for a beginning: a keyframe whose inputs are there, or a reset."""
        self._comparing.before["steps"] += record.step is not None
        if any(isinstance(entry, JournalReset) for entry in record.entries):
            self._comparing.end_life(is_followed=False)
            self._comparing.outputs.since_ms = self._at_ms
            self._order = JournalOrder()
            list(self._order.of(record))
            return
        if record.epoch is not None:
            self._driver.enter_epoch(record.epoch)
        if record.keyframe is None or record.step is None:
            return
        checkpoint = read_keyframe(record.keyframe.checkpoint)
        require_own_cut(checkpoint, record.step)
        for side in Side:
            inputs, lowest, following = self._inputs[side], checkpoint.lowest(side), next_of(checkpoint, side)
            if lowest < following:
                yield from self._wait(lambda inputs=inputs, last=following - 1: inputs.newest >= last)  # type: ignore[misc]
                if not inputs.has(lowest):
                    raise LostError(f"the keyframe needs {ref(side, lowest)}, which is not in the recording")
        self._driver.begin(checkpoint)
        self._comparing.outputs.since_ms = self._at_ms
        self._order = JournalOrder((checkpoint.next_text, checkpoint.next_frame))

    def _lose(self, why: str, record: JournalRecord) -> None:
        """Give the task up until the next keyframe."""
        step = record.step
        self._gaps.append(Gap(sequence=step.sequence if step else 0, stream_ms=step.stream_ms if step else 0, why=why))
        self._order = None
        self._driver.drop()
        self._comparing.lose()

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


def _known(stream_ms: int | None) -> int | None:
    """Return a stream time, None where there was no record yet."""
    return None if stream_ms == NO_RECORD_MS else stream_ms


def _counted(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}
