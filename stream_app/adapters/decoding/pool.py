"""Decoding in child processes: image files of untrusted origin in, pixels or named failures out.

A child that dies or hangs is killed and replaced. Only the image it was decoding is blamed: a hang is
``decode-timeout`` at once, a death is tried once more, alone, and then ``decode-crash``. Images that merely waited
behind it go to another child. The pool runs on one event loop and knows nothing of records or models beyond the size
of their input.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_app.adapters.decoding.images import DecodeFailure, DecodeStats, header_failure
from stream_app.adapters.decoding.process import ChildLostError, DecodeProcess
from stream_app.adapters.decoding.protocol import ChildSettings
from stream_app.bundle.manifest import ImageSpec

_MAX_DEATHS = 2
#: A child that cannot be started three times in a row will not start the fourth time.
_MAX_FAILED_STARTS = 3

_Result = NDArray[np.uint8] | DecodeFailure


class DecodePoolError(RuntimeError):
    """The pool cannot work: children do not start, or it was closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeSettings:
    """Operational settings of the pool; none of them changes a pixel.

    Attributes:
        children: processes that decode.
        time_limit_s: how long one image may take.
        memory_bytes: what decoding may take in a child, on top of its own footprint.
        max_pixels: larger images are refused by their header.
        max_waiting: images accepted and not answered; more calls wait.
        max_per_hop: images handed to a child at once, when many wait.
        decode: the decoding function, ``module:name``.
    """

    children: int
    time_limit_s: float
    memory_bytes: int
    max_pixels: int
    max_waiting: int = 64
    max_per_hop: int = 4
    decode: str = "stream_app.bundle.image:decode_image"


@dataclass(slots=True, eq=False)
class _Job:
    data: bytes
    result: asyncio.Future[_Result]
    deaths: int = 0


class DecodePool:
    """A fixed number of decode children behind one bounded queue."""

    def __init__(self, spec: ImageSpec, *, settings: DecodeSettings) -> None:
        """Prepare a pool; nothing runs until ``start``.

        Args:
            spec: the size of the pixels to return.
            settings: see ``DecodeSettings``.
        """
        self._settings = settings
        self._child_settings = ChildSettings(
            spec=spec,
            decode=self._settings.decode,
            memory_bytes=self._settings.memory_bytes,
            parent_pid=os.getpid(),
        )
        self._waiting: deque[_Job] = deque()
        self._room = asyncio.Semaphore(self._settings.max_waiting)
        self._arrival = asyncio.Condition()
        self._children: dict[int, DecodeProcess] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._broken: DecodePoolError | None = None
        self._decoded = 0
        self._lost = 0
        self._failures: Counter[str] = Counter()

    @property
    def child_pids(self) -> tuple[int, ...]:
        """Process ids of the children that are running now."""
        return tuple(child.pid for child in self._children.values())

    def stats(self) -> DecodeStats:
        """Return the counts so far."""
        return DecodeStats(
            decoded=self._decoded,
            waiting=len(self._waiting),
            lost_children=self._lost,
            failures=dict(self._failures),
        )

    async def start(self) -> None:
        """Start all children and wait until they are ready. Call it on the main thread's event loop.

        Raises:
            DecodePoolError: if a child cannot be started.
        """
        slots = range(self._settings.children)
        starts = [asyncio.create_task(self._start_child(slot)) for slot in slots]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            # Also when the caller is cancelled: no child may be left behind.
            for start in starts:
                # Not twice: the second would break off the killing and reaping that the first has begun.
                if not start.cancelling():
                    start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self.close()
            raise
        self._tasks = [asyncio.create_task(self._serve(slot), name=f"decode-{slot}") for slot in slots]
        for task in self._tasks:
            task.add_done_callback(self._server_ended)

    async def close(self) -> None:
        """Kill all children and fail what still waits. Takes some milliseconds; may be called again."""
        closed = DecodePoolError("the decode pool was closed")
        self._break(closed)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        # Cancelled servers have put back what was being decoded.
        self._break(closed)
        await asyncio.gather(*(self._end_child(slot) for slot in list(self._children)))

    async def decode(self, data: bytes) -> _Result:
        """Decode one image; waits while ``max_waiting`` others are not answered.

        Args:
            data: the image file.

        Returns:
            uint8 [H, W, 3] RGB of the model's size, read-only; or the failure. What its header condemns costs no
            child's time.

        Raises:
            DecodePoolError: if the pool is closed or its children do not start any more.
        """
        failure = header_failure(data, max_pixels=self._settings.max_pixels)
        if failure is not None:
            self._failures[failure.reason] += 1
            return failure
        async with self._room:
            if self._broken is not None:
                raise self._broken
            job = _Job(data, asyncio.get_running_loop().create_future())
            self._waiting.append(job)
            async with self._arrival:
                self._arrival.notify()
            return await job.result

    async def _serve(self, slot: int) -> None:
        """Hand waiting images to one child, for ever."""
        while True:
            jobs = await self._take()
            try:
                await self._work(slot, jobs)
            finally:
                # Whatever has no answer when this is left, by death or by cancellation, goes back to the front.
                self._waiting.extendleft(job for job in reversed(jobs) if not job.result.done())
            if slot not in self._children and not await self._replace_child(slot):
                return
            async with self._arrival:
                self._arrival.notify_all()

    async def _take(self) -> list[_Job]:
        """Wait for images; take a fair share, or a single one if it has already cost a child its life."""
        while True:
            async with self._arrival:
                await self._arrival.wait_for(lambda: self._waiting)
            share = -(-len(self._waiting) // self._settings.children)
            jobs: list[_Job] = []
            while self._waiting and len(jobs) < min(share, self._settings.max_per_hop):
                if jobs and self._waiting[0].deaths:
                    break
                job = self._waiting.popleft()
                # Nobody waits for a cancelled one.
                if not job.result.done():
                    jobs.append(job)
                if job.deaths:
                    break
            if jobs:
                return jobs

    async def _work(self, slot: int, jobs: list[_Job]) -> None:
        child = self._children[slot]
        child.send([job.data for job in jobs])
        for job in jobs:
            try:
                outcome = await child.receive(self._settings.time_limit_s)
            except TimeoutError:
                outcome = DecodeFailure("decode-timeout", f"took longer than {self._settings.time_limit_s:g} s")
                await self._lose_child(slot)
            except ChildLostError:
                await self._lose_child(slot)
                job.deaths += 1
                if job.deaths < _MAX_DEATHS:
                    return
                outcome = DecodeFailure("decode-crash", f"its decoder died {job.deaths} times")
            self._answer(job, outcome)
            if slot not in self._children:
                return

    def _answer(self, job: _Job, outcome: _Result) -> None:
        if isinstance(outcome, DecodeFailure):
            self._failures[outcome.reason] += 1
        else:
            self._decoded += 1
        if not job.result.done():
            job.result.set_result(outcome)

    async def _start_child(self, slot: int) -> None:
        try:
            self._children[slot] = await DecodeProcess.start(self._child_settings)
        except (ChildLostError, OSError) as error:
            raise DecodePoolError(str(error)) from error

    async def _lose_child(self, slot: int) -> None:
        self._lost += 1
        await self._end_child(slot)

    async def _end_child(self, slot: int) -> None:
        child = self._children.pop(slot, None)
        if child is not None:
            await child.kill()

    async def _replace_child(self, slot: int) -> bool:
        for attempt in range(_MAX_FAILED_STARTS):
            try:
                await self._start_child(slot)
            except DecodePoolError as error:
                if attempt == _MAX_FAILED_STARTS - 1:
                    self._break(error)
            else:
                return True
        return False

    def _server_ended(self, task: asyncio.Task[None]) -> None:
        """A server that ends by an error would leave its images unanswered for ever."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            broken = DecodePoolError(f"the decode pool failed: {error!r}")
            broken.__cause__ = error
            self._break(broken)

    def _break(self, error: DecodePoolError) -> None:
        """Fail everybody who waits, and all who come later: without children no image will ever be answered."""
        self._broken = self._broken or error
        while self._waiting:
            job = self._waiting.popleft()
            if not job.result.done():
                job.result.set_exception(self._broken)
