"""Scores again what a verification gives to the core: many in flight, each picture and text encoded once.

In: recorded scores with what they are of, as an onlooker of the verification. Out: how far the scores of today lie from
them. The verification goes on by the recorded ones, so the order and everything else is what it was.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from stream_app.replay.differing import refs_of
from stream_app.replay.rescored import Differences, Observed
from stream_app.runtime.scoring import item_of, scored_as

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.core.types import Model, Observation, Ref, Scored
    from stream_app.replay.rescored import Rescored
    from stream_app.runtime.ports.scoring import RecordKey, ScoreItem, Scorer
    from stream_app.wire.step import Payloads

#: While so many are in flight the verification waits: their bytes are held.
_IN_FLIGHT = 256
_epochs = itertools.count(1)


class Judge(msgspec.Struct, frozen=True):
    """What scores again: a scorer, and the labels of its bundle in their order."""

    scorer: Scorer
    labels: tuple[str, ...]


class Rescoring:
    """Implements :class:`~stream_app.replay.onlooking.Onlooker`. Used within one running event loop."""

    def __init__(self, judge_of: Callable[[Model], Judge | None], *, band: float, tolerance: float) -> None:
        """Begin with nothing.

        Args:
            judge_of: returns what scores in place of a recorded model; None where nothing does.
            band: so far from a threshold, as a probability, a flip is expected.
            tolerance: the greatest difference that is.
        """
        self._judge_of = judge_of
        self._differences = Differences(band, tolerance)
        # A scorer that judged something else before must not take its records for these.
        self._epoch = next(_epochs)
        self._jobs: set[asyncio.Task[None]] = set()
        #: What is in flight of a record, and who has its features.
        self._uses: Counter[RecordKey] = Counter()
        self._scorers: dict[RecordKey, list[Scorer]] = {}
        self._released: set[RecordKey] = set()
        self._news = asyncio.Event()
        self._failure: BaseException | None = None

    def answered(
        self, partition: int, observation: Observation, scored: Scored, model: Model, payloads: Payloads
    ) -> None:
        """Score an observation again, soon."""
        judge = self._judge_of(model)
        if judge is None:
            self._differences.leave_out(model)
            return
        item = item_of(observation, payloads, lambda ref: self._key(partition, ref))
        for side in (item.image, item.text):
            if side is not None:
                self._uses[side.key] += 1
                self._released.discard(side.key)
                scorers = self._scorers.setdefault(side.key, [])
                if judge.scorer not in scorers:
                    scorers.append(judge.scorer)
        job = asyncio.create_task(self._score(partition, observation, scored, model, judge, item))
        self._jobs.add(job)
        job.add_done_callback(self._ended)

    def released(self, partition: int, ref: Ref) -> None:
        """Let the features of a record go, once what is in flight of it is scored."""
        key = self._key(partition, ref)
        if key in self._scorers:
            self._released.add(key)
            self._forget(key)

    async def room(self) -> None:
        """Wait until few are in flight.

        Raises:
            BaseException: what broke a scorer.
        """
        while len(self._jobs) >= _IN_FLIGHT:
            await self._wait()
        # Scores come back, and Ctrl-C does.
        await asyncio.sleep(0)
        self._raise()

    async def finish(self) -> Rescored:
        """Wait for all that is in flight, and return what was found.

        Raises:
            BaseException: what broke a scorer.
        """
        while self._jobs:
            await self._wait()
        self._raise()
        return self._differences.result()

    def close(self) -> None:
        """Give up what is in flight."""
        for job in self._jobs:
            job.cancel()
        for key, scorers in self._scorers.items():
            for scorer in scorers:
                scorer.forget(key)
        self._scorers.clear()

    async def _score(
        self, partition: int, observation: Observation, recorded: Scored, model: Model, judge: Judge, item: ScoreItem
    ) -> None:
        again = scored_as(observation, await judge.scorer.score(item))
        records = [record for record in (observation.text, observation.frame) if record is not None]
        observed = Observed(
            partition=partition,
            sequence=observation.sequence,
            event_ms=max(record.event_ms for record in records),
            inputs=refs_of(observation),
        )
        self._differences.add(observed, model, recorded, again, judge.labels)
        for side in (item.image, item.text):
            if side is not None:
                self._uses[side.key] -= 1
                if side.key in self._released:
                    self._forget(side.key)

    def _forget(self, key: RecordKey) -> None:
        """Let the features of a released record go, once nothing waits for them."""
        if not self._uses[key]:
            del self._uses[key]
            self._released.discard(key)
            for scorer in self._scorers.pop(key):
                scorer.forget(key)

    def _ended(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and job.exception() is not None:
            # A scorer that raises is broken: that is never "no difference".
            self._failure = job.exception()
        self._news.set()

    async def _wait(self) -> None:
        await self._news.wait()
        self._news.clear()
        self._raise()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _key(self, partition: int, ref: Ref) -> RecordKey:
        return (self._epoch, partition, int(ref[0]), ref[1])
