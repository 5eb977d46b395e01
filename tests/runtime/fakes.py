"""Fakes of the ports around a task: each implements its port and records what it was asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stream_app.runtime.ports.publishing import EpochEndedError
from stream_app.runtime.ports.recovery import GapError
from stream_app.runtime.ports.scoring import Score
from stream_app.runtime.ports.source import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_app.core.effects import Effects, Step
    from stream_app.core.types import RawRecord, Side
    from stream_app.core.view import TaskView
    from stream_app.runtime.ports.clock import Clock
    from stream_app.runtime.ports.recovery import StartingPoint
    from stream_app.runtime.ports.scoring import RecordKey, ScoreItem
    from stream_app.wire.message import Message


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as a client would deliver it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class FakeSource:
    """A source whose progress the test sets; it fetches all the time."""

    clock: Clock
    opened: list[tuple[Side, int, int]] = field(default_factory=list)
    paused: set[tuple[Side, int]] = field(default_factory=set)
    at_end: dict[Side, bool] = field(default_factory=dict)
    append_ms: int | None = None
    #: How far each side was read; nowhere, unless the test says.
    positions: dict[Side, int] = field(default_factory=dict)

    async def open(self, side: Side, partition: int, offset: int) -> None:
        self.opened.append((side, partition, offset))

    def pause(self, side: Side, partition: int) -> None:
        self.paused.add((side, partition))

    def resume(self, side: Side, partition: int) -> None:
        self.paused.discard((side, partition))

    def progress(self, side: Side, partition: int) -> Progress | None:
        del partition
        position = self.positions.get(side, 0)
        return Progress(
            is_at_end=self.at_end.get(side, False),
            fetched_at=self.clock.monotonic(),
            append_ms=self.append_ms,
            position=position,
            end=position,
        )


@dataclass
class FakeScorer:
    """Gives every item the same scores; ``gate`` holds results back while it is not set."""

    full: tuple[int, ...] | None = (5_000_000,)
    error: BaseException | None = None
    items: list[ScoreItem] = field(default_factory=list)
    forgotten: list[RecordKey] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: int = 0

    async def score(self, item: ScoreItem) -> Score:
        self.items.append(item)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        if item.image is None or item.text is None:
            return Score(full=self.full)
        return Score(full=self.full, without_image=(1_000_000,), without_text=(2_000_000,))

    def forget(self, key: RecordKey) -> None:
        self.forgotten.append(key)


@dataclass
class FakePublisher:
    """Keeps what was published; fails as many commits as it is told to."""

    clock: Clock
    published: list[tuple[list[Message], dict[tuple[str, int], int]]] = field(default_factory=list)
    failures: int = 0
    failing_starts: int = 0
    is_silent: bool = False
    started_at: list[float] = field(default_factory=list)
    stops: int = 0

    @property
    def starts(self) -> int:
        return len(self.started_at)

    async def start(self) -> None:
        self.started_at.append(self.clock.monotonic())
        if self.failing_starts:
            self.failing_starts -= 1
            message = "the producer could not be initialised: as the test ordered"
            raise EpochEndedError(message)

    async def stop(self) -> None:
        self.stops += 1

    async def publish(self, messages: Iterable[Message], offsets: Mapping[tuple[str, int], int]) -> None:
        rendered = list(messages)
        await asyncio.sleep(0)
        if self.is_silent:
            await asyncio.Event().wait()
        if self.failures:
            self.failures -= 1
            message = "the commit was not confirmed: as the test ordered"
            raise EpochEndedError(message)
        self.published.append((rendered, dict(offsets)))

    def values(self, topic: str) -> list[bytes | None]:
        """Return the values published to one topic."""
        return [message.value for messages, _ in self.published for message in messages if message.topic == topic]


@dataclass
class FakeRecovery:
    """Hands out starting points one after the other; the last one again and again; none while it is silent."""

    points: list[StartingPoint]
    log_starts: dict[Side, int] = field(default_factory=dict)
    is_silent: bool = False
    asked: list[Side] = field(default_factory=list)
    gap: str | None = None
    looks: int = 0

    async def find(self, partition: int) -> StartingPoint:
        del partition
        self.looks += 1
        if self.gap is not None:
            raise GapError(self.gap)
        if self.is_silent:
            await asyncio.Event().wait()
        return self.points.pop(0) if len(self.points) > 1 else self.points[0]

    async def log_start(self, side: Side, partition: int) -> int:
        del partition
        self.asked.append(side)
        return self.log_starts.get(side, 0)


@dataclass
class RecordedTelemetry:
    """Remembers what the shell said."""

    ended: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    started: int = 0
    stopped_partitions: list[int] = field(default_factory=list)
    cancellations_left: list[int] = field(default_factory=list)
    positions: list[tuple[int, Side, int, float]] = field(default_factory=list)
    committed_s: list[float] = field(default_factory=list)

    def received(self, partition: int, side: Side, raws: list[RawRecord]) -> None:
        del partition, side, raws

    def pumped(self, partition: int, view: TaskView, effects: Effects) -> None:
        del partition, view, effects

    def committed(self, partition: int, view: TaskView, step: Step, seconds: float) -> None:
        del partition, view, step
        self.committed_s.append(seconds)

    def position(self, partition: int, side: Side, lag: int, age_s: float) -> None:
        self.positions.append((partition, side, lag, age_s))

    def epoch_started(self, partition: int, view: TaskView, said: tuple[str, ...]) -> None:
        del partition, view, said
        self.started += 1

    def epoch_ended(self, partition: int, reason: str, *, is_fenced: bool) -> None:
        del partition, is_fenced
        self.ended.append(reason)
        running = asyncio.current_task()
        self.cancellations_left.append(running.cancelling() if running else 0)

    def gap(self, partition: int, message: str) -> None:
        del partition
        self.gaps.append(message)

    def stopped(self, partition: int) -> None:
        self.stopped_partitions.append(partition)
