"""A clock that stands still until the test moves it; who sleeps by it wakes when its time has come, in order."""

from __future__ import annotations

import asyncio
import heapq
import itertools

#: Turns of the event loop after which everything that can go on without time passing has gone on.
_TURNS = 50


class ManualClock:
    """Implements the clock port."""

    def __init__(self, *, monotonic: float = 1_000.0, wall_ms: int = 1_700_000_000_000) -> None:
        self._now = monotonic
        self._wall_offset_ms = wall_ms - round(monotonic * 1_000)
        self._order = itertools.count()
        #: How often somebody wanted to sleep.
        self.asked = 0
        self._sleeping: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._now

    def wall_ms(self) -> int:
        return self._wall_offset_ms + round(self._now * 1_000)

    async def sleep(self, seconds: float) -> None:
        self.asked += 1
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleeping, (self._now + seconds, next(self._order), woken))
        await woken

    def jump(self, seconds: float) -> None:
        """Move time without letting anybody run: what a unit without jobs needs."""
        self._now += seconds

    async def settle(self) -> None:
        """Let everything run that can run without time passing."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Move time, from one sleeper's end to the next, and let everything run at each."""
        end = self._now + seconds
        await self.settle()
        while self._sleeping and self._sleeping[0][0] <= end:
            at, _, woken = heapq.heappop(self._sleeping)
            if not woken.done():
                self._now = max(self._now, at)
                woken.set_result(None)
                await self.settle()
        self._now = end
        await self.settle()
