"""Incidents from alerts: those of a replay, and the same as they stand on the topic."""

from __future__ import annotations

import asyncio

import pytest

from stream_app.core.types import Side
from stream_app.replay.canonical import Judged, Run, replay
from stream_app.replay.incidents import Incidents, Place, recorded_incidents
from stream_app.replay.recording import RecordingError, TopicRecord
from stream_app.wire.alerts import render_alert
from stream_app.wire.context import Context
from stream_app.wire.message import Message
from tests.core.drive import IN_FORCE, MODEL, T0, raw_frame, raw_text
from tests.replay.memory import TOPICS, Memory, MoodScorer, as_recorded
from tests.replay.test_canonical import PACE

CONTEXT = Context(
    deployment="night", partition=0, topics=TOPICS, model=MODEL, settings_sha256=IN_FORCE.settings_sha256, provider="x"
)


def _alert_record(message: Message, offset: int) -> TopicRecord:
    return TopicRecord(
        partition=5,
        offset=offset,
        timestamp=T0 + offset,
        timestamp_type=1,
        key=message.key,
        value=message.value,
        headers=message.headers,
        size=len(message.value or b""),
    )


def judged() -> tuple[Incidents, list[Message]]:
    texts = [raw_text(n, T0 + 20_000 * n) for n in range(6)]
    frames = [raw_frame(n, T0 + 500 * n) for n in range(240)]
    moods = {(Side.TEXT, n): 2 + n % 2 for n in range(6)}
    found, messages = Incidents(TOPICS), []

    def take(part: Judged) -> None:
        for alert in part.alerts:
            found.take(alert, part.partition)
            messages.append(render_alert(alert, CONTEXT))

    logs = {"texts": [*map(as_recorded, texts)], "frames": [*map(as_recorded, frames)]}
    asyncio.run(replay(Memory(logs), [Run(IN_FORCE, MoodScorer(moods))], take=take, pace=PACE))  # type: ignore[arg-type]
    return found, messages


def test_an_incident_that_is_recorded_is_the_one_that_is_replayed() -> None:
    found, messages = judged()
    recording = Memory({"alerts": [_alert_record(message, number) for number, message in enumerate(messages)]})
    assert recorded_incidents(recording) == found.all()
    (first, *_) = found.all()
    assert first.opening.place == Place("vigil.texts", 0, 0)
    assert first.is_closed
    assert len(first.alerts) >= 2


def test_one_that_was_open_before_is_opened_by_the_first_record_that_it_names() -> None:
    _, messages = judged()
    later = [m for m in messages if b'"phase":"opened"' not in (m.value or b"")]
    found = recorded_incidents(Memory({"alerts": [_alert_record(m, n) for n, m in enumerate(later)]}))
    assert found
    assert all(one.opening == one.evidence[0] for one in found)


def test_an_alert_that_is_none_is_said_with_its_place() -> None:
    _, (first, *_) = judged()
    broken = _alert_record(Message(first.topic, first.key, b"{}", first.headers), 9)
    with pytest.raises(RecordingError, match=r"alert at partition 5, offset 9: expected a vigil\.alert"):
        recorded_incidents(Memory({"alerts": [broken]}))
