"""What a recording says to have been in force."""

from __future__ import annotations

import msgspec
import pytest

from stream_app.core.checkpoint import encode_checkpoint
from stream_app.core.settings import Semantic
from stream_app.core.task import Task
from stream_app.core.types import InForce
from stream_app.replay.in_force import recorded_in_force
from stream_app.replay.recording import RecordingError, TopicRecord
from stream_app.wire.checkpoints import state_key
from stream_app.wire.journal import SCHEMA
from tests.core.drive import IN_FORCE, MODEL
from tests.replay.memory import Memory
from tests.replay.site import journal_record
from tests.replay.test_canonical import LIMITS

OTHER = InForce(MODEL, Semantic(open_texts=2), "22" * 32)


def _journal(offset: int, **more: object) -> TopicRecord:
    value = msgspec.json.encode({"schema": SCHEMA, "partition": 0, "entries": [], **more})
    before = journal_record(IN_FORCE, offset=offset)
    return msgspec.structs.replace(before, value=value, size=len(value))


def _keyframe(offset: int, in_force: InForce) -> TopicRecord:
    task = Task(
        in_force.settings,
        in_force.model,
        deployment="night",
        partition=0,
        limits=LIMITS,
        settings_sha256=in_force.settings_sha256,
    )
    return _journal(offset, keyframe={"checkpoint": encode_checkpoint(task.checkpoint())})


def test_the_first_switch_says_it() -> None:
    journal = [_journal(0), journal_record(OTHER, offset=1), journal_record(IN_FORCE, offset=2)]
    assert recorded_in_force(Memory({"journal": journal})) == OTHER


def test_a_keyframe_says_it_where_a_recording_begins_later() -> None:
    assert recorded_in_force(Memory({"journal": [_keyframe(0, OTHER), journal_record(IN_FORCE, offset=1)]})) == OTHER


def test_another_deployments_journal_says_nothing() -> None:
    foreign = msgspec.structs.replace(journal_record(OTHER), key=state_key("day", 0))
    assert recorded_in_force(Memory({"journal": [foreign]})) is None
    assert recorded_in_force(Memory({"journal": [_journal(0)]})) is None


def test_a_journal_that_is_none_is_said_with_its_place() -> None:
    broken = msgspec.structs.replace(journal_record(OTHER, offset=4), value=b"{}")
    with pytest.raises(RecordingError, match="journal at partition 0, offset 4"):
        recorded_in_force(Memory({"journal": [broken]}))
    with pytest.raises(RecordingError, match="keyframe of task 0, offset 3"):
        recorded_in_force(Memory({"journal": [_journal(3, keyframe={"checkpoint": b"x"})]}))
