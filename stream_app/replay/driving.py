"""A task of a recording, driven through the core place by place, in the order of its journal.

In: the task's inputs, and its journal's records. Out: steps of the core, which are compared with what was recorded. It
scores nothing: scores come from the recorded decisions, and whoever wants to look on is told of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.core.digest import digest_of_all, record_digest
from stream_app.core.journal import JournalReset, JournalSwitch, JournalThinning, JournalTick
from stream_app.core.settings import Limits
from stream_app.core.task import Task
from stream_app.core.types import Side
from stream_app.replay.differing import DiffersError, LostError, ranges_of, ref, refs_of
from stream_app.replay.inputs import Inputs
from stream_app.replay.recording import RecordingError, as_input
from stream_app.wire.context import Context
from stream_app.wire.decisions import scored_of
from stream_app.wire.journal import Frames, JournalEpoch, JournalError, JournalOrder, JournalStep, Text
from stream_app.wire.message import WireError
from stream_app.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stream_app.core.checkpoint import Checkpoint
    from stream_app.core.settings import Semantic
    from stream_app.core.types import Model, Observation, RawRecord, Ref
    from stream_app.replay.comparing import Comparing, Wait
    from stream_app.replay.onlooking import Onlooker
    from stream_app.replay.recording import About, TopicRecord
    from stream_app.wire.journal import JournalRecord, Place

#: A replay is given the order and the scores, so no bound on work is looked at.
_LIMITS = Limits(queue_bytes=1, queue_records=1, in_flight=1)


class Driver:
    """Drives one task. Where something is not as recorded, or missing, it raises."""

    def __init__(
        self,
        about: About,
        partition: int,
        read_again: Callable[[Side], Iterator[TopicRecord]],
        comparing: Comparing,
        wait: Wait,
        onlooker: Onlooker | None,
    ) -> None:
        """Begin with no task.

        Args:
            about: the recording.
            partition: the task's number.
            read_again: yields a side's records from the beginning.
            comparing: compares steps.
            wait: waits until something was read.
            onlooker: is told of scores; None: nobody is.
        """
        self._about = about
        self._partition = partition
        self.inputs = (Inputs(lambda: read_again(Side.TEXT)), Inputs(lambda: read_again(Side.FRAME)))
        self._comparing = comparing
        self._wait = wait
        self._onlooker = onlooker
        self.task: Task | None = None
        self._epoch: tuple[JournalEpoch, Topics] | None = None
        self._models: dict[str, Model] = {}
        self._payloads: dict[Ref, RawRecord] = {}
        self._taken: list[tuple[Side, RawRecord]] = []
        #: Where the task began by a reset; until the first records of a side are verified, some may not be recorded.
        self._uncertain: dict[Side, int] = {}
        #: Sequence and stream time from which on it was driven first; None before.
        self.begun: tuple[int, int] | None = None
        self.versions: dict[str, None] = {}

    def begin(self, checkpoint: Checkpoint) -> None:
        """Take a keyframe up, and give the task again what its window holds."""
        self._models[checkpoint.model.sha256] = checkpoint.model
        task = self._new_task(checkpoint.model, checkpoint.settings, checkpoint.settings_sha256, checkpoint=checkpoint)
        for side in Side:
            self.inputs[side].skip_to(checkpoint.lowest(side))
            again = [as_input(record) for record in self.inputs[side].take(next_of(checkpoint, side))]
            self._payloads.update(((side, raw.offset), raw) for raw in again)
            task.take(side, again)
        self._release(task.pump(0).release)
        self._comparing.start = checkpoint
        self._uncertain.clear()

    @property
    def place(self) -> tuple[int, int]:
        """Sequence and stream time that the task has come to; 0 while there is none."""
        return (0, 0) if self.task is None else (self.task.sequence, self.task.stream_ms)

    def drop(self) -> None:
        """Give the task up, with all that is held for it."""
        self.task = None
        self._taken.clear()
        self._release(list(self._payloads))

    def _new_task(
        self, model: Model, settings: Semantic, settings_sha256: str, *, checkpoint: Checkpoint | None = None,
        start: tuple[int, int] = (0, 0),
    ) -> Task:  # fmt: skip
        self.task = Task(
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
        if self.begun is None:
            self.begun = (self.task.sequence, self.task.stream_ms)
        return self.task

    def follow(self, order: JournalOrder, at: TopicRecord, record: JournalRecord) -> Iterator[None]:
        """Drive the task through one record of its journal, which lies at ``at``; yields while more has to be read.

        Raises:
            DiffersError: if something is not as recorded.
            LostError: if the task cannot be followed from here on.
        """
        places = order.of(record)
        try:
            for place in places:
                yield from self._take_place(place, at, record)
        except DiffersError as differs:
            raise self._cause_of(differs, places, record) from differs
        except RecordingError:
            raise
        except ValueError as error:
            refused = DiffersError("journal", "places that the task can take", error, ranges_of(self._taken))
            raise self._cause_of(refused, places, record) from error
        if record.step is None and self.task is not None:
            raise LostError("the journal is of a version that did not write each transaction's cut")

    def _take_place(self, place: Place, at: TopicRecord, record: JournalRecord) -> Iterator[None]:
        match place:
            case JournalEpoch():
                self.enter_epoch(place)
            case JournalStep():
                yield from self._commit(place, at, record)
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
        if self.task is not None:
            yield from self._score(self.task)

    @property
    def _running(self) -> Task:
        if self.task is None:
            raise DiffersError("journal", "a switch as the first entry of a task", "none")
        return self.task

    # -- places ------------------------------------------------------------------------------------------------

    def _take(self, side: Side, below: int) -> Iterator[None]:
        """Take the records below an offset; the last of them lies just below it, or the journal would not say so."""
        inputs, task, last = self.inputs[side], self._running, ref(side, below - 1)
        is_there = yield from self._wait(lambda: inputs.newest >= below - 1, inputs)
        records = list(inputs.take(below))
        left_out = next((record for record in records if record.value is None and record.size), None)
        if left_out is not None:
            message = f"task {self._partition}: {ref(side, left_out.offset)} was recorded without its value"
            raise RecordingError(message)
        raws = [as_input(record) for record in records]
        self._taken += [(side, raw) for raw in raws]
        if not is_there or not raws or raws[-1].offset != below - 1:
            if below - 1 < inputs.first:
                raise LostError(f"{last} is needed, and lies before the recording")
            raise DiffersError("inputs", last, "none in the recording", (last,))
        if side is Side.TEXT and len(raws) > 1:
            first = ref(side, raws[0].offset)
            raise DiffersError("journal", f"a place for {first}", "none", (first,))
        for raw in raws:
            self._payloads[(side, raw.offset)] = raw
        task.take(side, raws)

    def _score(self, task: Task) -> Iterator[None]:
        """Answer what is to be scored by what was recorded; let go of bytes that nobody needs."""
        effects = task.pump(0)
        for observation in effects.score:
            yield from self._answer(task, observation)
        self._release(effects.release)

    def _release(self, refs: Iterable[Ref]) -> None:
        for released in refs:
            if self._payloads.pop(released, None) is not None and self._onlooker is not None:
                self._onlooker.released(self._partition, released)

    def _answer(self, task: Task, observation: Observation) -> Iterator[None]:
        outputs = self._comparing.outputs
        place = (self._comparing.life, observation.sequence, observation.index)
        decision = outputs.decision_at(*place)
        if decision is None:
            is_there = yield from self._wait(lambda: outputs.decision_at(*place) is not None)
            decision = outputs.decision_at(*place, is_last_chance=not is_there)
        if decision is None:
            refs = refs_of(observation)
            expected = f"a decision on {' and '.join(refs)}, sequence {observation.sequence}, index {observation.index}"
            raise DiffersError("decisions", expected, "none in the recording", refs)
        model = self._models[observation.model]
        try:
            scored = scored_of(decision, [label.name for label in model.labels])
            task.scored(scored)
        except WireError as error:
            expected = "scores of the model in force"
            raise DiffersError("decisions", expected, error, refs_of(observation)) from error
        if self._onlooker is not None:
            self._onlooker.answered(self._partition, observation, scored, model, self._payloads)

    def _switch(self, to: JournalSwitch) -> None:
        if to.full_model is None or to.full_settings is None:
            raise LostError("the journal is of a version that did not write model and settings in full")
        self._models[to.full_model.sha256] = to.full_model
        if self.task is None:
            for side, offset in ((Side.TEXT, to.next_text), (Side.FRAME, to.next_frame)):
                self.inputs[side].skip_to(offset)
            start = (to.next_text, to.next_frame)
            self._uncertain = dict(zip((Side.TEXT, Side.FRAME), start, strict=True))
            self._new_task(to.full_model, to.full_settings, to.settings, start=start)
            self._comparing.start = None
        elif not self.task.switch(to.full_model, to.full_settings, to.settings):
            raise DiffersError("journal", "a switch to something else", "one to what is in force")

    def _reset(self) -> None:
        """An operator dropped the state."""
        self._comparing.end_life(is_followed=True)
        self.drop()

    def _commit(self, cut: JournalStep, at: TopicRecord, record: JournalRecord) -> Iterator[None]:
        task, inputs = self._running, ranges_of(self._taken)
        step = task.commit_due() if task.sequence == cut.sequence else None
        if step is None:
            raise DiffersError("journal", f"a cut at sequence {task.sequence}", f"one at {cut.sequence}", inputs)
        yield from self._comparing.compare(step, at, record, cut, self._context(), self._payloads, inputs)
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
            if cause.what == "inputs" and offset < self.inputs[side].first:
                return LostError(f"a reset went back to {ref(side, offset)}, which lies before the recording")
        return cause

    def _blame_inputs(self, differs: DiffersError, places: Iterator[Place], record: JournalRecord) -> DiffersError:
        """Name the cause where it is in the inputs: take the rest of the step's, and look at their digest."""
        if record.step is None or record.step.inputs is msgspec.UNSET or differs.what == "inputs":
            return differs
        try:
            for place in places:
                if isinstance(place, Frames):
                    self._taken += [(Side.FRAME, as_input(one)) for one in self.inputs[Side.FRAME].take(place.below)]
                elif isinstance(place, Text):
                    self._taken += [(Side.TEXT, as_input(one)) for one in self.inputs[Side.TEXT].take(place.offset + 1)]
        except JournalError:
            return differs
        found = digest_of_all(b"".join(record_digest(side, raw) for side, raw in self._taken))
        if found == record.step.inputs:
            return differs
        return DiffersError("inputs", f"digest {record.step.inputs}", f"digest {found}", ranges_of(self._taken))

    def enter_epoch(self, epoch: JournalEpoch) -> None:
        """Take note of the owner whose steps follow.

        Raises:
            DiffersError: if it does not name its topics.
        """
        self.versions[epoch.version] = None
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


def next_of(checkpoint: Checkpoint, side: Side) -> int:
    """Return the position of a side at a checkpoint's cut."""
    return checkpoint.next_text if side is Side.TEXT else checkpoint.next_frame
