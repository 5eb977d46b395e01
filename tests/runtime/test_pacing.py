"""Time and pressure around one task, by a clock that the test moves: caught up, ticks, overload, pauses."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from stream_app.config import Operational
from stream_app.core.settings import Semantic
from stream_app.core.thin import MAX_LEVEL
from stream_app.core.types import LabelRule, Model, Side
from stream_app.runtime.pacing import Pacing
from stream_app.runtime.ports.source import Progress
from stream_app.runtime.ports.task import Ports, RunnerSettings
from stream_app.wire.context import Context
from stream_app.wiring.clients import topics_of
from tests.manual_clock import ManualClock
from tests.runtime.fakes import FakePublisher, FakeRecovery, FakeScorer, RecordedTelemetry

BROKER_MS = 1_700_000_000_000
IDLE_MS = 1_000
CAUGHT_UP_MS = 5_000
LOOK_S = 0.5


@dataclass
class FakeTask:
    """What pacing sees of a task, set by the test, and what it was told."""

    is_idle: bool = False
    is_held_up: bool = False
    thinning_level: int = 0
    full: set[Side] = field(default_factory=set)
    caught_up: dict[Side, bool] = field(default_factory=dict)
    advanced_to: list[int] = field(default_factory=list)
    takes_ticks: bool = True

    def is_full(self, side: Side) -> bool:
        return side in self.full

    def set_caught_up(self, side: Side, is_caught_up: bool) -> bool:  # noqa: FBT001 - as the task declares it
        is_news = self.caught_up.get(side, False) != is_caught_up
        self.caught_up[side] = is_caught_up
        return is_news

    def next_admitted(self, side: Side) -> int:
        del side
        return 0

    def advance(self, to_ms: int) -> bool:
        self.advanced_to.append(to_ms)
        return self.takes_ticks

    def set_thinning(self, level: int) -> None:
        self.thinning_level = level


@dataclass
class Progresses:
    """A source whose progress stands still until the test sets it."""

    clock: ManualClock
    found: dict[Side, Progress] = field(default_factory=dict)
    paused: set[Side] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)

    async def open(self, side: Side, partition: int, offset: int) -> None:
        raise AssertionError(side, partition, offset)

    def pause(self, side: Side, partition: int) -> None:
        del partition
        self.paused.add(side)
        self.calls.append(f"pause {side.kind}")

    def resume(self, side: Side, partition: int) -> None:
        del partition
        self.paused.discard(side)
        self.calls.append(f"resume {side.kind}")

    def progress(self, side: Side, partition: int) -> Progress | None:
        del partition
        return self.found.get(side)

    def fetched(self, side: Side, *, is_at_end: bool = True, append_ms: int | None = BROKER_MS) -> None:
        """Note a fetch that was answered now."""
        self.found[side] = Progress(is_at_end, self.clock.monotonic(), append_ms, position=0, end=7)


class Stage:
    """Pacing among fakes, both sides read to their end at the beginning."""

    def __init__(self, *, restored_ms: int | None = None) -> None:
        self.clock, self.task = ManualClock(), FakeTask()
        self.source = Progresses(self.clock)
        self.telemetry = RecordedTelemetry()
        context = Context(
            deployment="d",
            partition=3,
            topics=topics_of(Operational()),
            model=Model("constant", "1", "0" * 64, (LabelRule("fight", is_alerting=True, open_at=1, close_at=0),)),
            settings_sha256="ab" * 32,
            provider="CPUExecutionProvider",
        )
        settings = RunnerSettings(
            semantic=Semantic(),
            limits=Operational().limits,
            context=context,
            commit_ms=1_000,
            keyframe_ms=60_000,
            idle_ms=IDLE_MS,
            caught_up_ms=CAUGHT_UP_MS,
        )
        ports = Ports(
            source=self.source,
            scorer=FakeScorer(),
            make_publisher=lambda _: FakePublisher(self.clock),
            recovery=FakeRecovery([]),
            telemetry=self.telemetry,
            clock=self.clock,
        )
        self.pacing = Pacing(self.task, settings, ports, restored_ms=restored_ms)

    def both_fetched(self, *, append_ms: int | None = BROKER_MS) -> None:
        for side in Side:
            self.source.fetched(side, append_ms=append_ms)

    def look_for(self, seconds: float) -> None:
        """Look again and again while time passes, as the epoch does."""
        for _ in range(round(seconds / LOOK_S)):
            self.clock.jump(LOOK_S)
            self.pacing.look()


# -- caught up -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_at_end", "age_s", "is_caught_up"),
    [
        pytest.param(True, 0.0, True, id="at the end just now"),
        pytest.param(True, CAUGHT_UP_MS / 1_000 - 0.1, True, id="at the end a while ago, recent enough"),
        pytest.param(True, CAUGHT_UP_MS / 1_000, False, id="at the end, but too long ago to be believed"),
        pytest.param(False, 0.0, False, id="before the end"),
    ],
)
def test_a_side_is_caught_up_if_its_last_fetch_reached_the_end_and_is_recent(
    *, is_at_end: bool, age_s: float, is_caught_up: bool
) -> None:
    stage = Stage()
    stage.source.fetched(Side.TEXT, is_at_end=is_at_end)
    stage.clock.jump(age_s)
    assert stage.pacing.look() is is_caught_up
    assert stage.task.caught_up == {Side.TEXT: is_caught_up, Side.FRAME: False}


def test_a_side_of_which_nothing_is_known_is_not_caught_up() -> None:
    stage = Stage()
    stage.pacing.look()
    assert stage.task.caught_up == {Side.TEXT: False, Side.FRAME: False}


def test_lag_and_the_age_of_the_last_fetch_are_told_but_a_paused_side_has_no_age() -> None:
    stage = Stage()
    stage.both_fetched()
    stage.task.full = {Side.FRAME}
    stage.pacing.received(Side.FRAME)
    stage.clock.jump(4.0)
    stage.pacing.look()
    assert stage.telemetry.positions == [(3, Side.TEXT, 7, 4.0), (3, Side.FRAME, 7, 0.0)]


# -- ticks ---------------------------------------------------------------------------------------------------------


def idle_stage(*, restored_ms: int | None = None) -> Stage:
    stage = Stage(restored_ms=restored_ms)
    stage.task.is_idle = True
    return stage


def test_a_tick_comes_only_after_the_task_was_idle_for_idle_ms() -> None:
    stage = idle_stage()
    stage.both_fetched()
    stage.pacing.look()
    stage.clock.jump(IDLE_MS / 1_000 - 0.01)
    stage.pacing.look()
    assert stage.task.advanced_to == []
    stage.clock.jump(0.01)
    assert stage.pacing.look()
    assert stage.task.advanced_to == [BROKER_MS - IDLE_MS]


@pytest.mark.parametrize("interruption", ["records", "not idle"])
def test_idleness_that_was_interrupted_begins_anew(interruption: str) -> None:
    stage = idle_stage()
    stage.both_fetched()
    stage.pacing.look()
    stage.clock.jump(0.9)
    if interruption == "records":
        stage.pacing.received(Side.TEXT)
    else:
        stage.task.is_idle = False
        stage.pacing.look()
        stage.task.is_idle = True
    stage.pacing.look()
    stage.clock.jump(0.9)
    stage.pacing.look()
    assert stage.task.advanced_to == []
    stage.clock.jump(0.1)
    stage.pacing.look()
    assert len(stage.task.advanced_to) == 1


def test_ticks_come_at_most_once_a_second_and_a_refused_one_is_no_news() -> None:
    stage = idle_stage()
    stage.both_fetched()
    stage.look_for(4.0)
    assert len(stage.task.advanced_to) == 3
    stage.task.takes_ticks = False
    stage.clock.jump(1.0)
    stage.both_fetched()
    assert not stage.pacing.look()
    assert len(stage.task.advanced_to) == 4


def test_a_tick_goes_to_broker_time_at_the_older_of_the_two_fetches() -> None:
    stage = idle_stage()
    stage.source.fetched(Side.TEXT, append_ms=BROKER_MS)
    stage.source.fetched(Side.FRAME, append_ms=BROKER_MS - 700)
    stage.look_for(2.0)
    assert set(stage.task.advanced_to) == {BROKER_MS - 700 - IDLE_MS}


def test_a_worker_that_slept_ticks_to_the_time_of_its_fetches_not_to_now() -> None:
    stage = idle_stage()
    stage.both_fetched()
    stage.pacing.look()
    stage.clock.jump(3_600.0)
    stage.pacing.look()
    assert stage.task.advanced_to == [BROKER_MS - IDLE_MS]


@pytest.mark.parametrize(
    ("restored_ms", "append_ms", "expected_ms"),
    [
        pytest.param(None, None, None, id="nothing known of the broker's time: no tick"),
        pytest.param(BROKER_MS, None, BROKER_MS + 2_000, id="the checkpoint's, and the time since it was read"),
        pytest.param(BROKER_MS, BROKER_MS + 60_000, BROKER_MS + 60_000, id="the fetch knows of a later one"),
        pytest.param(BROKER_MS, BROKER_MS - 60_000, BROKER_MS + 2_000, id="the checkpoint's is the later one"),
    ],
)
def test_broker_time_is_the_newest_of_checkpoint_and_fetch(
    restored_ms: int | None, append_ms: int | None, expected_ms: int | None
) -> None:
    stage = idle_stage(restored_ms=restored_ms)
    stage.clock.jump(2.0)
    stage.both_fetched(append_ms=append_ms)
    stage.pacing.look()
    stage.clock.jump(IDLE_MS / 1_000)
    stage.pacing.look()
    assert stage.task.advanced_to == ([] if expected_ms is None else [expected_ms - IDLE_MS])


# -- overload ------------------------------------------------------------------------------------------------------


def test_thinning_rises_a_level_every_two_seconds_of_overload_up_to_the_last() -> None:
    stage = Stage()
    stage.task.is_held_up = True
    levels = []
    stage.pacing.look()
    for _ in range(5):
        stage.look_for(2.0)
        levels.append(stage.task.thinning_level)
    assert levels == [1, 2, 3, MAX_LEVEL, MAX_LEVEL]


def test_overload_of_less_than_two_seconds_changes_nothing_however_often_it_comes() -> None:
    stage = Stage()
    for _ in range(10):
        stage.task.is_held_up = True
        stage.pacing.look()
        stage.look_for(1.5)
        stage.task.is_held_up = False
        stage.look_for(0.5)
    assert stage.task.thinning_level == 0


def test_thinning_relents_a_level_for_every_thirty_seconds_without_overload() -> None:
    stage = Stage()
    stage.task.thinning_level = 2
    levels = []
    for _ in range(3):
        stage.look_for(29.5)
        levels.append(stage.task.thinning_level)
        stage.look_for(0.5)
        levels.append(stage.task.thinning_level)
    assert levels == [2, 1, 1, 0, 0, 0]


def test_relief_begins_anew_with_each_overload() -> None:
    stage = Stage()
    stage.task.thinning_level = 1
    stage.look_for(29.0)
    stage.task.is_held_up = True
    stage.look_for(0.5)
    stage.task.is_held_up = False
    stage.look_for(29.0)
    assert stage.task.thinning_level == 1
    stage.look_for(1.5)
    assert stage.task.thinning_level == 0


# -- pauses --------------------------------------------------------------------------------------------------------


def test_a_full_queue_pauses_its_own_side_again_at_each_look_and_resumes_it_once() -> None:
    stage = Stage()
    stage.task.full = {Side.FRAME}
    stage.pacing.received(Side.FRAME)
    stage.pacing.received(Side.FRAME)
    stage.task.full = set()
    stage.pacing.balance(Side.FRAME)
    stage.pacing.balance(Side.FRAME)
    stage.pacing.balance(Side.TEXT)
    assert stage.source.calls == ["pause frame", "pause frame", "resume frame"]
