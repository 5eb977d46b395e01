"""Runs one task, epoch after epoch, until it is stopped. An epoch that ends is taken up again from the checkpoint."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from stream_app.core.types import RawRecord, Side
from stream_app.core.view import view_of
from stream_app.runtime.epoch import Epoch
from stream_app.runtime.ports.publishing import EpochEndedError
from stream_app.runtime.ports.recovery import GapError, RecoveryError
from stream_app.runtime.waiting import wait_for, wait_for_any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from stream_app.core.task import Task
    from stream_app.runtime.ports.task import Ports, RunnerSettings

#: A task that lost its epoch waits this long before it starts again, doubled up to the bound, in seconds.
_RETRY_S = (0.2, 5.0)
#: A task halted at a gap checks this often whether it was reset, in seconds.
_GAP_LOOK_S = 10.0
#: What is abandoned at a stop may take this long to close its connections, in seconds.
_CLOSE_S = 1.0

_ResultT = TypeVar("_ResultT")


class _StoppedError(Exception):
    """The runner was asked to stop before the epoch ran; never leaves this module."""


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
            started = self._ports.clock.monotonic()
            try:
                await self._run_epoch()
            except (EpochEndedError, RecoveryError) as error:
                is_fenced = isinstance(error, EpochEndedError) and error.is_fenced
                self._ports.telemetry.epoch_ended(self.partition, str(error), is_fenced=is_fenced)
                lasted_s = self._ports.clock.monotonic() - started
                retry_s = _RETRY_S[0] if lasted_s > _RETRY_S[1] else min(retry_s * 2, _RETRY_S[1])
                await wait_for(self._is_stopping, retry_s, self._ports.clock)
            except GapError as error:
                # Halted until an operator resets it, which checking now and then finds out.
                if str(error) != said:
                    said = str(error)
                    self._ports.telemetry.gap(self.partition, said)
                for side in Side:
                    self._ports.source.pause(side, self.partition)
                await wait_for(self._is_stopping, _GAP_LOOK_S, self._ports.clock)

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
        try:
            await self._unless_stopped(publisher.start())
            point = await self._unless_stopped(self._ports.recovery.find(self.partition))
            self._epoch = Epoch(self._settings, self._ports, publisher, point)
            self._ports.telemetry.epoch_started(self.partition, view_of(self._epoch.task), point.said)
            await self._unless_stopped(self._epoch.open())
            await self._epoch.run(self._is_stopping)
        except _StoppedError:
            return
        finally:
            if self._epoch is not None:
                self._epoch.close()
                self._epoch = None
            await publisher.stop()

    async def _unless_stopped(self, work: Coroutine[Any, Any, _ResultT]) -> _ResultT:
        """Await what precedes an epoch; a stop does not wait for brokers that do not answer.

        Raises:
            _StoppedError: if the runner is asked to stop first.
        """
        job = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._is_stopping.wait())
        try:
            await asyncio.wait({job, stop}, return_when=asyncio.FIRST_COMPLETED)
            if job.done():
                return job.result()
            raise _StoppedError
        finally:
            stop.cancel()
            job.cancel()
            # Its clients close their connections; those that cannot are left to the end of the process.
            await wait_for_any({job}, _CLOSE_S, self._ports.clock)
