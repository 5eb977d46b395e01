"""Whatever comes, a checkpoint stays below its bound, no text is lost, and a successor goes on as if nothing was."""

from __future__ import annotations

import zlib
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from stream_app.core.checkpoint import decode_checkpoint
from stream_app.core.checkpoint_bound import largest_checkpoint
from stream_app.core.crowd import LABEL_BYTES, NAME_BYTES, SLOT_BYTES, TEXT_BYTES
from stream_app.core.incident import MAX_INCIDENT_BYTES
from stream_app.core.marks import MAX_MARK_BYTES
from stream_app.core.settings import Semantic
from stream_app.core.types import Side
from tests.core.drive import MODEL, T0, Scores, Shell, Trace, raw_frame, raw_text
from tests.core.examples import examples
from tests.core.play import LIMITS, Player
from tests.core.streams import Stream, streams

#: The limit of a record of the state topic, and of the journal, where a checkpoint is in base64.
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
TEXT = TEXT_BYTES + LABEL_BYTES * len(MODEL.labels)


def _wire(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.msgpack.decode(zlib.decompress(data[1:]))
    return found


def _bytes_of(part: object) -> int:
    return len(msgspec.msgpack.encode(part))


@st.composite
def crowded(draw: st.DrawFn) -> Stream:
    """Draw a stream whose bounds are so low that it passes them."""
    stream = draw(streams())
    stream.settings = structs.replace(
        stream.settings,
        max_cameras=draw(st.sampled_from((1, 2))),
        max_held=draw(st.sampled_from((1, 3, 6, 50))),
        max_slots=draw(st.sampled_from((1, 2, 50))),
        held_texts_bytes=draw(st.sampled_from((1, 2 * TEXT, 4 * TEXT, 1 << 20))),
        incidents_bytes=draw(st.sampled_from((1, 500, 1 << 20))),
    )
    return stream


@given(crowded(), st.integers(0, 1 << 32), st.sampled_from((0.1, 0.5)))
@examples(300)
def test_past_every_bound_a_crash_at_any_cut_changes_nothing(stream: Stream, seed: int, patience: float) -> None:
    expected = Player(stream, Random(1), patience=0.55).play()
    player = Player(stream, Random(seed), crash_rate=0.06, patience=patience)
    found = player.play()
    assert found.judged == expected.judged
    assert found.alerts == expected.alerts
    assert found.dead_letters == expected.dead_letters
    assert found.journal == expected.journal
    assert found.state == expected.state
    player.shell.pump()
    assert not player.shell.kept


@given(crowded(), st.integers(0, 1 << 32))
@examples(300)
def test_every_part_of_a_checkpoint_keeps_its_bound_and_no_text_is_lost(stream: Stream, seed: int) -> None:
    trace = Player(stream, Random(seed), patience=0.3).play()
    for step in trace.steps:
        _assert_bounds(step.checkpoint, stream.settings)
    if stream.settings.how in {"right", "outer"}:
        answered = {text for text, _ in trace.scored} | {
            letter.offset for letter in trace.dead_letters if letter.side is Side.TEXT
        }
        lost = {raw.offset for raw in stream.log[Side.TEXT]} - answered
        assert len(lost) == trace.state.totals.get("texts.duplicate", 0)


def _assert_bounds(data: bytes, settings: Semantic) -> None:
    wire = _wire(data)
    state = decode_checkpoint(data)
    assert len(data) <= largest_checkpoint(settings, MODEL)
    assert state.held <= settings.max_held
    marks = _bytes_of(wire["texts"]) + _bytes_of(wire["frames"])
    assert marks <= (2 * settings.max_held + 1) * MAX_MARK_BYTES + 10
    for text in state.slots:
        assert sum(number for _, _, number in text.used) <= settings.max_slots
    texts = _bytes_of(wire["slots"]) + _bytes_of(wire["outcomes"])
    most = settings.held_texts_bytes // TEXT + 1
    last = max(TEXT + settings.max_slots * SLOT_BYTES, most * SLOT_BYTES) + settings.max_cameras * (256 + NAME_BYTES)
    assert texts <= settings.held_texts_bytes + last
    assert len(state.slots) <= most
    assert _bytes_of(wire["incidents"]) <= settings.incidents_bytes + MAX_INCIDENT_BYTES
    sizes = [incident.size for incident in state.decide.incidents]
    assert len(sizes) <= 1 or sum(sizes) <= settings.incidents_bytes
    for raw, incident in zip(wire["incidents"], state.decide.incidents, strict=True):
        assert _bytes_of(raw) <= incident.size


def test_the_default_settings_keep_a_checkpoint_within_a_record_of_the_state_topic_and_in_base64_of_the_journal() -> (
    None
):
    assert largest_checkpoint(Semantic(), MODEL) * 4 // 3 < MAX_MESSAGE_BYTES - 512 * 1024


def test_a_hundred_cameras_with_hostile_names_and_four_hundred_texts_make_a_small_checkpoint() -> None:
    """31 KB of input, which once made 9.6 MB."""
    shell = Shell(Semantic(), Scores(), limits=structs.replace(LIMITS, in_flight=1 << 20, outputs=1 << 20))
    cameras = [chr(1 + number % 31) * 250 + f"{number}" for number in range(100)]
    shell.give(Side.FRAME, *(raw_frame(n, T0 + n, camera=camera) for n, camera in enumerate(cameras)))
    shell.give(Side.TEXT, *(raw_text(number, T0 + 100 + number) for number in range(400)))
    shell.caught_up(*Side)
    shell.pump()
    while shell.flight:
        shell.task.scored(shell.scores.of(shell.flight.popitem()[1]))
    shell.commit()
    assert len(shell.trace.state.slots) == 400
    assert sum(len(text.used) for text in shell.trace.state.slots) == 40_000
    assert len(shell.trace.steps[-1].checkpoint) < 200_000


def test_a_camera_too_many_goes_to_the_dead_letters_until_another_has_left_the_window() -> None:
    shell = Shell(Semantic(max_cameras=2), Scores())
    for number, (camera, zone) in enumerate((("a", "x"), ("b", "x"), ("c", "x"), ("c", "y"), ("a", "x"))):
        shell.live(Side.FRAME, raw_frame(number, T0 + number, camera=camera, zone=zone))
    shell.live(Side.FRAME, raw_frame(5, T0 + 6_000, camera="a"))
    shell.live(Side.FRAME, raw_frame(6, T0 + 6_001, camera="c"))
    shell.finish(after_ms=60_000)
    assert [(one.offset, one.reason) for one in shell.trace.dead_letters] == [(2, "cameras")]
    assert shell.task.totals["dead.cameras"] == 1


def test_at_the_bound_frames_leave_by_the_thinning_rule_and_texts_only_when_they_are_alone() -> None:
    shell = Shell(Semantic(max_held=4, sample_ms=100), Scores())
    for number, ms in enumerate((0, 50, 100, 150)):
        shell.live(Side.FRAME, raw_frame(number, T0 + ms))
    shell.live(Side.TEXT, raw_text(0, T0 + 160))
    shell.score_all()
    shell.commit()
    assert _held(shell.trace, Side.FRAME) == [0, 2, 3], "the one that is not the first of its bucket went"
    for number in range(1, 5):
        shell.live(Side.TEXT, raw_text(number, T0 + 160 + number))
    shell.score_all()
    shell.commit()
    assert _held(shell.trace, Side.FRAME) == []
    assert _held(shell.trace, Side.TEXT) == [1, 2, 3, 4]
    shell.finish(after_ms=60_000)
    assert {text for text, _ in shell.trace.scored} == {0, 1, 2, 3, 4}
    assert (shell.task.totals["frames.closed-early"], shell.task.totals["texts.closed-early"]) == (4, 1)


def _held(trace: Trace, side: Side) -> list[int]:
    return [start + place for start, marks in trace.state.marks(side) for place, mark in enumerate(marks) if mark & 1]


def test_a_text_that_is_closed_early_is_judged_alone_at_once() -> None:
    shell = Shell(Semantic(held_texts_bytes=2 * TEXT), Scores())
    for number in range(4):
        shell.live(Side.TEXT, raw_text(number, T0 + number))
    assert [one.text and one.text.offset for one in shell.flight.values()] == [0, 1]
    shell.finish(after_ms=60_000)
    assert sorted(text or 0 for text, _ in shell.trace.scored) == [0, 1, 2, 3]
    assert shell.task.totals["texts.closed-early"] == 2


def test_no_text_fills_more_slots_than_the_bound() -> None:
    shell = Shell(Semantic(max_slots=3, sample_ms=1), Scores())
    for number in range(5):
        shell.live(Side.FRAME, raw_frame(number, T0 + number))
    shell.live(Side.TEXT, raw_text(0, T0 + 5))
    shell.finish(after_ms=60_000)
    assert shell.trace.scored == [(0, 0), (0, 1), (0, 2)]
    assert shell.task.totals["pairs.thinned"] == 2


@pytest.mark.parametrize("is_bounded", [False, True])
def test_the_incident_with_the_oldest_support_closes_when_they_pass_their_bound(is_bounded: bool) -> None:  # noqa: FBT001
    settings = Semantic(incidents_bytes=1_400 if is_bounded else 1 << 20)
    shell = Shell(settings, Scores({(Side.TEXT, number): 3 for number in range(4)}))
    for number in range(4):
        shell.live(Side.TEXT, raw_text(number, T0 + number * 10, zone=f"z{number}"))
    shell.caught_up(*Side)
    shell.task.advance(T0 + 3_100)
    shell.settle()
    closed = [(one.zone, one.label) for one in shell.trace.alerts if one.reason == "crowded-out"]
    assert closed == ([("z0", "fight"), ("z0", "fire"), ("z1", "fight"), ("z1", "fire")] if is_bounded else [])
    assert shell.task.totals.get("incidents.crowded-out", 0) == len(closed)


def test_more_identities_than_records_may_be_held_are_forgotten_early() -> None:
    shell = Shell(Semantic(max_held=2), Scores())
    for number, identity in enumerate("abcab"):
        shell.live(Side.TEXT, raw_text(number, T0 + number, identity=identity))
    shell.finish(after_ms=60_000)
    assert {text for text, _ in shell.trace.scored} == {0, 1, 2, 3, 4}
    assert shell.task.totals["ids.forgotten-early"] == 3
