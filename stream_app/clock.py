"""The machine's own clock, for whoever is given one: see :class:`stream_app.runtime.ports.clock.Clock`."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Implements the clock port."""

    def monotonic(self) -> float:
        """Return seconds since some moment; never runs back."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Return milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait so long; 0 lets other jobs run first."""
        await asyncio.sleep(seconds)
