"""What one task is run with, and the world outside as it sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from stream_app.core.settings import Limits, Semantic
    from stream_app.runtime.ports.clock import Clock
    from stream_app.runtime.ports.publishing import PublisherFactory
    from stream_app.runtime.ports.recovery import Recovery
    from stream_app.runtime.ports.scoring import Scorer
    from stream_app.runtime.ports.source import TaskSource
    from stream_app.runtime.ports.telemetry import Telemetry
    from stream_app.wire.context import Context


class RunnerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one task is run with. Times in milliseconds."""

    semantic: Semantic
    limits: Limits
    context: Context
    commit_ms: int
    keyframe_ms: int
    idle_ms: int
    caught_up_ms: int


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """The world outside, as one task sees it."""

    source: TaskSource
    scorer: Scorer
    make_publisher: PublisherFactory
    recovery: Recovery
    telemetry: Telemetry
    clock: Clock
