"""Time and pressure around one task: fetch progress, idle ticks, overload, back pressure. The core learns no time.

In: what the source says of its fetching, and the clock port. Out: calls of the task (caught up, advance, thinning)
and of the source (pause, resume). Every look says whether the task may have something new to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from stream_app.core.thin import MAX_LEVEL
from stream_app.core.types import Side

if TYPE_CHECKING:
    from stream_app.runtime.ports.task import Ports, RunnerSettings

#: Ticks come at most this often, in seconds.
_TICK_EVERY_S = 1.0
#: Admission blocked by work in flight for this long is overload; that long without it, and thinning relents.
_OVERLOAD_S = 2.0
_RELIEF_S = 30.0


class _Task(Protocol):
    """What pacing asks and tells of a task: see :class:`stream_app.core.task.Task`."""

    @property
    def is_idle(self) -> bool: ...

    @property
    def is_held_up(self) -> bool: ...

    @property
    def thinning_level(self) -> int: ...

    def is_full(self, side: Side) -> bool: ...

    def set_caught_up(self, side: Side, is_caught_up: bool) -> bool: ...  # noqa: FBT001 - as the task declares it

    def next_admitted(self, side: Side) -> int: ...

    def advance(self, to_ms: int) -> bool: ...

    def set_thinning(self, level: int) -> None: ...


class Pacing:
    """The clock of one task in one epoch."""

    def __init__(self, task: _Task, settings: RunnerSettings, ports: Ports, *, restored_ms: int | None) -> None:
        """Begin.

        Args:
            task: the task.
            settings: its settings.
            ports: the source, the telemetry and the clock.
            restored_ms: the newest append time of the checkpoint, the first word of the broker's time that there is.
        """
        self._task = task
        self._settings = settings
        self._ports = ports
        self._clock = ports.clock
        self._partition = settings.context.partition
        self._paused: set[Side] = set()
        self._idle_since: float | None = None
        self._last_tick = 0.0
        self._held_up_since: float | None = None
        self._relieved_since = self._clock.monotonic()
        self._restored = (restored_ms, self._clock.monotonic())

    def received(self, side: Side) -> None:
        """Note that records came: the task is not idle, and its queue may be full."""
        self._idle_since = None
        self.balance(side)

    def balance(self, side: Side) -> None:
        """Pause a full queue's own partition; an assignment may have resumed it, so pause again each time."""
        if self._task.is_full(side):
            self._ports.source.pause(side, self._partition)
            self._paused.add(side)
        elif side in self._paused:
            self._paused.discard(side)
            self._ports.source.resume(side, self._partition)

    def look(self) -> bool:
        """Look at everything; return whether the task may have something to do."""
        has_news = self.look_at_progress()
        has_news = self._look_at_idleness() or has_news
        self._look_at_overload()
        return has_news

    def look_at_progress(self) -> bool:
        """Tell the task which sides are caught up; return whether that is news."""
        now = self._clock.monotonic()
        has_news = False
        for side in Side:
            progress = self._ports.source.progress(side, self._partition)
            is_recent = progress is not None and now - progress.fetched_at < self._settings.caught_up_ms / 1_000
            is_caught_up = progress is not None and progress.is_at_end and is_recent
            has_news = self._task.set_caught_up(side, is_caught_up) or has_news
            if progress is not None:
                lag = max(0, progress.end - self._task.next_admitted(side))
                # A side that is paused is not fetched: that says nothing about the brokers.
                age_s = 0.0 if side in self._paused else now - progress.fetched_at
                self._ports.telemetry.position(self._partition, side, lag, age_s)
        return has_news

    def _look_at_idleness(self) -> bool:
        now = self._clock.monotonic()
        if not self._task.is_idle:
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = now
        if now - self._idle_since < self._settings.idle_ms / 1_000 or now - self._last_tick < _TICK_EVERY_S:
            return False
        broker_ms = self._broker_time()
        if broker_ms is None or not self._task.advance(broker_ms - self._settings.idle_ms):
            return False
        self._last_tick = now
        return True

    def _broker_time(self) -> int | None:
        """Return broker time at the older of the two last fetches: what the broker had then, nothing later."""
        times: list[int] = []
        restored_ms, restored_at = self._restored
        for side in Side:
            progress = self._ports.source.progress(side, self._partition)
            if progress is None:
                return None
            known = [] if progress.append_ms is None else [progress.append_ms]
            if restored_ms is not None:
                known.append(restored_ms + int((progress.fetched_at - restored_at) * 1_000))
            if not known:
                return None
            times.append(max(known))
        return min(times)

    def _look_at_overload(self) -> None:
        now = self._clock.monotonic()
        level = self._task.thinning_level
        if not self._task.is_held_up:
            self._held_up_since = None
            if level and now - self._relieved_since >= _RELIEF_S:
                self._task.set_thinning(level - 1)
                self._relieved_since = now
            return
        self._relieved_since = now
        self._held_up_since = self._held_up_since if self._held_up_since is not None else now
        if now - self._held_up_since >= _OVERLOAD_S and level < MAX_LEVEL:
            self._task.set_thinning(level + 1)
            self._held_up_since = now
