"""A clock that is moved by hand."""

import asyncio


class ManualClock:
    """Implements `stream_app.clock.Clock`; whoever sleeps wakes up when the time has come."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self.now + seconds, woken))
        await woken.wait()

    async def move(self, seconds: float) -> None:
        """Move on in steps of half a second, and let who is woken do what is to do."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 0.5, end)
            due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self.now]
            self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self.now]
            for _, woken in due:
                woken.set()
            for _ in range(3):
                await asyncio.sleep(0)
