"""The clock port: what time it is, and waiting for it to pass. The real one is made in the wiring, tests move theirs.

Durations and deadlines go by ``monotonic``; ``wall_ms`` is for what people read, never for a decision.
"""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time as one process sees it."""

    def monotonic(self) -> float:
        """Return seconds since some moment in the past; never runs back."""
        ...

    def wall_ms(self) -> int:
        """Return milliseconds since 1970, by a clock that somebody may set."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait so long; 0 lets other jobs run first."""
        ...
