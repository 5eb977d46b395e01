"""Time as a port: what asks for it is given a clock, and a test moves one by hand. Goes in: nothing. Goes out: time."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic time, and waiting for it to pass."""

    def monotonic(self) -> float:
        """Return seconds since some moment; they never run backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        ...


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Return seconds since some moment; they never run backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)
