"""What a worker says of itself follows from what its tasks tell, and is forgotten with them."""

from __future__ import annotations

import pytest

from stream_app.adapters.metrics import Metrics
from stream_app.adapters.status import WorkerStatus
from stream_app.core.settings import Limits, Semantic
from stream_app.core.task import Task
from stream_app.core.types import LabelRule, Model, Side

MODEL = Model("constant", "1", "0" * 64, (LabelRule("fight", is_alerting=True, open_at=0, close_at=-1),))


@pytest.fixture
def status() -> WorkerStatus:
    """A status whose model is idle."""
    return WorkerStatus(Metrics(), {}, lambda: 0.0)


def _task() -> Task:
    return Task(Semantic(), MODEL, deployment="d", partition=3, limits=Limits())


def test_the_oldest_last_fetch_of_any_side_is_told(status: WorkerStatus) -> None:
    assert status.snapshot().oldest_fetch_s == 0.0
    status.position(3, Side.TEXT, 0, 1.0)
    status.position(3, Side.FRAME, 0, 20.0)
    assert 20.0 <= status.snapshot().oldest_fetch_s < 25.0


@pytest.mark.parametrize("end", ["stopped", "epoch ended", "gap"])
def test_a_task_that_does_not_run_has_no_fetch_to_be_old(status: WorkerStatus, end: str) -> None:
    status.epoch_started(3, _task(), ())
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
    status.epoch_started(3, _task(), ())
    assert status.snapshot().gaps == ()
