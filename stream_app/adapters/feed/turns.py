"""Turns: what is played faster than its own time stays in the order of its times, over all cameras and texts.

In: where in the footage each player is. Out: permission to proceed. Without it the texts, which are small, would all
reach their topic before the first pictures do. A worker's time follows the append order, so it would then take every
frame for late.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

#: Players stay within so many ms of footage of each other: half of the default ``grace_ms``, which is what a worker
#: forgives.
STEP_MS = 500


class Drained(Protocol):
    """What a player sends by (:class:`stream_app.adapters.feed.outbox.Outbox`)."""

    async def drain(self) -> None:
        """Wait until everything sent is confirmed."""


class Turns:
    """Lets a player send what lies in a step once all that lies in the steps before, whoever plays it, is confirmed."""

    def __init__(self, players: int) -> None:
        """Wait for so many players to be heard of before the first may send."""
        self._awaited = players
        self._steps: dict[object, int] = {}
        self._moved = asyncio.Event()

    async def wait(self, player: object, offset_ms: int, outbox: Drained) -> None:
        """Wait for the turn of what a player sends next.

        Args:
            player: who; anything that tells it from the others.
            offset_ms: where in the footage it lies; never less than before.
            outbox: by which the player sends.

        Raises:
            KafkaError: if something that was sent before was not confirmed.
        """
        step = offset_ms // STEP_MS
        known = self._steps.get(player)
        if known is not None and step <= known:
            return
        await outbox.drain()
        if known is None:
            self._awaited -= 1
        self._steps[player] = step
        self._wake()
        while self._awaited or min(self._steps.values()) < step:
            await self._moved.wait()

    async def leave(self, player: object, outbox: Drained) -> None:
        """Hold nobody up any longer: the player has sent its last record.

        Raises:
            KafkaError: if something that was sent before was not confirmed.
        """
        await outbox.drain()
        if self._steps.pop(player, None) is None:
            self._awaited -= 1
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
