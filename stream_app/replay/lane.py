"""One task of a replay: records and ticks in, steps out, with many scores in flight and memory that stays flat.

What a live task's epoch does with transactions is done here without: a step is confirmed as soon as it was handed on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stream_app.core.task import Task
from stream_app.core.types import Scored, Side
from stream_app.runtime.ports.scoring import ImageInput, ScoreItem, TextInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from stream_app.core.effects import Step
    from stream_app.core.settings import Limits
    from stream_app.core.types import InForce, Observation, RawRecord, Ref
    from stream_app.runtime.ports.scoring import RecordKey, Scorer

#: What is decided is handed on after so many records at the latest: a step costs a checkpoint, which nobody needs here.
_RECORDS_A_STEP = 1_000


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
        take: Callable[[Step], None],
    ) -> None:
        self._task = Task(
            in_force.settings,
            in_force.model,
            deployment=deployment,
            partition=partition,
            limits=limits,
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
        self._records = 0
        for side in Side:
            self._task.set_caught_up(side, is_caught_up=True)

    @property
    def totals(self) -> dict[str, int]:
        """The task's counters."""
        return self._task.totals

    async def admit(self, texts: Sequence[RawRecord], frames: Sequence[RawRecord]) -> None:
        """Admit what lies between two moments; the core's merge puts it in order."""
        for side, raws in ((Side.TEXT, texts), (Side.FRAME, frames)):
            for raw in raws:
                self._payloads[(side, raw.offset)] = raw
            self._task.receive(side, raws)
            self._records += len(raws)
        self._pump()
        while not self._task.is_idle:
            # At a bound: of what is decided and not handed on, or of what is in flight.
            if not self._step():
                await self._wait()
            self._pump()
        if self._records >= _RECORDS_A_STEP:
            self._records = 0
            self._step()

    async def tick(self, times: Iterable[int]) -> None:
        """Advance stream time to each of these, until nothing is held or open."""
        for to_ms in times:
            if to_ms <= self._task.stream_ms:
                continue
            # Whether something is open is known only once all before is scored; so it does not depend on how fast.
            await self._drain()
            if not self._task.advance(to_ms):
                return
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
        step = self._task.commit_due()
        if step is None:
            return False
        self._take(step)
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
                job = asyncio.create_task(self._score(observation, self._item(observation)))
                self._jobs.add(job)
                job.add_done_callback(self._ended)

    async def _score(self, observation: Observation, item: ScoreItem) -> None:
        score = await self._scorer.score(item)
        sides = (score.full, score.without_image, score.without_text)
        failures = (score.image_failure, score.text_failure)
        self._task.scored(Scored(observation.sequence, observation.index, *sides, *failures))

    def _ended(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and job.exception() is not None:
            # A scorer that raises is broken: that is never "nothing seen".
            self._failure = job.exception()
        self._news.set()

    def _item(self, observation: Observation) -> ScoreItem:
        text, frame = observation.text, observation.frame
        image = None
        if frame is not None and not observation.is_image_shed:
            image = ImageInput(self._key(frame.ref), self._payloads[frame.ref].value or b"")
        return ScoreItem(image, None if text is None else TextInput(self._key(text.ref), text.text))

    def _key(self, ref: Ref) -> RecordKey:
        return (self._epoch, self._partition, int(ref[0]), ref[1])
