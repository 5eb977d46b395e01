"""What the metrics page says of a task that received, scored and committed one alarm text."""

from dataclasses import dataclass, field

import msgspec
import pytest

from stream_app.adapters.observing.metrics import Metrics
from stream_app.config import Operational
from stream_app.core.effects import Step
from stream_app.core.settings import Semantic
from stream_app.core.task import Task
from stream_app.core.types import Alert, Decision, LabelRule, Model, Observation, Record, Scored, Side
from stream_app.core.view import view_of
from tests.core.decide_bench import MICRO, Bench

APPENDED_MS = 1_767_225_600_000
NOW_MS = APPENDED_MS + 3_500
MODEL = Model("m", "1", "0" * 64, (LabelRule("fight", is_alerting=True, open_at=1_000_000, close_at=0),))


@dataclass(frozen=True, slots=True)
class Raw:
    offset: int
    value: bytes
    key: bytes = b"dock"
    timestamp: int = APPENDED_MS
    headers: list[tuple[str, bytes]] = field(default_factory=lambda: [("ce_time", b"2025-12-31T23:59:59.000Z")])


def new_task() -> Task:
    return Task(Semantic(), MODEL, deployment="d", partition=3, limits=Operational().limits)


def commit(metrics: Metrics, task: Task) -> None:
    step = task.commit_due()
    assert step is not None
    task.committed()
    metrics.committed(3, view_of(task), step, 0.02)


def play(metrics: Metrics) -> Task:
    """Take one text through a task to a committed alert, and one record that is refused."""
    task = new_task()
    metrics.epoch_started(3, view_of(task), ())
    metrics.pumped(3, view_of(task), task.pump())
    raws = [Raw(0, b"two men fighting"), Raw(1, b"")]
    metrics.received(3, Side.TEXT, list(raws))
    task.receive(Side.TEXT, raws)
    for side in Side:
        task.set_caught_up(side, is_caught_up=True)
    task.pump()
    assert task.advance(APPENDED_MS + 10_000)
    effects = task.pump()
    metrics.pumped(3, view_of(task), effects)
    for observation in effects.score:
        task.scored(Scored(observation.sequence, observation.index, (5_000_000,)))
    commit(metrics, task)
    return task


def samples(metrics: Metrics) -> dict[str, float]:
    lines = (line for line in metrics.page().decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_one_texts_way_is_counted_and_timed() -> None:
    metrics = Metrics(now_ms=lambda: NOW_MS)
    play(metrics)
    found = samples(metrics)
    assert found['vigil_received_total{side="text"}'] == 2
    assert found['vigil_observations_total{what="text"}'] == 1
    assert found['vigil_records_total{outcome="received",stage="texts"}'] == 2
    assert found['vigil_dropped_total{reason="empty"}'] == 1
    assert found['vigil_alerts_total{label="fight",phase="opened"}'] == 1
    assert found["vigil_append_to_alert_seconds_sum"] == 3.5
    assert found["vigil_event_to_alert_seconds_sum"] == 4.5
    assert found['vigil_last_text_age_seconds{zone="dock"}'] == 3.5
    assert found["vigil_zones_without_frames"] == 1
    assert found['vigil_task_up{partition="3"}'] == 1
    assert found["vigil_commit_seconds_count"] == 1


#: Event and append time of a record, in ms before `NOW_MS`.
OLD, NEW = (60_000, 50_000), (4_000, 3_000)


def judged(text: tuple[int, int], frame: tuple[int, int]) -> tuple[Step, Alert]:
    """Open an incident by a pair of such ages; return the step that commits it, and its alert."""
    bench = Bench()
    records = [
        Record(side, 1, NOW_MS - append_ms, NOW_MS - event_ms, "dock")
        for side, (event_ms, append_ms) in ((Side.TEXT, text), (Side.FRAME, frame))
    ]
    (alert,) = bench.judge(0, records[0], records[1], 3)
    observation = Observation(1, 0, "dock", records[0], records[1])
    decision = Decision(observation, Scored(1, 0, (3 * MICRO,)), 0, alert.in_force)
    return step_of(alert, decision), alert


def step_of(alert: Alert, *decisions: Decision) -> Step:
    return Step(
        sequence=1, stream_ms=0, next_text=2, next_frame=2, inputs="", alerts=(alert,), notices=(),
        decisions=decisions, dead_letters=(), journal=(), checkpoint=b"", commit_text=2, commit_frame=2,
    )  # fmt: skip


@pytest.mark.parametrize(("text", "frame"), [(OLD, NEW), (NEW, OLD), (NEW, NEW)])
def test_latency_counts_from_the_newest_evidence_of_an_alert(text: tuple[int, int], frame: tuple[int, int]) -> None:
    metrics = Metrics(now_ms=lambda: NOW_MS)
    step, _ = judged(text, frame)
    metrics.committed(3, view_of(new_task()), step, 0.02)
    found = samples(metrics)
    assert found["vigil_event_to_alert_seconds_sum"] == 4
    assert found["vigil_append_to_alert_seconds_sum"] == 3
    assert found["vigil_event_to_alert_seconds_count"] == found["vigil_append_to_alert_seconds_count"] == 1


def test_an_alert_that_no_new_evidence_led_to_has_no_latency() -> None:
    metrics = Metrics(now_ms=lambda: NOW_MS)
    _, alert = judged(OLD, OLD)
    metrics.committed(3, view_of(new_task()), step_of(alert), 0.02)
    found = samples(metrics)
    assert found['vigil_alerts_total{label="fight",phase="opened"}'] == 1
    assert found["vigil_event_to_alert_seconds_count"] == found["vigil_append_to_alert_seconds_count"] == 0


def test_a_clock_that_is_behind_makes_no_latency_below_zero() -> None:
    metrics = Metrics(now_ms=lambda: NOW_MS)
    step, _ = judged((-5_000, -5_000), OLD)
    metrics.committed(3, view_of(new_task()), step, 0.02)
    assert samples(metrics)["vigil_event_to_alert_seconds_sum"] == 0


def test_images_that_the_window_lets_go_are_counted_as_drops() -> None:
    metrics = Metrics(now_ms=lambda: NOW_MS)
    task = Task(Semantic(window_bytes=1), MODEL, deployment="d", partition=3, limits=Operational().limits)
    metrics.epoch_started(3, view_of(task), ())
    # As much of a JPEG as admission looks at.
    picture = b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x10\x00\x10"
    task.receive(Side.FRAME, [Raw(0, picture), Raw(1, picture)])
    for side in Side:
        task.set_caught_up(side, is_caught_up=True)
    task.pump()
    commit(metrics, task)
    found = samples(metrics)
    assert found['vigil_dropped_total{reason="shed"}'] == 2
    assert found['vigil_records_total{outcome="shed",stage="frames"}'] == 2


def test_the_metrics_of_a_task_that_went_elsewhere_are_gone_but_its_counts_stay() -> None:
    metrics = Metrics(now_ms=lambda: NOW_MS)
    play(metrics)
    metrics.position(3, Side.FRAME, 12)
    metrics.stopped(3)
    found = samples(metrics)
    assert [name for name in found if 'partition="3"' in name] == []
    assert [name for name in found if "dock" in name] == []
    assert found['vigil_alerts_total{label="fight",phase="opened"}'] == 1


def test_a_gap_is_seen_until_the_task_runs_again() -> None:
    metrics = Metrics(now_ms=lambda: NOW_MS)
    metrics.gap(3, "gone")
    assert samples(metrics)['vigil_task_gap{partition="3"}'] == 1
    metrics.epoch_started(3, view_of(new_task()), ())
    assert samples(metrics)['vigil_task_gap{partition="3"}'] == 0


def test_reasons_are_bounded() -> None:
    metrics = Metrics(now_ms=lambda: NOW_MS)
    task = play(metrics)
    task.receive(Side.TEXT, [Raw(2, b"")])
    task.pump()
    step = task.commit_due()
    assert step is not None
    totals = {f"dead.reason-{number}": 1 for number in range(99)}
    metrics.committed(3, msgspec.structs.replace(view_of(task), totals=totals), step, 0.02)
    # One reason, `empty`, was there before.
    assert samples(metrics)['vigil_dropped_total{reason="other"}'] == 36


def test_two_workers_in_one_process_share_nothing() -> None:
    one, two = Metrics(now_ms=lambda: NOW_MS), Metrics(now_ms=lambda: NOW_MS)
    play(one)
    assert 'vigil_dropped_total{reason="empty"}' in samples(one)
    assert 'vigil_dropped_total{reason="empty"}' not in samples(two)
