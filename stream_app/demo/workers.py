"""Worker processes of the demo: started, waited for, killed, stopped; their logs are kept."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: A worker that is not ready after this long will not be; in seconds.
_READY_S = 90.0
_STOP_S = 30.0
_LAST_LINES = 15


class WorkerError(RuntimeError):
    """A worker did not become ready or did not stop as it should; the message holds its last lines."""


class Worker:
    """One `vigil worker` in a process of its own."""

    def __init__(
        self, name: str, log: Path, settings: Mapping[str, object], *, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it.

        Args:
            name: what it is called in the demo.
            log: file for its output.
            settings: settings by name, given with ``--set``.
            environment: variables that are added to this process's own.
        """
        self.name = name
        self.log = log
        self.health_port = _free_port()
        assignments = {**settings, "health_port": self.health_port, "log_format": "json"}
        flags = [part for key, value in assignments.items() for part in ("--set", f"{key}={value}")]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stream_app", "worker", *flags],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    async def wait_ready(self) -> None:
        """Wait until it says that it is ready.

        Raises:
            WorkerError: if it ends first, or is not ready in time.
        """
        try:
            async with asyncio.timeout(_READY_S), aiohttp.ClientSession() as session:
                while not await self._is_ready(session):
                    if not self.is_running:
                        message = f"{self.name} ended with status {self._process.returncode}:\n{self.last_lines()}"
                        raise WorkerError(message)
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            message = f"{self.name} was not ready after {_READY_S:.0f} s:\n{self.last_lines()}"
            raise WorkerError(message) from error

    async def readiness(self) -> tuple[int, str]:
        """Return status and body of its readiness page; status 0 when it does not answer."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.health_port}/health/ready") as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def metrics(self) -> dict[str, float]:
        """Return the samples of its metrics page by name with labels; empty when it does not answer."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.health_port}/metrics") as answer,
            ):
                page = await answer.text()
        except aiohttp.ClientError:
            return {}
        lines = (line.rpartition(" ") for line in page.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """Stop its clock: a zombie in the making."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it."""
        self._process.send_signal(signal.SIGCONT)

    async def stop(self) -> int:
        """Ask it to stop; after a while end it.

        Returns:
            Its exit status; negative when it had to be ended.
        """
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self._process.wait, _STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.wait()

    def last_lines(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:])

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"http://127.0.0.1:{self.health_port}/health/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
