"""The watchdog: watches running batches, and reports one that runs for too long.

A batch that hangs (a driver, a deadlock) would hold results back for ever while the process looks alive. It runs in a
thread of its own, for the event loop may be what hangs. It judges only what it is shown: numbers of batches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

_INTERVAL_S = 0.5


class Watchdog:
    """Counts how long each stage has been at the same batch.

    The time between two looks counts at most twice the usual interval: when the whole process was suspended (stopped by
    a signal, a suspended machine), so did the batch, and that is no hang.
    """

    def __init__(
        self, stages: Mapping[str, Callable[[], int | None]], *, limit_s: float, on_hang: Callable[[str], None]
    ) -> None:
        """Set up a watchdog; nothing runs until ``start``.

        Args:
            stages: name and a function that returns the number of the running batch, or None; called in the thread.
            limit_s: time after which a batch hangs, seconds.
            on_hang: gets a sentence, once for each batch that hangs; expected to end the process.
        """
        self._stages = stages
        self._limit_s = limit_s
        self._on_hang = on_hang
        self._ages_s: dict[str, tuple[int | None, float]] = {}
        self._last_look_s: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look every half second."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; may be called without ``start`` and more than once."""
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def oldest_s(self) -> float:
        """How long the oldest running batch has been running, in seconds, as of the last look; 0 if none is."""
        return max((age_s for _, age_s in list(self._ages_s.values())), default=0.0)

    def look(self, now_s: float) -> None:
        """Look once, at this moment of a monotonic clock."""
        passed_s = 0.0 if self._last_look_s is None else min(now_s - self._last_look_s, 2 * _INTERVAL_S)
        self._last_look_s = now_s
        for name, batch_in_work in self._stages.items():
            batch = batch_in_work()
            known, age_s = self._ages_s.get(name, (None, 0.0))
            is_same = batch is not None and batch == known
            new_age_s = age_s + passed_s if is_same else 0.0
            self._ages_s[name] = (batch, new_age_s)
            if age_s < self._limit_s <= new_age_s:
                self._on_hang(
                    f"{name}: batch {batch} has been running for {new_age_s:.1f} s, allowed {self._limit_s:g} s"
                )

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self.look(time.monotonic())
