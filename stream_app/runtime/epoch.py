"""One epoch of one task: from the initialised transactional id to the first commit that is not confirmed.

In: records from the source, scores, time. Out: calls of the scorer, transactions, back pressure. It decides nothing
itself: which records, pairs and alerts there are is the core's alone.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from stream_app.core.restoring import LostError
from stream_app.core.task import Task
from stream_app.core.types import Observation, RawRecord, Ref, Side, Unreadable
from stream_app.core.view import view_of
from stream_app.runtime.keyframes import Keyframes
from stream_app.runtime.pacing import Pacing
from stream_app.runtime.ports.publishing import EpochEndedError, Publisher
from stream_app.runtime.ports.recovery import GapError, StartingPoint
from stream_app.runtime.ports.scoring import RecordKey, ScoreItem
from stream_app.runtime.ports.source import NotOurPartitionError
from stream_app.runtime.scoring import item_of, scored_as
from stream_app.runtime.together import run_together
from stream_app.runtime.waiting import wait_for, wait_for_any
from stream_app.wire.step import render_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.core.effects import Effects
    from stream_app.runtime.ports.task import Ports, RunnerSettings

#: How often pacing looks at fetch progress, idleness and overload, in seconds.
_LOOK_S = 0.02
#: A last commit on a graceful stop may take this long, in seconds.
_LAST_COMMIT_S = 1.5

_epochs = itertools.count(1)


class Epoch:
    """One epoch of one task."""

    def __init__(self, settings: RunnerSettings, ports: Ports, publisher: Publisher, point: StartingPoint) -> None:
        self._settings = settings
        self._ports = ports
        self._clock = ports.clock
        self._publisher = publisher
        self._point = point
        self._number = next(_epochs)
        context = settings.context
        self.task = Task(
            settings.semantic,
            context.model,
            deployment=context.deployment,
            partition=context.partition,
            limits=settings.limits,
            checkpoint=point.checkpoint,
            start=point.start,
            settings_sha256=context.settings_sha256,
        )
        self._is_first_step = True
        self._keyframes = Keyframes(settings.keyframe_ms)
        self._payloads: dict[Ref, RawRecord] = {}
        self._expected: dict[Side, int] = {Side.TEXT: point.open_at[0], Side.FRAME: point.open_at[1]}
        self._scoring: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._due = asyncio.Event()
        self._gap: GapError | None = None
        self._jumps: dict[Side, int] = {}
        self._begun: set[Side] = set()
        self._failure: BaseException | None = None
        restored_ms = point.checkpoint.append_ms if point.checkpoint is not None else None
        self._pacing = Pacing(self.task, settings, ports, restored_ms=restored_ms)

    async def open(self) -> None:
        """Let both sides come, from where the starting point says.

        Raises:
            EpochEndedError: if the task is not ours any more.
        """
        try:
            for side in Side:
                await self._ports.source.open(side, self._partition, self._point.open_at[side])
                # An epoch before this one may have paused it.
                self._ports.source.resume(side, self._partition)
        except NotOurPartitionError as error:
            raise EpochEndedError(str(error)) from error

    async def run(self, is_stopping: asyncio.Event) -> None:
        """Run until asked to stop; :meth:`open` comes first.

        Raises:
            EpochEndedError: when a commit is not confirmed.
            GapError: when input that is needed turns out to be gone.
        """
        pump, pacing = asyncio.create_task(self._pump()), asyncio.create_task(self._pace())
        commit = asyncio.create_task(self._commit(is_stopping))
        await run_together((pump, pacing, commit, self._until_stopped(is_stopping, pump, pacing, commit)))

    def receive(self, side: Side, raws: Sequence[RawRecord]) -> None:
        """Keep the bytes, hand the records to the core, and pause a side whose queue is full."""
        fresh: list[RawRecord] = []
        expected = self._expected[side]
        for raw in raws:
            if raw.offset < expected:
                self._found_gap(side, raw.offset, expected)
                return
            if isinstance(raw, Unreadable) and self._is_held(side, raw):
                self._found_unreadable(side, raw)
                return
            if side not in self._begun:
                # Only here can the source have begun further up than it was told: what it loses later, it raises.
                self._begun.add(side)
                if raw.offset > expected:
                    self._jumps[side] = expected
            expected = raw.offset + 1
            self._payloads[(side, raw.offset)] = raw
            fresh.append(raw)
        self._expected[side] = expected
        try:
            self.task.receive(side, fresh)
        except LostError as lost:
            self._found_lost(lost)
            return
        self._ports.telemetry.received(self._partition, side, fresh)
        self._pacing.received(side)
        self._pacing.look_at_progress()
        self._work.set()

    def close(self) -> None:
        """Drop everything that belongs to this epoch; late results are discarded."""
        for job in self._scoring:
            job.cancel()
        for ref in self._payloads:
            self._ports.scorer.forget(self._key(ref))
        self._payloads.clear()

    @property
    def _partition(self) -> int:
        return self._settings.context.partition

    def _key(self, ref: Ref) -> RecordKey:
        return (self._number, self._partition, int(ref[0]), ref[1])

    # -- jobs --------------------------------------------------------------------------------------------------

    async def _until_stopped(self, is_stopping: asyncio.Event, *jobs: asyncio.Task[None]) -> None:
        """On a graceful stop: admit no more, publish what is decided, leave the rest to the next owner."""
        await is_stopping.wait()
        *others, commit = jobs
        for job in others:
            job.cancel()
        self._due.set()
        await wait_for_any({commit}, _LAST_COMMIT_S, self._clock)
        commit.cancel()

    async def _pump(self) -> None:
        """Admit what may be admitted whenever something changed, and carry the effects out."""
        while True:
            await self._work.wait()
            self._work.clear()
            self._raise_failures()
            has_more = True
            while has_more:
                effects = self.task.pump()
                self._carry_out(effects)
                has_more = effects.has_more
                for side in Side:
                    self._pacing.balance(side)
                if self.task.wants_commit:
                    self._due.set()
                await self._clock.sleep(0)

    async def _commit(self, is_stopping: asyncio.Event) -> None:
        """Commit at once when there is an alert, else every ``commit_ms``; nothing when nothing changed."""
        while not is_stopping.is_set():
            await wait_for(self._due, self._settings.commit_ms / 1_000, self._clock)
            self._due.clear()
            await self._commit_step()
            # What waits behind a slow score may want a commit, too, and none is due before that score comes.
            if self.task.wants_commit and self.task.has_uncommitted:
                self._due.set()
        await self._commit_step()

    async def _commit_step(self) -> None:
        await self._check_jumps()
        self._raise_failures()
        step = self.task.commit_due()
        if step is None:
            return
        topics = self._settings.context.topics
        offsets = {
            (topics.texts, self._partition): step.commit_text,
            (topics.frames, self._partition): step.commit_frame,
        }
        started = self._clock.monotonic()
        messages = render_step(
            step,
            self._settings.context,
            self._payloads,
            is_first=self._is_first_step,
            has_keyframe=self._keyframes.is_due(step),
        )
        await self._publisher.publish(messages, offsets)
        self._is_first_step = False
        self.task.committed()
        seconds = self._clock.monotonic() - started
        self._ports.telemetry.committed(self._partition, view_of(self.task), step, seconds)
        self._work.set()

    async def _check_jumps(self) -> None:
        """Before a commit, tell a side's harmless first jump (transaction markers) from a lost beginning.

        The log start only rises, so no loss is missed. Where retention passes between the fetch and this question, a
        harmless jump is called a gap: what was there nobody can tell any more, and to halt is the safe side.
        """
        while self._jumps:
            side, expected = self._jumps.popitem()
            log_start = await self._ports.recovery.log_start(side, self._partition)
            if log_start > expected:
                topic = self._settings.context.topics.of(side)
                message = (
                    f"{topic}/{self._partition}: offset {expected} was expected next, but the log starts at "
                    f"{log_start}: retention has passed what was not yet read. To continue: vigil task reset"
                )
                raise GapError(message)

    async def _pace(self) -> None:
        """Bring time in: fetch progress, idle ticks, overload. The core itself never learns what time it is."""
        while True:
            await self._clock.sleep(_LOOK_S)
            if self._pacing.look():
                self._work.set()
            if self.task.is_restoring:
                self._look_for_lost()

    # -- effects -----------------------------------------------------------------------------------------------

    def _carry_out(self, effects: Effects) -> None:
        for ref in effects.release:
            self._payloads.pop(ref, None)
            self._ports.scorer.forget(self._key(ref))
        for observation in effects.score:
            job = asyncio.create_task(self._score(observation, item_of(observation, self._payloads, self._key)))
            self._scoring.add(job)
            job.add_done_callback(self._scored)
        self._ports.telemetry.pumped(self._partition, view_of(self.task), effects)

    async def _score(self, observation: Observation, item: ScoreItem) -> None:
        score = await self._ports.scorer.score(item)
        self.task.scored(scored_as(observation, score))
        if self.task.wants_commit:
            self._due.set()

    def _scored(self, job: asyncio.Task[None]) -> None:
        self._scoring.discard(job)
        if job.cancelled():
            # Nobody here does that but `close`, after which nobody asks. Without its result the cut would never move.
            self._failure = RuntimeError("the scorer was cancelled from within: a result is missing")
        elif job.exception() is not None:
            # A scorer that raises is broken: the process must end, not the result be taken for "nothing".
            self._failure = job.exception()
        self._work.set()

    def _raise_failures(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._gap is not None:
            raise self._gap

    def _is_held(self, side: Side, lost: Unreadable) -> bool:
        """Whether the checkpoint needs a record in what cannot be read: it was read when it was judged."""
        checkpoint = self._point.checkpoint
        if checkpoint is None or lost.first_offset >= self._point.start[side]:
            return False
        return checkpoint.needs(side, lost.first_offset, lost.offset)

    def _found_unreadable(self, side: Side, lost: Unreadable) -> None:
        topic = self._settings.context.topics.of(side)
        self._gap = GapError(
            f"{topic}/{self._partition}: offset {lost.offset} is still needed and can no longer be read: "
            f"{lost.reason}, {lost.detail}. To skip what is missing: vigil task reset"
        )
        self._work.set()

    def _look_for_lost(self) -> None:
        """Notice what the checkpoint needs and the log no longer has, where no later record tells.

        Retention may pass it after the task was found a place to begin; the task would wait for ever, and seem well.
        """
        for side in Side:
            awaited, progress = self.task.awaited(side), self._ports.source.progress(side, self._partition)
            if awaited is not None and progress is not None and progress.is_at_end and progress.position > awaited:
                detail = f"expected it before the log's end at {progress.end}, found it gone"
                self._found_lost(LostError(side, awaited, detail))

    def _found_lost(self, lost: LostError) -> None:
        topic = self._settings.context.topics.of(lost.side)
        self._gap = GapError(
            f"{topic}/{self._partition}: offset {lost.offset} is still needed: {lost.detail}. To skip what is missing: "
            f"vigil task reset"
        )
        self._work.set()

    def _found_gap(self, side: Side, offset: int, expected: int) -> None:
        topic = self._settings.context.topics.of(side)
        self._gap = GapError(
            f"{topic}/{self._partition}: expected offset {expected} or later, found {offset}: the topic was deleted "
            f"and recreated. To continue with the new one: vigil task reset"
        )
        self._work.set()
