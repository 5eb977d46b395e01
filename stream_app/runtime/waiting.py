"""Waiting with a bound, by the clock port. In: an event or jobs, a clock. Out: when it happened, or the time is up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from stream_app.runtime.ports.clock import Clock


async def wait_for(event: asyncio.Event, seconds: float, clock: Clock) -> None:
    """Wait for the event, at most so long."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await wait_for_any({waiting}, seconds, clock)
    finally:
        waiting.cancel()


async def wait_for_any(jobs: Collection[asyncio.Future[Any]], seconds: float, clock: Clock) -> None:
    """Wait until one of the jobs has ended, at most so long; none is cancelled."""
    time_is_up = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({*jobs, time_is_up}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        time_is_up.cancel()
