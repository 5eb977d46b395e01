"""Shed: at the window's bound image bytes go, by the thinning rule; texts never."""

from __future__ import annotations

from stream_app.core.join import NEVER, Held
from stream_app.core.settings import Semantic
from stream_app.core.shed import Shed
from stream_app.core.types import Record, Side

SETTINGS = Semantic(window_bytes=800, sample_ms=1_000)


def frame(offset: int, event_ms: int, *, size: int = 100, camera: str = "c1") -> Held:
    return Held(Record(Side.FRAME, offset, event_ms, event_ms, "x", camera, size=size), 1)


def test_the_bound_is_passed_only_beyond_it() -> None:
    shed = Shed(SETTINGS)
    assert [shed.enter(frame(n, 0)) for n in range(9)] == [False] * 8 + [True]


def test_frames_that_are_not_the_lowest_of_their_cameras_bucket_go_first_and_then_the_oldest() -> None:
    shed = Shed(SETTINGS)
    window = [frame(0, 0), frame(1, 1_000), frame(2, 100), frame(3, 100, camera="c2"), frame(4, 200)]
    window += [frame(n, n * 1_000) for n in range(5, 11)]
    for held in window:
        shed.enter(held)
    chosen = shed.choose(window, 77)
    assert [held.record.offset for held in chosen] == [2, 4, 0, 1]
    assert all(held.shed == 77 for held in chosen)
    assert shed.bytes == 700  # an eighth of the bound is free again, else every frame would sort the window anew


def test_texts_cost_nothing_and_are_never_shed() -> None:
    shed = Shed(SETTINGS)
    text = Held(Record(Side.TEXT, 0, 0, 0, "x", size=5_000), 1)
    assert not shed.enter(text)
    assert shed.choose([text], 1) == []
    shed.leave(text)
    assert (shed.bytes, text.shed) == (0, NEVER)


def test_one_frame_larger_than_the_bound_is_shed_itself() -> None:
    shed = Shed(SETTINGS)
    large = frame(0, 0, size=801)
    assert shed.enter(large)
    assert shed.choose([large], 1) == [large]
    shed.leave(large)
    assert shed.bytes == 0


def test_a_frame_that_was_shed_is_not_counted_when_it_leaves_or_is_restored() -> None:
    shed = Shed(SETTINGS)
    held = frame(0, 0)
    held.shed = 5
    shed.enter(held)
    shed.leave(held)
    assert shed.bytes == 0
