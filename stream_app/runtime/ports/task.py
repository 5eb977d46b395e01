"""What one task is run with, and the world outside as it sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from stream_app.adapters.kafka.publisher import Publisher
    from stream_app.adapters.kafka.recovery import StartingPoint
    from stream_app.adapters.kafka.source import Progress
    from stream_app.core.settings import Limits, Semantic
    from stream_app.core.types import Side
    from stream_app.runtime.ports.scoring import Scorer
    from stream_app.runtime.ports.telemetry import Telemetry
    from stream_app.wire.events import Context


class RunnerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one task is run with. Times in milliseconds."""

    semantic: Semantic
    limits: Limits
    context: Context
    commit_ms: int
    idle_ms: int
    caught_up_ms: int


class PublisherFactory(Protocol):
    """Makes the producer of a task's next epoch; not yet started."""

    def __call__(self, partition: int) -> Publisher:
        """Make it."""
        ...


class Finder(Protocol):
    """Finds where a task takes up its work."""

    async def find(self, partition: int) -> StartingPoint:
        """Return the starting point; GapError or RecoveryError where there is none."""
        ...

    async def log_start(self, side: Side, partition: int) -> int:
        """Return the first offset that the log of one side still has."""
        ...


class TaskSource(Protocol):
    """What one task needs of the source; the whole port is :class:`stream_app.adapters.kafka.source.Source`."""

    async def open(self, side: Side, partition: int, offset: int) -> None:
        """Deliver this side from ``offset`` on."""
        ...

    def press(self, side: Side, partition: int) -> None:
        """Stop delivering this side, losing nothing."""
        ...

    def release(self, side: Side, partition: int) -> None:
        """Go on delivering it."""
        ...

    def progress(self, side: Side, partition: int) -> Progress | None:
        """Return how far this side is read; None while nothing is known."""
        ...


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """The world outside, as one task sees it."""

    source: TaskSource
    scorer: Scorer
    make_publisher: PublisherFactory
    recovery: Finder
    telemetry: Telemetry
