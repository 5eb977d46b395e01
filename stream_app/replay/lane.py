"""One task of a replay: records and ticks in, steps out, with many scores in flight and memory that stays flat.

What a live task's epoch does with transactions is done here without: a step is confirmed as soon as it was handed on.
Where steps are to be recorded, they are a function of the inputs too: then a lane is given a :class:`Pacing`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from stream_app.core.journal import JournalThinning
from stream_app.core.task import Task
from stream_app.core.types import Side
from stream_app.runtime.scoring import item_of, scored_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from stream_app.core.effects import Step
    from stream_app.core.journal import JournalTick
    from stream_app.core.settings import Limits
    from stream_app.core.types import InForce, Observation, RawRecord, Ref
    from stream_app.runtime.ports.scoring import RecordKey, ScoreItem, Scorer
    from stream_app.wire.step import Payloads

    Take = Callable[[Step, Payloads, int], None]

#: What is decided is handed on after so many records at the latest: a step costs a checkpoint, which nobody needs here.
_RECORDS_A_STEP = 1_000
#: Where steps depend on the inputs alone, they come after so many bytes of those, too: what is refused of it is held.
_BYTES_A_STEP = 64 * 1024 * 1024
_NO_BOUND = 1 << 62


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """How steps follow the inputs: as a task whose scores all come at once would commit, every ``step_ms``.

    A tick to T is made when the broker's clock is at T + ``idle_ms``, as live.
    """

    step_ms: int
    idle_ms: int


class Lane:
    """One task, judged by one model and one set of settings. One owner calls it."""

    def __init__(
        self,
        in_force: InForce,
        scorer: Scorer,
        *,
        deployment: str,
        partition: int,
        epoch: int,
        limits: Limits,
        take: Take,
        pacing: Pacing | None = None,
    ) -> None:
        """Make a task that starts from nothing.

        Args:
            in_force: what judges.
            scorer: answers in any order.
            deployment: its name.
            partition: the task's number.
            epoch: tells this task's records from those of others that the scorer serves.
            limits: bounds that change no result.
            take: is given each step, where the bytes of its dead letters are, and the append time that its inputs
                have reached.
            pacing: None: steps are made when there is reason to, which depends on how fast scores come.
        """
        self._task = Task(
            in_force.settings,
            in_force.model,
            deployment=deployment,
            partition=partition,
            # A bound on what waits for a step would be met sooner or later by how fast scores come.
            limits=limits if pacing is None else _without_bounds_on_steps(limits),
            settings_sha256=in_force.settings_sha256,
        )
        settings = in_force.settings
        #: After its last record a task has nothing to do any more once so much time has passed, in ms.
        self.longest_ms = settings.horizon_ms + settings.quiet_ms + settings.max_ahead_ms
        self._scorer = scorer
        self._partition = partition
        self._epoch = epoch
        self._take = take
        self._payloads: dict[Ref, RawRecord] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._failure: BaseException | None = None
        self._records = self._bytes = 0
        self._pacing = pacing
        self._now_ms: int | None = None
        self._stepped_ms = 0
        for side in Side:
            self._task.set_caught_up(side, is_caught_up=True)

    @property
    def totals(self) -> dict[str, int]:
        """The task's counters."""
        return self._task.totals

    async def reach(self, now_ms: int) -> None:
        """Say that append time has come to this, before what was appended then is admitted."""
        if self._pacing is None:
            return
        if self._now_ms is None:
            # A task's first step names what is in force, before there is an input: from there on it can be verified.
            self._now_ms = self._stepped_ms = now_ms
            self._step()
        elif now_ms > self._now_ms:
            if now_ms - self._stepped_ms >= self._pacing.step_ms:
                await self._drain()
                self._step()
                self._stepped_ms = now_ms
            self._now_ms = now_ms

    async def admit(self, texts: Sequence[RawRecord], frames: Sequence[RawRecord]) -> None:
        """Admit what lies between two moments; the core's merge puts it in order."""
        for side, raws in ((Side.TEXT, texts), (Side.FRAME, frames)):
            for raw in raws:
                self._payloads[(side, raw.offset)] = raw
                self._bytes += len(raw.value or b"")
            self._task.receive(side, raws)
            self._records += len(raws)
        self._pump()
        while not self._task.is_idle:
            # At a bound: of what is decided and not handed on, or of what is in flight.
            if self._pacing is not None or not self._step():
                await self._wait()
            self._pump()
        if self._records >= _RECORDS_A_STEP or self._bytes >= _BYTES_A_STEP:
            if self._pacing is not None:
                await self._drain()
            self._step()

    async def tick(self, times: Iterable[int]) -> None:
        """Advance stream time to each of these, until nothing is held or open."""
        for to_ms in times:
            if to_ms <= self._task.stream_ms:
                continue
            # Whether something is open is known only once all before is scored; so it does not depend on how fast.
            await self._drain()
            if self._pacing is not None:
                await self.reach(to_ms + self._pacing.idle_ms)
            if not self._task.advance(to_ms):
                return
            self._pump()

    async def follow(self, told: JournalTick | JournalThinning) -> None:
        """Do what a journal says, whether or not there is a reason here."""
        if isinstance(told, JournalThinning):
            self._task.set_thinning(told.level)
        elif told.to_ms > self._task.stream_ms:
            if self._pacing is not None:
                await self.reach(told.to_ms + self._pacing.idle_ms)
            self._task.tick(told.to_ms)
        self._pump()

    async def finish(self) -> None:
        """Score and hand on what is left."""
        await self._drain()
        self._step()
        self._pump()

    def close(self) -> None:
        """Give up what is in flight, and all bytes."""
        for job in self._jobs:
            job.cancel()
        for ref in self._payloads:
            self._scorer.forget(self._key(ref))
        self._payloads.clear()

    def _step(self) -> bool:
        self._records = self._bytes = 0
        step = self._task.commit_due()
        if step is None:
            return False
        self._take(step, self._payloads, self._now_ms or 0)
        self._task.committed()
        return True

    async def _drain(self) -> None:
        while self._task.in_flight:
            await self._wait()
        self._pump()

    async def _wait(self) -> None:
        """Wait for the next score.

        Raises:
            BaseException: what broke the scorer.
        """
        await self._news.wait()
        self._news.clear()
        if self._failure is not None:
            raise self._failure

    def _pump(self) -> None:
        has_more = True
        while has_more:
            effects = self._task.pump()
            has_more = effects.has_more
            for ref in effects.release:
                if self._payloads.pop(ref, None) is not None:
                    self._scorer.forget(self._key(ref))
            for observation in effects.score:
                job = asyncio.create_task(self._score(observation, item_of(observation, self._payloads, self._key)))
                self._jobs.add(job)
                job.add_done_callback(self._ended)

    async def _score(self, observation: Observation, item: ScoreItem) -> None:
        score = await self._scorer.score(item)
        self._task.scored(scored_as(observation, score))

    def _ended(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and job.exception() is not None:
            # A scorer that raises is broken: that is never "nothing seen".
            self._failure = job.exception()
        self._news.set()

    def _key(self, ref: Ref) -> RecordKey:
        return (self._epoch, self._partition, int(ref[0]), ref[1])


def _without_bounds_on_steps(limits: Limits) -> Limits:
    return msgspec.structs.replace(limits, outputs=_NO_BOUND, dead_letter_bytes=_NO_BOUND)
