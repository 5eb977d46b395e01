"""What a worker says of itself follows from what its tasks tell, and is forgotten with them."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import dataclass, field

import pytest
import structlog
import structlog.testing

from stream_app.adapters.observing.logs import configure_logging
from stream_app.adapters.observing.metrics import Metrics
from stream_app.adapters.observing.status import WorkerStatus
from stream_app.config import Operational
from stream_app.core.settings import Semantic
from stream_app.core.task import Task
from stream_app.core.types import LabelRule, Model, Scored, Side, Unreadable
from stream_app.core.view import view_of

MODEL = Model("constant", "1", "0" * 64, (LabelRule("fight", is_alerting=True, open_at=0, close_at=-1),))


@pytest.fixture
def status() -> WorkerStatus:
    """A status whose model is idle."""
    return WorkerStatus(Metrics(now_ms=lambda: 0), {}, lambda: 0.0, clock=lambda: 0.0)


def _task() -> Task:
    return Task(Semantic(), MODEL, deployment="d", partition=3, limits=Operational().limits)


@dataclass(frozen=True, slots=True)
class Raw:
    offset: int
    value: bytes
    key: bytes = b"dock"
    timestamp: int = 1_767_225_600_000
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def _fed(*raws: Raw | Unreadable) -> Task:
    """Return a task that was given texts and pumped once all of them are known to have no partner."""
    task = _task()
    task.receive(Side.TEXT, list(raws))
    for side in Side:
        task.set_caught_up(side, is_caught_up=True)
    task.pump()
    task.advance(raws[0].timestamp + 10_000)
    return task


def test_the_oldest_last_fetch_of_any_side_is_told(status: WorkerStatus) -> None:
    assert status.snapshot().oldest_fetch_s == 0.0
    status.position(3, Side.TEXT, 0, 1.0)
    status.position(3, Side.FRAME, 0, 20.0)
    assert 20.0 <= status.snapshot().oldest_fetch_s < 25.0


@pytest.mark.parametrize("end", ["stopped", "epoch ended", "gap"])
def test_a_task_that_does_not_run_has_no_fetch_to_be_old(status: WorkerStatus, end: str) -> None:
    status.epoch_started(3, view_of(_task()), ())
    status.position(3, Side.TEXT, 0, 20.0)
    if end == "stopped":
        status.stopped(3)
    elif end == "gap":
        status.gap(3, "gone")
    else:
        status.epoch_ended(3, "lost", is_fenced=False)
    assert status.snapshot().oldest_fetch_s == 0.0


def test_a_gap_is_told_until_the_task_runs_again(status: WorkerStatus) -> None:
    status.gap(3, "gone")
    assert status.snapshot().gaps == ("gone",)
    status.epoch_started(3, view_of(_task()), ())
    assert status.snapshot().gaps == ()


def test_a_score_that_does_not_come_is_something_to_be_committed() -> None:
    now = [0.0]
    status = WorkerStatus(Metrics(now_ms=lambda: 0), {}, lambda: 0.0, clock=lambda: now[0])
    task = _fed(Raw(0, b"two men fighting"))
    effects = task.pump()
    step = task.commit_due()
    assert step is not None
    task.committed()
    status.pumped(3, view_of(task), effects)
    status.committed(3, view_of(task), step, 0.01)
    assert not task.has_uncommitted
    now[0] = 60.0
    assert status.snapshot().commit_age_s == 60
    (observation,) = effects.score
    task.scored(Scored(observation.sequence, observation.index, (5_000_000,)))
    step = task.commit_due()
    assert step is not None
    task.committed()
    status.committed(3, view_of(task), step, 0.01)
    assert status.snapshot().commit_age_s == 0


def test_dead_letters_are_a_line_per_reason_however_many_there_are(status: WorkerStatus) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("json", "info", stream=stream)
    try:
        task = _fed(*(Raw(offset, b"" if offset % 2 else b"\xff") for offset in range(100)))
        step = task.commit_due()
        assert step is not None
        status.committed(3, view_of(task), step, 0.01)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    found = [
        (line["event"], line["reason"], line["count"], line["first_offset"], line["last_offset"]) for line in lines
    ]
    assert sorted(found) == [("dead letters", "empty", 50, 1, 99), ("dead letters", "encoding", 50, 0, 98)]
    assert not any("lost" in line for line in lines)


def test_the_line_of_a_lost_batch_says_which_offsets(status: WorkerStatus) -> None:
    detail = "offsets 3-9: unpacks to more than 1 bytes"
    lost = Unreadable(offset=9, first_offset=3, timestamp=1, reason="batch-size", detail=detail)
    task = _fed(lost)
    step = task.commit_due()
    assert step is not None
    with structlog.testing.capture_logs() as lines:
        status.committed(3, view_of(task), step, 0.01)
    (line,) = [line for line in lines if line["event"] == "dead letters"]
    assert (line["reason"], line["last_offset"], line["lost"]) == ("batch-size", 9, detail)
