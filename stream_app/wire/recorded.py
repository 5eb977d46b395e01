"""Recorded decisions: one JSON line each, with its coordinates. In: a record of the decisions topic. Out: a line."""

from __future__ import annotations

import msgspec

from stream_app.core.event_time import format_event_time


class DecisionLine(msgspec.Struct, frozen=True):
    """One line: where the decision lies, when it was written there, and the decision as it stands on the topic."""

    topic: str
    partition: int
    offset: int
    time: str
    value: msgspec.Raw


def decision_line(topic: str, partition: int, offset: int, timestamp: int, value: bytes | None) -> bytes:
    """Write a line, with its line feed."""
    # On one line, whatever white space the producer wrote.
    raw = msgspec.Raw(msgspec.json.format(value or b"", indent=-1))
    return msgspec.json.encode(DecisionLine(topic, partition, offset, format_event_time(timestamp), raw)) + b"\n"
