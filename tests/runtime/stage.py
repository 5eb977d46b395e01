"""A task's runner among fakes, on a clock that the test moves."""

import asyncio
from collections.abc import Awaitable, Callable

from stream_app.config import Operational
from stream_app.core.settings import Limits, Semantic
from stream_app.core.types import LabelRule, Model, Side
from stream_app.runtime.ports.recovery import StartingPoint
from stream_app.runtime.ports.task import Ports, RunnerSettings
from stream_app.runtime.runner import TaskRunner
from stream_app.wire.context import Context
from stream_app.wiring.clients import topics_of
from tests.manual_clock import ManualClock
from tests.runtime.fakes import FakePublisher, FakeRecovery, FakeScorer, FakeSource, Raw, RecordedTelemetry

MODEL = Model("constant", "1", "0" * 64, (LabelRule("fight", is_alerting=True, open_at=1_000_000, close_at=0),))
TOPICS = topics_of(Operational())
START = StartingPoint(checkpoint=None, start=(0, 0), open_at=(0, 0))
NOW_MS = 1_700_000_000_000
#: A header of a JPEG of 16 x 16 pixels, which is all that admission looks at.
JPEG = bytes.fromhex("ffd8ffc0000b080010001001011100ffd9")


class Stage:
    """A runner among fakes."""

    def __init__(
        self,
        points: list[StartingPoint] | None = None,
        limits: Limits | None = None,
        semantic: Semantic | None = None,
        *,
        failing_starts: int = 0,
        gap: str | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.source, self.scorer, self.publisher = FakeSource(self.clock), FakeScorer(), FakePublisher(self.clock)
        self.recovery, self.telemetry = FakeRecovery(points or [START]), RecordedTelemetry()
        self.publisher.failing_starts, self.recovery.gap = failing_starts, gap
        self.scorer.gate.set()
        context = Context(
            deployment="d",
            partition=3,
            topics=TOPICS,
            model=MODEL,
            settings_sha256="ab" * 32,
            provider="CPUExecutionProvider",
        )
        settings = RunnerSettings(
            semantic=semantic or Semantic(),
            limits=limits or Operational().limits,
            context=context,
            commit_ms=1_000,
            keyframe_ms=60_000,
            idle_ms=1_000,
            caught_up_ms=5_000,
        )
        ports = Ports(
            source=self.source,
            scorer=self.scorer,
            make_publisher=lambda _: self.publisher,
            recovery=self.recovery,
            telemetry=self.telemetry,
            clock=self.clock,
        )
        self.settings, self.ports = settings, ports
        self.runner = TaskRunner(settings, ports)

    def text(self, offset: int = 0, at_ms: int = NOW_MS) -> None:
        self.runner.receive(Side.TEXT, [Raw(offset, at_ms, b"dock", b'{"text": "two men fight", "severity": 4}')])

    def frame(self, offset: int = 0, at_ms: int = NOW_MS, image: bytes = JPEG) -> None:
        self.runner.receive(Side.FRAME, [Raw(offset, at_ms, b"dock", image, (("camera", b"c1"),))])

    def quiet(self, append_ms: int) -> None:
        self.source.at_end = {Side.TEXT: True, Side.FRAME: True}
        self.source.append_ms = append_ms

    async def until(self, holds: Callable[[], object]) -> None:
        """Let time pass until something holds, at most a minute of the clock that the test moves."""
        await self.clock.settle()
        for _ in range(600):
            if holds():
                return
            await self.clock.advance(0.1)
        message = "a minute passed, and it does not hold"
        raise AssertionError(message)


def play(stage_body: Callable[[Stage], Awaitable[None]], stage: Callable[[], Stage] = Stage) -> Stage:
    """Run a runner while the body plays with it, then stop it."""

    async def whole() -> Stage:
        made = stage()
        job = asyncio.create_task(made.runner.run())
        try:
            await stage_body(made)
        finally:
            made.runner.stop()
            await made.until(job.done)
            await job
        return made

    return asyncio.run(whole())
