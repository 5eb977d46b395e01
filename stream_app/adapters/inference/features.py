"""Features by record: encode once, fuse many. A record's key in, its features or its failure out.

Requests for one key share one computation, also while it runs, and a failure is remembered like a success: a broken
image is not tried again for every text that it meets. Bounded: beyond ``most`` entries the least recently used ones
are dropped, and computed again when somebody asks.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_app.runtime.ports.scoring import RecordKey

#: Features, or the reason why there are none.
Encoded = NDArray[np.float32] | str


class FeatureCache:
    """Running and finished encodings by record key, on one event loop."""

    def __init__(self, *, most: int) -> None:
        """Set up a cache of at most ``most`` records, at least 1."""
        self._most = max(1, most)
        self._entries: OrderedDict[RecordKey, asyncio.Task[Encoded]] = OrderedDict()
        # asyncio holds tasks weakly: one that was forgotten while it runs must still end properly.
        self._running: set[asyncio.Task[Encoded]] = set()

    def __len__(self) -> int:
        """Return the number of records that are known."""
        return len(self._entries)

    def request(self, key: RecordKey, encode: Callable[[], Coroutine[Any, Any, Encoded]]) -> asyncio.Task[Encoded]:
        """Return the encoding of a record, started by ``encode`` unless it is known; await it shielded."""
        known = self._entries.get(key)
        if known is not None and not _is_lost(known):
            self._entries.move_to_end(key)
            return known
        task = asyncio.ensure_future(encode())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        self._entries[key] = task
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
        return task

    def forget(self, key: RecordKey) -> None:
        """Let a record go; who waits for it still gets it."""
        self._entries.pop(key, None)

    async def close(self) -> None:
        """Cancel what runs and let everything go."""
        self._entries.clear()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _is_lost(task: asyncio.Task[Encoded]) -> bool:
    """A task that was cancelled, or raised because the engine broke, is no answer for the next one who asks."""
    return task.done() and (task.cancelled() or task.exception() is not None)
