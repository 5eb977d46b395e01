"""One task of a recording, driven through the core in the order of its journal, and compared step by step.

In: the task's records as the recording yields them. Out: a :class:`~stream_app.replay.verdict.TaskVerdict`. Nothing is
scored: scores come from the recorded decisions. A record of the journal is worked off once all that its step took in
and put out was read; what is missing is waited for until the recording is well past it, for brokers' clocks differ.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from stream_app.core.digest import digest_of_all, record_digest
from stream_app.core.journal import JournalReset, JournalSwitch, JournalThinning, JournalTick
from stream_app.core.settings import Limits
from stream_app.core.task import Task
from stream_app.core.types import Side
from stream_app.replay.comparing import Comparing, read_keyframe, require_own_cut
from stream_app.replay.differing import CutOffError, DiffersError, LostError, ranges_of, ref, refs_of
from stream_app.replay.inputs import Inputs
from stream_app.replay.outputs import NEVER_MS
from stream_app.replay.recording import RecordingError
from stream_app.replay.verdict import Difference, Gap, TaskVerdict
from stream_app.wire.context import Context
from stream_app.wire.decisions import scored_of
from stream_app.wire.journal import (
    Frames,
    JournalEpoch,
    JournalError,
    JournalOrder,
    JournalRecord,
    JournalStep,
    Text,
    decode_journal,
)
from stream_app.wire.message import WireError
from stream_app.wire.topics import Topics

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Generator, Iterator

    from stream_app.core.checkpoint import Checkpoint
    from stream_app.core.settings import Semantic
    from stream_app.core.types import Model, Observation, Ref
    from stream_app.replay.outputs import Output
    from stream_app.replay.recording import About, TopicRecord
    from stream_app.wire.journal import Place

#: Records of one transaction are appended within its time-out, and brokers' clocks differ by less, in ms.
PATIENCE_MS = 60_000
#: A replay is given the order and the scores, so no bound on work is looked at.
_LIMITS = Limits(queue_bytes=1, queue_records=1, in_flight=1)


class Follower:
    """Follows one task. The caller gives it the task's records, then lets it go on."""

    def __init__(self, about: About, partition: int, read_again: Callable[[Side], Iterator[TopicRecord]]) -> None:
        """Begin in front of the first keyframe; ``read_again`` yields a side's records from the beginning."""
        self._about = about
        self._partition = partition
        self._inputs = (Inputs(lambda: read_again(Side.TEXT)), Inputs(lambda: read_again(Side.FRAME)))
        self._comparing = Comparing(about, self._wait)
        self._journal: deque[tuple[TopicRecord, JournalRecord | JournalError]] = deque()
        self._lives_read = 0
        self._newest_ms = self._at_ms = -(1 << 62)
        self._end_ms: int | None = None
        self._task: Task | None = None
        self._order: JournalOrder | None = None
        self._epoch: tuple[JournalEpoch, Topics] | None = None
        self._models: dict[str, Model] = {}
        self._payloads: dict[Ref, TopicRecord] = {}
        self._taken: list[tuple[Side, TopicRecord]] = []
        #: Where the task began by a reset; until the first records of a side are verified, some may not be recorded.
        self._uncertain: dict[Side, int] = {}
        self._begun: int | None = None
        self._versions: dict[str, None] = {}
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

    def end(self, end_ms: int) -> TaskVerdict:
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
        return TaskVerdict(
            partition=self._partition,
            begun=self._begun,
            verified=_counted(comparing.verified),
            before=_counted(comparing.before),
            after=_counted(comparing.after),
            without_digests=comparing.without_digests,
            versions=tuple(self._versions),
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
                yield from self._seek(record) if self._order is None else self._follow(self._order, record)
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
            self._comparing.life += 1
            self._comparing.outputs.since_ms = self._at_ms
            self._order = JournalOrder()
            list(self._order.of(record))
            return
        if record.epoch is not None:
            self._enter_epoch(record.epoch)
        if record.keyframe is None or record.step is None:
            return
        checkpoint = read_keyframe(record.keyframe.checkpoint)
        require_own_cut(checkpoint, record.step)
        for side in Side:
            inputs, lowest, following = self._inputs[side], checkpoint.lowest(side), _next_of(checkpoint, side)
            if lowest < following:
                yield from self._wait(lambda inputs=inputs, last=following - 1: inputs.newest >= last)  # type: ignore[misc]
                if not inputs.has(lowest):
                    raise LostError(f"the keyframe needs {ref(side, lowest)}, which is not in the recording")
        self._begin(checkpoint)

    def _begin(self, checkpoint: Checkpoint) -> None:
        """Take a keyframe up, and give the task again what its window holds."""
        self._models[checkpoint.model.sha256] = checkpoint.model
        task = self._new_task(checkpoint.model, checkpoint.settings, checkpoint.settings_sha256, checkpoint=checkpoint)
        for side in Side:
            self._inputs[side].skip_to(checkpoint.lowest(side))
            again = list(self._inputs[side].take(_next_of(checkpoint, side)))
            self._payloads.update(((side, raw.offset), raw) for raw in again)
            task.take(side, again)
        for released in task.pump(0).release:
            self._payloads.pop(released, None)
        self._comparing.start = checkpoint
        self._comparing.outputs.since_ms = self._at_ms
        self._uncertain.clear()
        self._order = JournalOrder((checkpoint.next_text, checkpoint.next_frame))

    def _new_task(
        self, model: Model, settings: Semantic, settings_sha256: str, *, checkpoint: Checkpoint | None = None,
        start: tuple[int, int] = (0, 0),
    ) -> Task:  # fmt: skip
        self._task = Task(
            settings,
            model,
            deployment=self._about.deployment,
            partition=self._partition,
            limits=_LIMITS,
            checkpoint=checkpoint,
            start=start,
            settings_sha256=settings_sha256,
        )
        self._taken.clear()
        self._comparing.last = None
        self._begun = self._task.sequence if self._begun is None else self._begun
        return self._task

    def _lose(self, why: str, record: JournalRecord) -> None:
        """Give the task up until the next keyframe."""
        step = record.step
        self._gaps.append(Gap(sequence=step.sequence if step else 0, stream_ms=step.stream_ms if step else 0, why=why))
        self._order = self._task = None
        self._payloads.clear()
        self._taken.clear()
        # What the steps put out that are not followed lies before what the next keyframe's do.
        self._comparing.outputs.begun.clear()
        self._comparing.outputs.since_ms = NEVER_MS

    def _follow(self, order: JournalOrder, record: JournalRecord) -> Iterator[None]:
        """Drive the task through one record of its journal."""
        places = order.of(record)
        try:
            for place in places:
                yield from self._take_place(place, record)
        except DiffersError as differs:
            raise self._cause_of(differs, places, record) from differs
        except RecordingError:
            raise
        except ValueError as error:
            refused = DiffersError("journal", "places that the task can take", error, ranges_of(self._taken))
            raise self._cause_of(refused, places, record) from error
        if record.step is None and self._task is not None:
            raise LostError("the journal is of a version that did not write each transaction's cut")

    def _take_place(self, place: Place, record: JournalRecord) -> Iterator[None]:
        match place:
            case JournalEpoch():
                self._enter_epoch(place)
            case JournalStep():
                yield from self._commit(place, record)
            case Frames():
                yield from self._take(Side.FRAME, place.below)
            case Text():
                yield from self._take(Side.TEXT, place.offset + 1)
            case JournalTick():
                self._running.tick(place.to_ms)
            case JournalThinning():
                self._running.set_thinning(place.level)
            case JournalSwitch():
                self._switch(place)
            case JournalReset():
                self._reset()
        if self._task is not None:
            yield from self._score(self._task)

    @property
    def _running(self) -> Task:
        if self._task is None:
            raise DiffersError("journal", "a switch as the first entry of a task", "none")
        return self._task

    # -- places ------------------------------------------------------------------------------------------------

    def _take(self, side: Side, below: int) -> Iterator[None]:
        """Take the records below an offset; the last of them lies just below it, or the journal would not say so."""
        inputs, task, last = self._inputs[side], self._running, ref(side, below - 1)
        is_there = yield from self._wait(lambda: inputs.newest >= below - 1)
        raws = list(inputs.take(below))
        self._taken += [(side, raw) for raw in raws]
        if not is_there or not raws or raws[-1].offset != below - 1:
            if below - 1 < inputs.first:
                raise LostError(f"{last} is needed, and lies before the recording")
            raise DiffersError("inputs", last, "none in the recording", (last,))
        if side is Side.TEXT and len(raws) > 1:
            first = ref(side, raws[0].offset)
            raise DiffersError("journal", f"a place for {first}", "none", (first,))
        for raw in raws:
            if raw.value is None and raw.size:
                message = f"task {self._partition}: {ref(side, raw.offset)} was recorded without its value"
                raise RecordingError(message)
            self._payloads[(side, raw.offset)] = raw
        task.take(side, raws)

    def _score(self, task: Task) -> Iterator[None]:
        """Answer what is to be scored by what was recorded; let go of bytes that nobody needs."""
        effects = task.pump(0)
        for observation in effects.score:
            yield from self._answer(task, observation)
        for released in effects.release:
            self._payloads.pop(released, None)

    def _answer(self, task: Task, observation: Observation) -> Iterator[None]:
        outputs, refs = self._comparing.outputs, refs_of(observation)
        place = (self._comparing.life, observation.sequence, observation.index)
        is_there = yield from self._wait(lambda: outputs.decision_at(*place) is not None)
        decision = outputs.decision_at(*place, is_last_chance=not is_there)
        if decision is None:
            expected = f"a decision on {' and '.join(refs)}, sequence {observation.sequence}, index {observation.index}"
            raise DiffersError("decisions", expected, "none in the recording", refs)
        try:
            labels = [label.name for label in self._models[observation.model].labels]
            task.scored(scored_of(decision, labels))
        except WireError as error:
            raise DiffersError("decisions", "scores of the model in force", error, refs) from error

    def _switch(self, to: JournalSwitch) -> None:
        if to.full_model is None or to.full_settings is None:
            raise LostError("the journal is of a version that did not write model and settings in full")
        self._models[to.full_model.sha256] = to.full_model
        if self._task is None:
            for side, offset in ((Side.TEXT, to.next_text), (Side.FRAME, to.next_frame)):
                self._inputs[side].skip_to(offset)
            start = (to.next_text, to.next_frame)
            self._uncertain = dict(zip((Side.TEXT, Side.FRAME), start, strict=True))
            self._new_task(to.full_model, to.full_settings, to.settings, start=start)
            self._comparing.start = None
        elif not self._task.switch(to.full_model, to.full_settings, to.settings):
            raise DiffersError("journal", "a switch to something else", "one to what is in force")

    def _reset(self) -> None:
        """An operator dropped the state: everything that was put out before has been met."""
        self._comparing.look_at_leftovers(None, is_following=True)
        self._comparing.life += 1
        self._task = None
        self._payloads.clear()

    def _commit(self, cut: JournalStep, record: JournalRecord) -> Iterator[None]:
        task, inputs = self._running, ranges_of(self._taken)
        step = task.commit_due() if task.sequence == cut.sequence else None
        if step is None:
            raise DiffersError("journal", f"a cut at sequence {task.sequence}", f"one at {cut.sequence}", inputs)
        yield from self._comparing.compare(
            step, self._journal[0][0], record, cut, self._context(), self._payloads, inputs
        )
        task.committed()
        for side, _ in self._taken:
            self._uncertain.pop(side, None)
            self._comparing.verified["texts" if side is Side.TEXT else "frames"] += 1
        self._taken.clear()

    # -- small things ------------------------------------------------------------------------------------------

    def _cause_of(self, differs: DiffersError, places: Iterator[Place], record: JournalRecord) -> Exception:
        """Return what is to be said of a difference: of inputs that the recording may lack none is known."""
        cause = self._blame_inputs(differs, places, record)
        for side, offset in self._uncertain.items():
            if cause.what == "inputs" and offset < self._inputs[side].first:
                return LostError(f"a reset went back to {ref(side, offset)}, which lies before the recording")
        return cause

    def _blame_inputs(self, differs: DiffersError, places: Iterator[Place], record: JournalRecord) -> DiffersError:
        """Name the cause where it is in the inputs: take the rest of the step's, and look at their digest."""
        if record.step is None or record.step.inputs is msgspec.UNSET or differs.what == "inputs":
            return differs
        try:
            for place in places:
                if isinstance(place, Frames):
                    self._taken += [(Side.FRAME, raw) for raw in self._inputs[Side.FRAME].take(place.below)]
                elif isinstance(place, Text):
                    self._taken += [(Side.TEXT, raw) for raw in self._inputs[Side.TEXT].take(place.offset + 1)]
        except JournalError:
            return differs
        found = digest_of_all(b"".join(record_digest(side, raw) for side, raw in self._taken))
        if found == record.step.inputs:
            return differs
        return DiffersError("inputs", f"digest {record.step.inputs}", f"digest {found}", ranges_of(self._taken))

    def _enter_epoch(self, epoch: JournalEpoch) -> None:
        self._versions[epoch.version] = None
        try:
            self._epoch = (epoch, msgspec.convert(epoch.topics, Topics))
        except msgspec.ValidationError as error:
            raise DiffersError("journal", "an epoch that names the topics", error) from error

    def _context(self) -> Context:
        if self._epoch is None:
            raise DiffersError("journal", "an epoch beside the first keyframe", "none")
        epoch, topics = self._epoch
        return Context(
            deployment=self._about.deployment,
            partition=self._partition,
            topics=topics,
            model=next(iter(self._models.values())),
            settings_sha256=epoch.settings,
            provider=epoch.provider,
            letter_bytes=epoch.letter_bytes,
        )

    def _found(self, differs: DiffersError) -> None:
        """Note the first difference, and hold nothing any more."""
        record = self._journal[0][1] if self._journal else None
        step = record.step if isinstance(record, JournalRecord) else None
        task = self._task
        self._difference = Difference(
            partition=self._partition,
            sequence=step.sequence if step is not None else task.sequence if task is not None else 0,
            stream_ms=step.stream_ms if step is not None else task.stream_ms if task is not None else self._at_ms,
            what=differs.what,
            expected=differs.expected,
            found=differs.found,
            inputs=differs.inputs,
        )
        self._payloads.clear()
        self._taken.clear()
        self._comparing.outputs.clear()
        for inputs in self._inputs:
            inputs.clear()


def _next_of(checkpoint: Checkpoint, side: Side) -> int:
    return checkpoint.next_text if side is Side.TEXT else checkpoint.next_frame


def _counted(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}
