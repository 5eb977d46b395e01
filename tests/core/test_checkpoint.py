"""The checkpoint: readable, canonical, and refused where it is damaged or of another schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from stream_app.config import Operational
from stream_app.core.checkpoint import SCHEMA, CheckpointError, decode_checkpoint, encode_checkpoint, held_state
from stream_app.core.decide import Reached
from stream_app.core.join import Held
from stream_app.core.settings import Semantic
from stream_app.core.task import Task
from stream_app.core.types import Record, Side
from tests.core.decide_bench import MODEL
from tests.core.drive import T0, Scores, Shell, raw_frame, raw_text


def _some_state() -> bytes:
    shell = Shell(Semantic(), Scores({(Side.TEXT, 0): 3}))
    shell.live(Side.FRAME, raw_frame(0, T0, identity="a"))
    shell.live(Side.TEXT, raw_text(0, T0, identity="ä\0"))
    shell.score_all()
    shell.commit()
    return shell.trace.steps[-1].checkpoint


def test_decode_of_encode_is_identity_and_encode_of_decode_gives_the_same_bytes() -> None:
    data = _some_state()
    assert encode_checkpoint(decode_checkpoint(data)) == data


def test_an_operator_can_read_it() -> None:
    found = json.loads(_some_state())
    assert found["schema"] == SCHEMA
    assert (found["next_text"], found["next_frame"], len(found["window"])) == (1, 1, 2)
    assert [incident["label"] for incident in found["decide"]["incidents"]] == ["fight", "fire"]


def test_it_says_which_offsets_are_still_needed() -> None:
    state = decode_checkpoint(_some_state())
    assert (state.lowest(Side.TEXT), state.lowest(Side.FRAME)) == (0, 0)


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b'{"schema": "1"}', _some_state()[:-2]])
def test_what_is_damaged_is_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        decode_checkpoint(data)


def test_a_setting_that_only_a_later_version_has_is_refused_and_not_dropped() -> None:
    """Else a task would go on by other rules than those that its open work was judged by."""
    with pytest.raises(CheckpointError, match="unheard_of"):
        decode_checkpoint(_some_state().replace(b'"settings":{', b'"settings":{"unheard_of":1,'))


def test_what_has_reached_open_at_is_written_by_place_in_the_order_of_every_version() -> None:
    state = decode_checkpoint(_some_state())
    reached = [("x", "fight", [Reached(Side.TEXT, 1, 2, 3)])]
    written = encode_checkpoint(structs.replace(state, decide=structs.replace(state.decide, reached=reached)))
    assert json.loads(written)["decide"]["reached"] == [["x", "fight", [[int(Side.TEXT), 1, 2, 3]]]]


@pytest.mark.parametrize(
    ("cut", "marks"),
    [(4, (False, False, False)), (5, (True, False, False)), (6, (True, True, False)), (7, (True, True, True))],
)
def test_a_held_record_is_described_with_the_marks_that_it_had_at_the_cut(
    cut: int, marks: tuple[bool, bool, bool]
) -> None:
    held = Held(Record(Side.FRAME, 1, T0, T0, "x"), 3, matched=5, scored=6, shed=7)
    state = held_state(held, cut)
    assert (state.is_matched, state.is_scored, state.is_shed) == marks


def test_a_side_without_records_yet_is_written_as_in_every_version() -> None:
    settings = Semantic()
    task = Task(settings, MODEL, deployment="d", partition=0, limits=Operational().limits)
    written = json.loads(encode_checkpoint(task.checkpoint()))
    assert (written["text_ms"], written["frame_ms"]) == (-1_152_921_504_606_846_976,) * 2


@pytest.mark.parametrize("schema", [SCHEMA - 1, SCHEMA + 1])
def test_another_schema_is_refused_with_expected_and_found(schema: int) -> None:
    with pytest.raises(CheckpointError, match=f"expected {SCHEMA}, found {schema}"):
        decode_checkpoint(_some_state().replace(b'"schema":1', f'"schema":{schema}'.encode()))


def test_a_checkpoint_of_version_0_1_0_is_taken_up_and_written_again_in_the_same_form() -> None:
    data = Path(__file__).with_name("checkpoint_0.1.0.json").read_bytes()
    state = decode_checkpoint(data)
    task = Task(state.settings, state.model, deployment="d", partition=0, limits=Operational().limits, checkpoint=state)
    assert task.commit_due() is None, "nothing has to be written because a newer version runs"
    expected: dict[str, Any] = json.loads(data)
    for incident in expected["decide"]["incidents"]:
        del incident["opened_ms"]
    assert json.loads(encode_checkpoint(task.checkpoint())) == {**expected, "settings_sha256": state.settings.sha256}
