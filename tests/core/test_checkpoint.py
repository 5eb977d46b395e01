"""The checkpoint: canonical, published, and refused where it is damaged or of another schema."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from stream_app.config import Operational
from stream_app.core.checkpoint import (
    SCHEMA,
    Checkpoint,
    CheckpointError,
    NewerCheckpointError,
    decode_checkpoint,
    encode_checkpoint,
)
from stream_app.core.marks import HELD
from stream_app.core.settings import Semantic
from stream_app.core.task import Task
from stream_app.core.types import Side
from tests.core.drive import T0, Scores, Shell, raw_frame, raw_text
from tests.core.play import LIMITS


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


def test_it_is_one_byte_and_messagepack_by_names_that_anyone_can_read() -> None:
    data = _some_state()
    found = msgspec.msgpack.decode(zlib.decompress(data[1:]))
    assert data[0] == SCHEMA
    assert (found["next_text"], found["next_frame"], found["names"]) == (1, 1, ["", "c1"])
    held_matched_remembered = b"\x25"
    held_matched_scored_remembered = b"\x2d"
    assert (found["texts"], found["frames"]) == (
        [[0, held_matched_remembered]],
        [[0, held_matched_scored_remembered]],
    )


def test_it_says_which_offsets_are_still_needed() -> None:
    state = decode_checkpoint(_some_state())
    assert (state.lowest(Side.TEXT), state.lowest(Side.FRAME)) == (0, 0)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"null", b"\xff", b'{"schema": "1"}', b"\x02", _some_state()[:-2], _some_state()[:9] + b"\0" * 99],
)
def test_what_is_damaged_is_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        decode_checkpoint(data)


def test_a_setting_that_only_a_later_version_has_is_refused_and_not_dropped() -> None:
    """Else a task would go on by other rules than those that its open work was judged by."""
    whole = msgspec.msgpack.decode(zlib.decompress(_some_state()[1:]))
    whole["settings"]["unheard_of"] = 1
    with pytest.raises(CheckpointError, match="unheard_of"):
        decode_checkpoint(bytes((SCHEMA,)) + zlib.compress(msgspec.msgpack.encode(whole)))


@pytest.mark.parametrize("data", [b"\x03" + _some_state()[1:], b'{"schema": 3}'])
def test_another_schema_is_refused_with_expected_and_found(data: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"schema: expected 1.*, found 3"):
        decode_checkpoint(data)


@pytest.mark.parametrize(("first", "is_newer"), [(SCHEMA + 1, True), (200, True), (0, False), (1, False)])
def test_a_newer_schema_is_told_from_damage(first: int, *, is_newer: bool) -> None:
    with pytest.raises(CheckpointError) as refused:
        decode_checkpoint(bytes([first]) + _some_state()[1:])
    assert isinstance(refused.value, NewerCheckpointError) is is_newer
    assert ("a newer version of Vigil wrote it" in str(refused.value)) is is_newer


@pytest.mark.parametrize("place", [b"names", b"slots", b"outcomes"])
def test_a_name_that_the_table_lacks_is_refused(place: bytes) -> None:
    """As if a field had been cut out: never an error of another kind."""
    whole = zlib.decompress(_some_state()[1:])
    with pytest.raises(CheckpointError):
        decode_checkpoint(bytes((SCHEMA,)) + zlib.compress(whole.replace(place, b"x" * len(place))))


def test_a_checkpoint_of_schema_1_is_taken_up_and_written_again_in_schema_2() -> None:
    data = Path(__file__).with_name("checkpoint_0.1.0.json").read_bytes()
    old: dict[str, Any] = json.loads(data)
    state = decode_checkpoint(data)
    assert state.held == len(old["window"])
    assert [state.lowest(side) for side in Side] == [
        min(held[1] for held in old["window"] if held[0] == side) for side in Side
    ]
    assert [[*one] for one in state.seen] == [
        [side, base64.b64decode(digest), expires] for side, digest, expires in old["seen"]
    ]
    assert state.failed == [tuple(one) for one in old["decide"]["failed"]]
    task = Task(state.settings, state.model, deployment="d", partition=0, limits=Operational().limits, checkpoint=state)
    assert task.is_restoring
    assert task.commit_due() is None, "nothing has to be written because a newer version runs"
    assert task.checkpoint() == structs.replace(state, settings_sha256=state.settings.sha256)
    assert decode_checkpoint(encode_checkpoint(state)) == state


def test_an_identity_that_ended_before_its_record_left_the_window_stays_forgotten_after_a_crash() -> None:
    # An event time ahead of its append time holds the text for longer than its identity is remembered.
    settings = Semantic(before_ms=20, after_ms=0, grace_ms=10, quiet_ms=30, max_ahead_ms=20)
    log = {Side.TEXT: [raw_text(3, T0, event_ms=T0 + 20, identity="a")], Side.FRAME: []}

    def after_the_frame(shell: Shell) -> Checkpoint:
        shell.live(Side.FRAME, raw_frame(0, T0 + 41, event_ms=T0 + 30))
        shell.settle()
        return shell.trace.state

    unbroken = Shell(settings, Scores(), limits=LIMITS)
    unbroken.live(Side.TEXT, log[Side.TEXT][0])
    unbroken.task.tick(T0 + 40)
    unbroken.settle()
    state = unbroken.trace.state
    assert [mark for _, marks in state.texts for mark in marks] == [HELD]
    successor = Shell(settings, Scores(), limits=LIMITS, checkpoint=state)
    successor.read_again(log)
    assert after_the_frame(successor) == after_the_frame(unbroken)
