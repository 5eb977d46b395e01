"""Which checkpoint a task takes up, where something behind it can be read by nobody."""

import asyncio
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from stream_app.adapters.kafka.recovery import _newest
from stream_app.adapters.kafka.unpacking import UnreadableRecord
from tests.adapters.kafka.test_to_the_end import FIRST, Log
from tests.manual_clock import ManualClock


class State(msgspec.Struct):
    """A record of the state topic."""

    offset: int
    key: bytes
    value: bytes | None


class StateLog(Log):
    """It begins to be read where the reader seeks."""

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.positions[place] = offset


def unreadable(offset: int) -> UnreadableRecord:
    return UnreadableRecord(
        offset=offset, first_offset=offset, timestamp=5, reason="batch-crc", detail="", topic="t", partition=0
    )


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param([State(0, b"d/0", b"old"), State(1, b"d/0", b"new")], (b"new", None), id="the newest"),
        pytest.param([State(0, b"d/0", b"old"), State(1, b"e/0", b"x")], (b"old", None), id="of this task"),
        pytest.param([unreadable(0), State(1, b"d/0", b"new")], (b"new", None), id="lost before it"),
        pytest.param([State(0, b"d/0", b"old"), unreadable(1)], (b"old", "t/0/1"), id="lost behind it"),
    ],
)
def test_the_newest_checkpoint_and_what_cannot_be_read_behind_it(
    records: list[Any], expected: tuple[bytes, str]
) -> None:
    log = StateLog(ManualClock(), [(FIRST, records, 2)])
    assert asyncio.run(_newest(log, FIRST, b"d/0", (0, 2))) == expected
