"""The shell of one task: drives the core with what Kafka, the clock and the scorer bring, and carries its effects out.

In: records from the source, scores, monotonic time. Out: calls of the scorer, transactions, back pressure. It decides
nothing itself: which records, pairs and alerts there are is the core's alone. One epoch lasts from the initialisation
of the transactional id to the first commit that is not confirmed; then all is dropped and taken up again from the
newest checkpoint.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Protocol

import msgspec

from stream_app.adapters.events import Context, render_step
from stream_app.adapters.publisher import EpochEndedError, Publisher
from stream_app.adapters.recovery import GapError, RecoveryError, StartingPoint
from stream_app.adapters.scoring import ImageInput, RecordKey, ScoreItem, TextInput
from stream_app.adapters.source.errors import NotOurPartitionError
from stream_app.core.admit import read_text
from stream_app.core.task import Task
from stream_app.core.types import Observation, RawRecord, Ref, Scored, Side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.adapters.scoring import Scorer
    from stream_app.adapters.source import Source
    from stream_app.adapters.telemetry import Telemetry
    from stream_app.core.effects import Effects
    from stream_app.core.settings import Limits, Semantic

#: How often the clock looks at fetch progress, idleness and overload, in seconds.
_CLOCK_S = 0.02
#: Ticks come at most this often, in seconds.
_TICK_EVERY_S = 1.0
#: Admission that stands on work in flight for this long is overload; that long without it, and thinning relents.
_OVERLOAD_S = 2.0
_RELIEF_S = 30.0
_MAX_THINNING = 3
#: A task that lost its epoch waits this long before it starts again, doubled up to the bound, in seconds.
_RETRY_S = (0.2, 5.0)
#: A task that stands at a gap looks this often whether it was reset, in seconds.
_GAP_LOOK_S = 10.0
#: A last commit on a graceful stop may take this long, in seconds.
_LAST_COMMIT_S = 3.0

_epochs = itertools.count(1)


class RunnerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one task is run with. Times in milliseconds."""

    semantic: Semantic
    limits: Limits
    context: Context
    commit_ms: int = 1_000
    idle_ms: int = 1_000
    caught_up_ms: int = 5_000


class PublisherFactory(Protocol):
    """Makes the producer of a task's next epoch; not yet started."""

    def __call__(self, partition: int) -> Publisher:
        """Make it."""
        ...


class Finder(Protocol):
    """Finds where a task takes up its work."""

    async def find(self, partition: int) -> StartingPoint:
        """Return the starting point; GapError or RecoveryError where there is none."""
        ...

    async def log_start(self, side: Side, partition: int) -> int:
        """Return the first offset that the log of one side still has."""
        ...


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """The world outside, as one task sees it."""

    source: Source
    scorer: Scorer
    make_publisher: PublisherFactory
    recovery: Finder
    telemetry: Telemetry


class TaskRunner:
    """Runs one task until it is cancelled."""

    def __init__(self, settings: RunnerSettings, ports: Ports) -> None:
        self.partition = settings.context.partition
        self._settings = settings
        self._ports = ports
        self._epoch: Epoch | None = None
        self._is_stopping = asyncio.Event()

    async def run(self) -> None:
        """Run epoch after epoch until :meth:`stop`; a gap ends the running but not the waiting."""
        retry_s = _RETRY_S[0]
        said = ""
        while not self._is_stopping.is_set():
            started = time.monotonic()
            try:
                await self._run_epoch()
            except (EpochEndedError, RecoveryError) as error:
                is_fenced = isinstance(error, EpochEndedError) and error.is_fenced
                self._ports.telemetry.epoch_ended(self.partition, str(error), is_fenced=is_fenced)
                retry_s = _RETRY_S[0] if time.monotonic() - started > _RETRY_S[1] else min(retry_s * 2, _RETRY_S[1])
                await _wait(self._is_stopping, retry_s)
            except GapError as error:
                # It stands until an operator resets it; looking again now and then finds that out.
                if str(error) != said:
                    said = str(error)
                    self._ports.telemetry.gap(self.partition, said)
                for side in Side:
                    self._ports.source.press(side, self.partition)
                await _wait(self._is_stopping, _GAP_LOOK_S)

    def stop(self) -> None:
        """Ask the runner to finish: a last commit, then return from :meth:`run`."""
        self._is_stopping.set()

    def receive(self, side: Side, raws: Sequence[RawRecord]) -> None:
        """Take records from the source; those of no epoch are dropped, for the next epoch asks for them again."""
        if self._epoch is not None:
            self._epoch.receive(side, raws)

    @property
    def task(self) -> Task | None:
        """The core's task of the running epoch, to be looked at only."""
        return self._epoch.task if self._epoch is not None else None

    async def _run_epoch(self) -> None:
        publisher = self._ports.make_publisher(self.partition)
        await publisher.start()
        try:
            point = await self._ports.recovery.find(self.partition)
            self._epoch = Epoch(self._settings, self._ports, publisher, point)
            self._ports.telemetry.epoch_started(self.partition, self._epoch.task, point.said)
            await self._epoch.run(self._is_stopping)
        finally:
            if self._epoch is not None:
                self._epoch.close()
                self._epoch = None
            await publisher.stop()


class Epoch:
    """One epoch of one task."""

    def __init__(self, settings: RunnerSettings, ports: Ports, publisher: Publisher, point: StartingPoint) -> None:
        self._settings = settings
        self._ports = ports
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
        self._payloads: dict[Ref, RawRecord] = {}
        self._expected: dict[Side, int] = {Side.TEXT: point.open_at[0], Side.FRAME: point.open_at[1]}
        self._scoring: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._due = asyncio.Event()
        self._gap: GapError | None = None
        self._jumps: dict[Side, int] = {}
        self._failure: BaseException | None = None
        self._pressed: set[Side] = set()
        self._idle_since: float | None = None
        self._last_tick = 0.0
        self._held_up_since: float | None = None
        self._relieved_since = time.monotonic()
        restored = point.checkpoint.append_ms if point.checkpoint is not None else None
        self._restored_time = (restored, time.monotonic())

    async def run(self, is_stopping: asyncio.Event) -> None:
        """Run until asked to stop.

        Raises:
            EpochEndedError: when a commit is not confirmed.
            GapError: when input that is needed turns out to be gone.
        """
        try:
            for side in Side:
                await self._ports.source.open(side, self._partition, self._point.open_at[side])
                # An epoch before this one may have pressed it.
                self._ports.source.release(side, self._partition)
        except NotOurPartitionError as error:
            raise EpochEndedError(str(error)) from error
        try:
            async with asyncio.TaskGroup() as group:
                pump, clock = group.create_task(self._pump()), group.create_task(self._clock())
                commit = group.create_task(self._commit(is_stopping))
                group.create_task(self._until_stopped(is_stopping, pump, clock, commit))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    def receive(self, side: Side, raws: Sequence[RawRecord]) -> None:
        """Keep the bytes, hand the records to the core, and press back when its queue is full."""
        fresh: list[RawRecord] = []
        expected = self._expected[side]
        for raw in raws:
            if raw.offset < expected:
                self._found_gap(side, raw.offset, expected)
                return
            if raw.offset > expected:
                self._jumps.setdefault(side, expected)
            expected = raw.offset + 1
            self._payloads[(side, raw.offset)] = raw
            fresh.append(raw)
        self._expected[side] = expected
        self.task.receive(side, fresh)
        self._ports.telemetry.received(self._partition, side, fresh)
        self._idle_since = None
        self._balance(side)
        self._look_at_progress()
        self._work.set()

    def close(self) -> None:
        """Drop everything that belongs to this epoch; results that still come are nobody's."""
        for job in self._scoring:
            job.cancel()
        for side, offset in self._payloads:
            self._ports.scorer.forget(self._key(side, offset))
        self._payloads.clear()

    @property
    def _partition(self) -> int:
        return self._settings.context.partition

    def _key(self, side: Side, offset: int) -> RecordKey:
        return (self._number, self._partition, int(side), offset)

    # -- jobs --------------------------------------------------------------------------------------------------

    async def _until_stopped(self, is_stopping: asyncio.Event, *jobs: asyncio.Task[None]) -> None:
        """On a graceful stop: admit no more, publish what is decided, leave the rest to the next owner."""
        await is_stopping.wait()
        *others, commit = jobs
        for job in others:
            job.cancel()
        self._due.set()
        await asyncio.wait([commit], timeout=_LAST_COMMIT_S)
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
                    self._balance(side)
                if self.task.wants_commit:
                    self._due.set()
                await asyncio.sleep(0)

    async def _commit(self, is_stopping: asyncio.Event) -> None:
        """Commit at once when there is an alert, else every ``commit_ms``; nothing when nothing changed."""
        while not is_stopping.is_set():
            await _wait(self._due, self._settings.commit_ms / 1_000)
            self._due.clear()
            await self._commit_step()
            if self.task.wants_commit:
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
        started = time.monotonic()
        await self._publisher.publish(render_step(step, self._settings.context, self._payloads), offsets)
        self.task.committed()
        self._ports.telemetry.committed(self._partition, self.task, step, time.monotonic() - started)
        self._work.set()

    async def _check_jumps(self) -> None:
        """Before a commit, tell harmless jumps in the offsets (transaction markers) from what retention took."""
        while self._jumps:
            side, expected = self._jumps.popitem()
            log_start = await self._ports.recovery.log_start(side, self._partition)
            if log_start > expected:
                topic = self._settings.context.topics.of(side)
                message = (
                    f"{topic}/{self._partition}: offset {expected} was expected next, but the log starts at "
                    f"{log_start}: retention has passed over what was not yet read. To go on: vigil task reset"
                )
                raise GapError(message)

    async def _clock(self) -> None:
        """Bring time in: fetch progress, idle ticks, overload. The core itself never learns what time it is."""
        while True:
            await asyncio.sleep(_CLOCK_S)
            self._look_at_progress()
            self._look_at_idleness()
            self._look_at_overload()

    # -- effects -----------------------------------------------------------------------------------------------

    def _carry_out(self, effects: Effects) -> None:
        for ref in effects.release:
            self._payloads.pop(ref, None)
            self._ports.scorer.forget(self._key(*ref))
        for observation in effects.score:
            job = asyncio.create_task(self._score(observation, self._item(observation)))
            self._scoring.add(job)
            job.add_done_callback(self._scored)
        self._ports.telemetry.pumped(self._partition, self.task, effects)

    def _item(self, observation: Observation) -> ScoreItem:
        image = text = None
        if observation.frame is not None and not observation.is_image_shed:
            raw = self._payloads[observation.frame.ref]
            image = ImageInput(self._key(*observation.frame.ref), raw.value or b"")
        if observation.text is not None:
            raw = self._payloads[observation.text.ref]
            text = TextInput(self._key(*observation.text.ref), read_text(raw).text)
        return ScoreItem(image, text)

    async def _score(self, observation: Observation, item: ScoreItem) -> None:
        score = await self._ports.scorer.score(item)
        self.task.scored(
            Scored(
                observation.sequence,
                observation.index,
                score.full,
                score.without_image,
                score.without_text,
                score.image_failure,
                score.text_failure,
            )
        )
        if self.task.wants_commit:
            self._due.set()

    def _scored(self, job: asyncio.Task[None]) -> None:
        self._scoring.discard(job)
        if not job.cancelled() and job.exception() is not None:
            # A scorer that raises is broken: the process must end, not the result be taken for "nothing".
            self._failure = job.exception()
        self._work.set()

    def _raise_failures(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._gap is not None:
            raise self._gap

    # -- time and pressure -------------------------------------------------------------------------------------

    def _balance(self, side: Side) -> None:
        """Press back on a full queue's own partition; an assignment may have released it, so press again each time."""
        if self.task.is_full(side):
            self._ports.source.press(side, self._partition)
            self._pressed.add(side)
        elif side in self._pressed:
            self._pressed.discard(side)
            self._ports.source.release(side, self._partition)

    def _look_at_progress(self) -> None:
        now = time.monotonic()
        for side in Side:
            progress = self._ports.source.progress(side, self._partition)
            is_recent = progress is not None and now - progress.fetched_at < self._settings.caught_up_ms / 1_000
            is_caught_up = progress is not None and progress.is_at_end and is_recent
            if self.task.set_caught_up(side, is_caught_up):
                self._work.set()
            if progress is not None:
                lag = max(0, progress.end - self.task.next_admitted(side))
                self._ports.telemetry.position(self._partition, side, lag)

    def _look_at_idleness(self) -> None:
        now = time.monotonic()
        if not self.task.is_idle:
            self._idle_since = None
            return
        if self._idle_since is None:
            self._idle_since = now
        if now - self._idle_since < self._settings.idle_ms / 1_000 or now - self._last_tick < _TICK_EVERY_S:
            return
        broker_ms = self._broker_time()
        if broker_ms is not None and self.task.advance(broker_ms - self._settings.idle_ms):
            self._last_tick = now
            self._work.set()
            if self.task.wants_commit:
                self._due.set()

    def _broker_time(self) -> int | None:
        """Broker time at the older of the two last fetches: what the broker had then, nothing later."""
        times: list[int] = []
        restored_ms, restored_at = self._restored_time
        for side in Side:
            progress = self._ports.source.progress(side, self._partition)
            if progress is None:
                return None
            known = [] if progress.append_ms is None else [progress.append_ms]
            if restored_ms is not None:
                known.append(restored_ms + int((progress.fetched_at - restored_at) * 1_000))
            if not known:
                return None
            times.append(max(known))
        return min(times)

    def _look_at_overload(self) -> None:
        now = time.monotonic()
        level = self.task.thinning_level
        if self.task.is_held_up:
            self._relieved_since = now
            self._held_up_since = self._held_up_since if self._held_up_since is not None else now
            if now - self._held_up_since >= _OVERLOAD_S and level < _MAX_THINNING:
                self.task.set_thinning(level + 1)
                self._held_up_since = now
        else:
            self._held_up_since = None
            if level and now - self._relieved_since >= _RELIEF_S:
                self.task.set_thinning(level - 1)
                self._relieved_since = now

    def _found_gap(self, side: Side, offset: int, expected: int) -> None:
        topic = self._settings.context.topics.of(side)
        self._gap = GapError(
            f"{topic}/{self._partition}: expected offset {expected} or later, found {offset}: the topic was deleted "
            f"and made again. To go on with the new one: vigil task reset"
        )
        self._work.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
