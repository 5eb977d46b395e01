"""What of a recording is played again: the same inputs, later by one constant, under ids of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from stream_app.core.admit import admit
from stream_app.core.event_time import format_event_time
from stream_app.core.ids import record_identity
from stream_app.core.settings import Semantic
from stream_app.core.types import Record, Refused, Side
from stream_app.replay.played import ORIGIN, Inputs, Played, outputs_among
from stream_app.replay.recording import Lost, RecordingError
from tests.adapters.recording.recordings import START_MS, about, jpeg, record
from tests.replay.memory import TOPICS, Memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.replay.recording import About, Kind, TopicRecord

SHIFT_MS = 86_400_000
JPEG = jpeg(0)


class Listed:
    """A recording of these records, in this order, that breaks off where it is told to."""

    def __init__(self, *entries: tuple[Kind, TopicRecord], said: About | None = None, is_cut: bool = False) -> None:
        self.about = said or about()
        self._entries = entries
        self._is_cut = is_cut

    def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
        yield from self._entries
        if self._is_cut:
            raise RecordingError("the rest")


def played(*records: TopicRecord, kind: Kind = "texts") -> list[Played]:
    recording = Listed(*((kind, one) for one in records))
    return list(Inputs([recording]).played(SHIFT_MS, "run7"))


def admitted(one: Played, append_ms: int) -> Record | Refused:
    raw = record(0, append_ms, one.value, key=one.key, headers=one.headers)
    return admit(Side.TEXT if one.kind == "texts" else Side.FRAME, raw, Semantic())


def test_event_times_move_by_one_constant_and_are_always_written() -> None:
    own = (("ce_time", format_event_time(START_MS - 700).encode()),)
    offset = (("CE_Time", b"2026-01-01T03:00:00.500+01:00"),)
    texts = [
        record(0, START_MS, b"a"),
        record(1, START_MS, b"b", headers=own),
        record(2, START_MS, b"c", headers=offset),
    ]
    found = [admitted(one, START_MS + SHIFT_MS) for one in played(*texts)]
    assert [one.event_ms - SHIFT_MS - START_MS for one in found if isinstance(one, Record)] == [0, -700, 500]
    assert all(any(name.lower() == "ce_time" for name, _ in one.headers) for one in played(*texts))


def test_an_id_gets_the_name_of_the_run_and_keeps_its_source() -> None:
    headers = (("ce_source", b"/camera/1"), ("ce_id", b"17"))
    found = admitted(played(record(0, START_MS, JPEG, headers=headers), kind="frames")[0], START_MS + SHIFT_MS)
    assert isinstance(found, Record)
    assert found.identity == record_identity("/camera/1", "17-run7")
    without = admitted(played(record(0, START_MS, JPEG), kind="frames")[0], START_MS + SHIFT_MS)
    assert isinstance(without, Record)
    assert without.identity is None


def test_a_structured_event_is_moved_and_named_within_its_envelope() -> None:
    envelope = {"specversion": "1.0", "id": "x", "source": "/s", "time": "2026-01-01T02:00:00.250Z", "data": "smoke"}
    headers = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
    (one,) = played(record(0, START_MS, json.dumps(envelope).encode(), headers=headers))
    found = admitted(one, START_MS + SHIFT_MS + 1_000)
    assert isinstance(found, Record)
    assert (found.event_ms - SHIFT_MS - START_MS, found.text) == (250, "smoke")
    assert found.identity == record_identity("/s", "x-run7")
    for broken in (b'{"time": ', b"[1]", b'{"time": 7, "id": 8}', b'{"time": "soon", "id": ""}', b"[" * 5_000):
        (one,) = played(record(0, START_MS, broken, headers=headers))
        assert msgspec.json.decode(one.value or b"") == msgspec.json.decode(broken) if b"}" in broken else (
            one.value == broken
        )  # fmt: skip


def test_what_is_no_structured_event_keeps_its_bytes() -> None:
    value = b'{"id": "x", "time": "2026-01-01T02:00:00Z", "text": "smoke"}'
    (one,) = played(record(0, START_MS, value, headers=(("content-type", b"application/json"),)))
    assert one.value == value
    (frame,) = played(record(0, START_MS, JPEG, headers=(("content-type", b"image/jpeg"),)), kind="frames")
    assert frame.value == JPEG


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ((("ce_time", b"soon"),), "time"),
        ((("ce_time", b"\xff"),), "headers"),
        ((("ce_time", None),), "time"),
        ((("ce_id", b"1"), ("CE_ID", b"2")), "headers"),
        ((("ce_specversion", b"2.0"),), "specversion"),
    ],
)
def test_what_was_refused_is_refused_again(headers: tuple[tuple[str, bytes | None], ...], reason: str) -> None:
    raw = record(0, START_MS, b"smoke", headers=headers)
    before = admit(Side.TEXT, raw, Semantic())
    after = admitted(played(raw)[0], START_MS + SHIFT_MS)
    assert isinstance(before, Refused)
    assert isinstance(after, Refused)
    assert (before.reason, after.reason) == (reason, reason)


def test_a_time_near_the_end_of_the_calendar_stays() -> None:
    (one,) = played(record(0, START_MS, b"x", headers=(("ce_time", b"9999-12-31T23:59:59Z"),)))
    assert dict(one.headers)["ce_time"] == b"9999-12-31T23:59:59Z"


def test_the_original_place_is_in_one_header_however_often_it_is_played() -> None:
    (one,) = played(record(17, START_MS, b"x", partition=3))
    assert [content for name, content in one.headers if name == ORIGIN] == [b"vigil.texts/3/17"]
    (again,) = played(record(5, START_MS, b"x", headers=one.headers))
    assert [content for name, content in again.headers if name == ORIGIN] == [b"vigil.texts/0/5"]


def test_only_inputs_are_played_and_recordings_of_one_time_together() -> None:
    first = Memory({"frames": [record(0, START_MS, JPEG), record(1, START_MS + 400, JPEG)], "alerts": [
        record(0, START_MS + 100, b"{}")]})  # fmt: skip
    second = Memory({"texts": [record(0, START_MS + 200, b"x")]})
    inputs = Inputs([first, second])
    assert inputs.first_ms() == START_MS
    found = list(inputs.played(SHIFT_MS, "r"))
    assert [(one.kind, one.moment_ms - START_MS) for one in found] == [("frames", 0), ("texts", 200), ("frames", 400)]


def test_what_cannot_be_read_and_what_was_left_out_is_counted() -> None:
    gone = record(1, START_MS + 1, None, size=70)
    frames = [record(0, START_MS, JPEG), gone, record(2, START_MS + 2, None, key=None), record(3, START_MS + 3, JPEG)]
    frames.append(record(4, START_MS + 4, JPEG))
    inputs = Inputs([Listed(*(("frames", one) for one in frames), is_cut=True)])
    for _ in range(2):
        assert [one.moment_ms - START_MS for one in inputs.played(0, "r")] == [0, 3, 4]
        assert (inputs.left_out, inputs.lost) == (2, ["the rest"])
    tombstone = record(0, START_MS, None, size=0)
    assert [one.value for one in played(tombstone)] == [None]


def test_moments_never_run_back_and_nobody_waits_for_a_time_that_is_missing_or_centuries_away() -> None:
    times = [-1, START_MS + 100, START_MS + 50, 0, -(2**62), 2**62, START_MS + 200]
    said = about(from_ms=START_MS, to_ms=START_MS + 60_000)
    recording = Listed(*(("texts", record(offset, at, b"x")) for offset, at in enumerate(times)), said=said)
    found = list(Inputs([recording]).played(SHIFT_MS, "r"))
    assert [one.moment_ms - START_MS for one in found] == [0, 100, 100, 100, 100, 60_000, 60_000]
    event = admitted(found[0], START_MS + SHIFT_MS)
    assert isinstance(event, Record)
    assert event.event_ms == START_MS + SHIFT_MS


def test_outputs_are_named_whichever_deployment_they_are_of() -> None:
    other = msgspec.structs.replace(TOPICS, alerts="b.alerts", state="b.state")
    assert outputs_among(["vigil.frames", "vigil.texts"], [TOPICS, other]) == []
    assert outputs_among(["b.state", "vigil.dead-letters"], [TOPICS, other]) == ["b.state", "vigil.dead-letters"]


def test_what_no_client_could_read_is_left_out_and_counted() -> None:
    unreadable = msgspec.structs.replace(record(1, START_MS, b"half"), lost=Lost(1, "headers", "no UTF-8", START_MS))
    inputs = Inputs([Listed(("texts", record(0, START_MS, b"a")), ("texts", unreadable))])
    assert [one.value for one in inputs.played(SHIFT_MS, "run7")] == [b"a"]
    assert inputs.left_out == 1
