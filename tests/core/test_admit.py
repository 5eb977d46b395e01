"""Admit: a raw record becomes an admitted record, or a refusal with a reason. Nothing is decoded."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from stream_app.core.admit import MAX_HEADERS_BYTES, MAX_NAME_BYTES, admit, read_text
from stream_app.core.settings import Semantic
from stream_app.core.types import NO_TIME_MS, Record, Refused, Side, Unreadable
from tests.core.drive import Raw, raw_frame

SETTINGS = Semantic(max_text_bytes=1_000, max_image_bytes=1_000, max_image_side=100, max_image_pixels=5_000)
NOW = 1_700_000_000_000
PNG = raw_frame(0, NOW).value
assert PNG is not None


def png(width: int, height: int) -> bytes:
    assert PNG is not None
    return PNG[:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + PNG[24:]


def raw(value: bytes | None, *, key: bytes | None = b"x", **headers: str | bytes) -> Raw:
    return Raw(
        7, NOW, key, value, [(name, one.encode() if isinstance(one, str) else one) for name, one in headers.items()]
    )


def structured(envelope: Any) -> Raw:  # noqa: ANN401 - any JSON
    return Raw(7, NOW, b"x", json.dumps(envelope).encode(), [("content-type", b"application/cloudevents+json")])


def admitted(side: Side, record: Raw) -> Record:
    found = admit(side, record, SETTINGS)
    assert isinstance(found, Record), found
    return found


@pytest.mark.parametrize(
    ("side", "record"),
    [
        (Side.TEXT, raw(b"a" * 1_000)),
        (Side.TEXT, raw(b"fire", key=b"k" * MAX_NAME_BYTES)),
        (Side.FRAME, raw(PNG.ljust(1_000, b"\0"))),
        (Side.FRAME, raw(png(100, 50))),
        (Side.FRAME, raw(png(50, 100))),
        (Side.FRAME, raw(PNG, camera="c" * MAX_NAME_BYTES)),
    ],
)
def test_what_is_exactly_at_a_bound_is_admitted(side: Side, record: Raw) -> None:
    assert admitted(side, record).size == len(record.value or b"")


@pytest.mark.parametrize(
    ("side", "record", "reason"),
    [
        (Side.TEXT, raw(None), "empty"),
        (Side.TEXT, raw(b""), "empty"),
        (Side.TEXT, raw(b" \n\t"), "empty"),
        (Side.TEXT, raw("　 ".encode()), "empty"),
        (Side.FRAME, raw(b""), "empty"),
        (Side.TEXT, raw(b"fire", key=None), "no-key"),
        (Side.TEXT, raw(b"fire", key=b""), "no-key"),
        (Side.TEXT, raw(b"fire", key=b"\xff"), "key"),
        (Side.TEXT, raw(b"fire", key=b"k" * (MAX_NAME_BYTES + 1)), "key"),
        (Side.TEXT, raw(b"\xff\xfe"), "encoding"),
        (Side.TEXT, raw(b"a" * 1_001), "too-large"),
        (Side.TEXT, raw(b"fire", ce_time="soon"), "time"),
        (Side.TEXT, raw(b"fire", ce_time=b"\xff"), "headers"),
        (Side.TEXT, raw(b"fire", ce_specversion="0.3"), "specversion"),
        (Side.TEXT, raw(b"fire", ce_specversion="2.0"), "specversion"),
        (Side.TEXT, Raw(7, NOW, b"x", b"fire", [("ce_id", b"1"), ("ce_id", b"2")]), "headers"),
        (Side.TEXT, Raw(7, NOW, b"x", b"fire", [("ce_id", b"1"), ("CE_ID", b"2")]), "headers"),
        (Side.TEXT, raw(b"fire", baggage=b"b" * MAX_HEADERS_BYTES), "headers"),
        (Side.TEXT, raw(b"fire", ce_time="2099-01-01T00:00:00Z"), "ahead"),
        (Side.FRAME, raw(PNG, ce_time="2099-01-01T00:00:00Z"), "ahead"),
        (Side.FRAME, raw(b"GIF89a"), "not-an-image"),
        (Side.FRAME, raw(PNG[:20]), "not-an-image"),
        (Side.FRAME, raw(PNG.ljust(1_001, b"\0")), "too-large"),
        (Side.FRAME, raw(png(101, 1)), "dimensions"),
        (Side.FRAME, raw(png(1, 101)), "dimensions"),
        (Side.FRAME, raw(png(80, 80)), "dimensions"),
        (Side.FRAME, raw(PNG, camera="c" * (MAX_NAME_BYTES + 1)), "headers"),
        (Side.FRAME, Raw(7, NOW, b"x", PNG, [("content-type", b"application/cloudevents+json")]), "structured"),
        (Side.TEXT, Raw(7, NOW, b"x", b"[]", [("content-type", b"application/cloudevents-batch+json")]), "structured"),
        (Side.TEXT, structured({"specversion": "0.3", "data": "fire"}), "specversion"),
        (Side.TEXT, structured({"specversion": "1.0"}), "empty"),
        (Side.TEXT, structured({"specversion": "1.0", "data_base64": "!"}), "encoding"),
        (Side.TEXT, structured({"specversion": "1.0", "data": "fire", "time": "soon"}), "time"),
    ],
)
def test_what_is_refused_says_why_and_keeps_its_place(side: Side, record: Raw, reason: str) -> None:
    found = admit(side, record, SETTINGS)
    assert isinstance(found, Refused), found
    assert (found.reason, found.side, found.offset, found.append_ms) == (reason, side, 7, NOW)


@pytest.mark.parametrize(
    ("record", "text", "severity"),
    [
        (raw(b'{"text": "fire", "severity": 4, "sensor": "s"}'), "fire", 4),
        (raw(b'{"text": "fire"}'), "fire", 0),
        (raw(b'{"text": "fire", "severity": 9}'), "fire", 0),
        (raw(b'{"text": "fire", "severity": true}'), "fire", 0),
        (raw(b'{"text": "fire", "severity": "high"}'), "fire", 0),
        (raw(b"fire in hall 3"), "fire in hall 3", 0),
        (raw("三号厅起火".encode()), "三号厅起火", 0),
        (raw(b'{"text": 5}'), '{"text": 5}', 0),
        (raw(b'{"alarm": "fire"}'), '{"alarm": "fire"}', 0),
        (raw(b'{"text": "fire"'), '{"text": "fire"', 0),
        (raw(b"[1, 2]"), "[1, 2]", 0),
        (raw(b"{" * 900), "{" * 900, 0),
        (structured({"specversion": "1.0", "data": {"text": "fire", "severity": 2}}), "fire", 2),
        (structured({"specversion": "1.0", "data": "fire"}), "fire", 0),
        (structured({"specversion": "1.0", "data_base64": base64.b64encode(b"fire").decode()}), "fire", 0),
        (structured({"specversion": "1.0", "data": {"alarm": "fire"}}), '{"alarm":"fire"}', 0),
    ],
)
def test_an_alarm_is_never_refused_for_its_form(record: Raw, text: str, severity: int) -> None:
    assert admitted(Side.TEXT, record).severity == severity
    assert read_text(record).text == text


def test_event_time_is_ce_time_else_append_time() -> None:
    assert admitted(Side.FRAME, raw(PNG)).event_ms == NOW
    assert admitted(Side.FRAME, raw(PNG, ce_time="1970-01-01T00:00:00.0079Z")).event_ms == 7
    assert admitted(Side.TEXT, structured({"time": "1970-01-01T00:00:01Z", "data": "fire"})).event_ms == 1_000


@pytest.mark.parametrize("append_ms", [NOW, NOW + 999, NOW + 0x7FF])
@pytest.mark.parametrize(("ahead_ms", "kind"), [(2_000, Record), (2_001, Refused)])
def test_an_event_time_may_lie_max_ahead_ms_after_append_time_and_no_further(
    append_ms: int, ahead_ms: int, kind: type
) -> None:
    assert isinstance(admit(Side.FRAME, raw_frame(7, append_ms, event_ms=append_ms + ahead_ms), SETTINGS), kind)


def test_a_bare_image_with_a_key_is_a_valid_frame() -> None:
    found = admitted(Side.FRAME, raw(PNG, key="dock-3 é".encode()))
    assert (found.zone, found.camera, found.size, found.identity) == ("dock-3 é", "", len(PNG or b""), None)


def test_what_is_refused_for_running_ahead_says_by_how_much() -> None:
    found = admit(Side.FRAME, raw_frame(7, NOW, event_ms=NOW + 2_001), SETTINGS)
    assert isinstance(found, Refused)
    assert found.detail == "2001 ms ahead, allowed 2000"


@pytest.mark.parametrize(("size", "kind"), [(MAX_HEADERS_BYTES, Record), (MAX_HEADERS_BYTES + 1, Refused)])
def test_headers_may_take_so_many_bytes_in_all_and_one_without_a_value_takes_its_name(size: int, kind: type) -> None:
    headers: list[tuple[str, bytes | None]] = [("empty", None), ("baggage", b"b" * (size - len("emptybaggage")))]
    assert isinstance(admit(Side.TEXT, Raw(7, NOW, b"x", b"fire", headers), SETTINGS), kind)  # type: ignore[arg-type]


def test_the_camera_is_a_header_of_frames() -> None:
    assert admitted(Side.FRAME, raw(PNG, camera="c1")).camera == "c1"
    assert admitted(Side.TEXT, raw(b"fire", camera="c1")).camera == ""


def test_what_is_refused_counts_with_its_key_and_headers() -> None:
    found = admit(Side.TEXT, raw(b"fire", key=b"k" * 1_000, baggage=b"b" * 20_000), SETTINGS)
    assert found.size == len(b"fire") + 1_000 + len("baggage") + 20_000


def test_headers_that_mean_nothing_here_may_hold_what_they_like() -> None:
    record = Raw(7, NOW, b"x", b"fire", [("traceparent", b"\xff"), ("traceparent", b"\xff")])
    assert admitted(Side.TEXT, record).zone == "x"


def test_the_identity_is_of_source_and_id_and_needs_both() -> None:
    def identity(**headers: str) -> bytes | None:
        listed = [(name, value.encode()) for name, value in headers.items()]
        return admitted(Side.TEXT, Raw(7, NOW, b"x", b"fire", listed)).identity

    assert identity(ce_source="a", ce_id="b") == identity(ce_source="a", ce_id="b") is not None
    assert identity(ce_source="a", ce_id="b") != identity(ce_source="ab", ce_id="")
    assert identity(ce_source="a", ce_id="bc") != identity(ce_source="ab", ce_id="c")
    assert identity(ce_id="b") is None
    assert identity(ce_source="a") is None
    envelope = {"specversion": "1.0", "source": "a", "id": "b", "data": "fire"}
    assert admitted(Side.TEXT, structured(envelope)).identity == identity(ce_source="a", ce_id="b")


def test_reading_the_text_of_what_was_not_admitted_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        read_text(raw(b" "))


@pytest.mark.parametrize("side", Side)
def test_what_cannot_be_read_is_refused_for_its_own_reason_however_good_the_rest_looks(side: Side) -> None:
    lost = Unreadable(
        offset=9, first_offset=7, timestamp=NO_TIME_MS, reason="headers", detail="x" * 999, key=b"zone", value=PNG
    )
    assert PNG is not None
    assert admit(side, lost, SETTINGS) == Refused(side, 9, NO_TIME_MS, "headers", "x" * 200, len(PNG) + 4)
