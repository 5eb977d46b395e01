"""Greedy micro-batches: items in one by one from an event loop, results out, computed together in an executor thread.

A lane takes what is there at the moment its thread becomes free, up to a bound, and never waits for more. It neither
loses nor reorders nor repeats an item. An item whose batch fails is tried alone; one that fails twice alone is given
back as failed, and if even a known input fails then, the lane is broken and says so to everybody.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from stream_app.bundle.graphs import GraphError

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_TRIES_ALONE = 2


class ItemFailedError(Exception):
    """This item failed twice alone, while a known input still works."""


class LaneBrokenError(RuntimeError):
    """The lane was closed, or its engine fails on a known input: nothing that it says can be trusted any more."""


@dataclass(frozen=True, slots=True)
class LaneStats:
    """Counts since the start, and what waits now."""

    batches: int
    items: int
    waiting: int


class Lane(Generic[_In, _Out]):
    """One stage of inference: a queue, a batch function and its thread."""

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[_In]], Sequence[_Out]],
        *,
        max_batch: int,
        executor: Executor,
        probe: Callable[[], None],
    ) -> None:
        """Set up a lane.

        Args:
            name: for stats and messages.
            run: computes a result per item, in order; runs in the executor; raises GraphError for bad items.
            max_batch: most items in one call of ``run``.
            executor: where ``run`` is called, never twice at once for one lane.
            probe: raises GraphError if the engine is broken.
        """
        self.name = name
        self._run = run
        self._max_batch = max_batch
        self._executor = executor
        self._probe = probe
        self._waiting: deque[tuple[_In, asyncio.Future[_Out]]] = deque()
        self._lock = threading.Lock()
        self._is_scheduled = False
        self._broken: LaneBrokenError | None = None
        self._batches = self._items = 0
        self._runs = 0
        self._run_in_work: int | None = None

    @property
    def batch_in_work(self) -> int | None:
        """The number of the run that is being computed, None between batches; read by the watchdog's thread.

        A batch that fails takes many runs, an item at a time: that takes long and is no hang.
        """
        return self._run_in_work

    def stats(self) -> LaneStats:
        """Return the counts so far."""
        return LaneStats(self._batches, self._items, len(self._waiting))

    async def submit(self, item: _In) -> _Out:
        """Return the result of one item.

        Raises:
            ItemFailedError: if it failed twice alone.
            LaneBrokenError: if the lane is broken or closed.
        """
        if self._broken is not None:
            raise self._broken
        future: asyncio.Future[_Out] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        with self._lock:
            if not self._is_scheduled:
                self._is_scheduled = True
                self._executor.submit(self._work, future.get_loop())
        return await future

    def close(self) -> None:
        """Fail what waits and all that comes later; a running batch is finished. Call it on the loop."""
        self._break(LaneBrokenError(f"{self.name}: closed"))

    def _break(self, error: LaneBrokenError) -> None:
        self._broken = self._broken or error
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(self._broken)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Compute one batch, then take the next turn in the executor if more has come: in the executor's thread."""
        batch: list[tuple[_In, asyncio.Future[_Out]]] = []
        while len(batch) < self._max_batch and self._waiting:
            try:
                batch.append(self._waiting.popleft())
            except IndexError:  # the loop's thread closed the lane in between
                break
        if batch:
            self._batches += 1
            outcomes = self._compute([item for item, _ in batch])
            self._run_in_work = None
            self._items += len(batch)
            loop.call_soon_threadsafe(self._deliver, [future for _, future in batch], outcomes)
        with self._lock:
            self._is_scheduled = bool(self._waiting)
            if self._is_scheduled:
                self._executor.submit(self._work, loop)

    def _compute(self, items: list[_In]) -> list[_Out | Exception]:
        try:
            return self._tried(items)
        except Exception as error:  # noqa: BLE001 - the outermost loop of this thread: it hands on, the loop raises
            return [_broken(self.name, error)] * len(items)

    def _tried(self, items: list[_In]) -> list[_Out | Exception]:
        try:
            outputs: list[_Out | Exception] = list(self._watched(items))
        except GraphError as error:
            if len(items) == 1:
                return [self._alone(items[0], tries=_TRIES_ALONE - 1, last=error)]
            return [self._alone(item, tries=_TRIES_ALONE, last=error) for item in items]
        # Else some caller would wait for ever, or get what belongs to another.
        if len(outputs) != len(items):
            message = f"expected {len(items)} results, found {len(outputs)}"
            raise RuntimeError(message)
        return outputs

    def _alone(self, item: _In, *, tries: int, last: GraphError) -> _Out | Exception:
        for _ in range(tries):
            try:
                return self._watched([item])[0]
            except GraphError as error:
                last = error
        try:
            self._count_run()
            self._probe()
        except GraphError as error:
            return _broken(self.name, error)
        failed = ItemFailedError(f"{self.name}: {last}")
        failed.__cause__ = last
        return failed

    def _watched(self, items: list[_In]) -> Sequence[_Out]:
        self._count_run()
        return self._run(items)

    def _count_run(self) -> None:
        self._runs += 1
        self._run_in_work = self._runs

    def _deliver(self, futures: list[asyncio.Future[_Out]], outcomes: list[_Out | Exception]) -> None:
        for future, outcome in zip(futures, outcomes, strict=True):
            if isinstance(outcome, LaneBrokenError):
                self._break(outcome)
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def _broken(name: str, cause: Exception) -> LaneBrokenError:
    error = LaneBrokenError(f"{name}: the engine is broken: {cause!r}")
    error.__cause__ = cause
    return error
