"""A worker looks for cyclic garbage seldom, and leaves Python as it was."""

import gc

import pytest

from stream_app.wiring.garbage import YOUNG_OBJECTS, seldom_collected


def _break_within() -> None:
    message = "the worker broke"
    with seldom_collected():
        raise RuntimeError(message)


def test_the_collector_runs_seldom_for_as_long_as_the_worker_does() -> None:
    before = gc.get_threshold()
    with seldom_collected():
        assert gc.get_threshold() == (YOUNG_OBJECTS, *before[1:])
        assert gc.get_freeze_count() > 0, "what start-up left is not looked through again"
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_a_worker_that_breaks_leaves_the_collector_as_it_was() -> None:
    before = gc.get_threshold()
    with pytest.raises(RuntimeError, match="the worker broke"):
        _break_within()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
