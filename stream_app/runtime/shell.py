"""The shell of a worker: one runner per task that is ours, started and stopped as the group assigns and revokes.

In: assignments and records from the source. Out: running tasks. A runner that breaks (anything but the end of an
epoch or a gap) breaks the worker: crash and replay, never carry on with half.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from stream_app.runtime.runner import TaskRunner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.core.types import RawRecord, Side
    from stream_app.runtime.ports.telemetry import Telemetry


class RunnerFactory(Protocol):
    """Makes the runner of a task."""

    def __call__(self, partition: int) -> TaskRunner:
        """Make it, not yet running."""
        ...


class Shell:
    """The tasks of one worker; implements the source's handler."""

    def __init__(self, make_runner: RunnerFactory, telemetry: Telemetry) -> None:
        self._make_runner = make_runner
        self._telemetry = telemetry
        self._runners: dict[int, TaskRunner] = {}
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._is_stopping = False
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def runners(self) -> dict[int, TaskRunner]:
        """The runners of the tasks that are ours, by partition. A copy."""
        return dict(self._runners)

    def on_assigned(self, partitions: frozenset[int]) -> None:
        """Start a runner for each task; one that is still stopping for the same task is waited for first.

        None is started once the worker stops: a rebalance may still give it tasks until it has left the group.
        """
        if self._is_stopping:
            return
        for partition in sorted(partitions - self._runners.keys()):
            runner = self._make_runner(partition)
            self._runners[partition] = runner
            job = asyncio.create_task(self._run(runner, self._jobs.get(partition)), name=f"task-{partition}")
            self._jobs[partition] = job
            job.add_done_callback(self._ended)

    def on_revoked(self, partitions: frozenset[int]) -> None:
        """Stop the runners of these tasks; each commits what it has decided if it still may."""
        for partition in sorted(partitions & self._runners.keys()):
            self._runners.pop(partition).stop()

    def on_records(self, side: Side, partition: int, records: Sequence[RawRecord]) -> None:
        """Hand records to their task; those of a task that is not ours are dropped, for its owner reads them itself."""
        runner = self._runners.get(partition)
        if runner is not None:
            runner.receive(side, records)

    async def wait(self) -> None:
        """Wait until a runner breaks.

        Raises:
            BaseException: what broke it.
        """
        await self._broken

    async def stop(self) -> None:
        """Stop all runners and wait for their last commits."""
        self._is_stopping = True
        self.on_revoked(frozenset(self._runners))
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)

    async def _run(self, runner: TaskRunner, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        await runner.run()
        self._telemetry.stopped(runner.partition)

    def _ended(self, job: asyncio.Task[None]) -> None:
        if self._broken.done():
            return
        if job.cancelled():
            # Nobody here cancels them: a client library has, and the task would be read by nobody.
            if not self._is_stopping:
                self._broken.set_exception(RuntimeError(f"{job.get_name()} was cancelled from outside"))
            return
        error = job.exception()
        if error is not None:
            self._broken.set_exception(error)
