"""What is written as an alert is read as that alert; what the schema refuses, the reader refuses."""

import json
from importlib import resources
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stream_app.core.types import Notice as CoreNotice
from stream_app.wire.alerts import Alert, Notice, decode_alert, render_alert, render_notice
from stream_app.wire.message import Message, WireError
from tests.wire.test_events import ALERTS, CONTEXT, START_MS, opened

SCHEMA = json.loads(resources.files("stream_app").joinpath("schemas/alert.v1.schema.json").read_bytes())
#: A property, and a value of it that the schema refuses.
REFUSED: dict[str, Any] = {
    "id": "short",
    "incident": 7,
    "phase": "reopened",
    "number": 0,
    "label": "",
    "score": 1.5,
    "threshold": "high",
    "zone": "",
    "cameras": [""],
    "severity": 6,
    "start": "yesterday",
    "end": "2026-01-01 02:03",
    "present": ["sound"],
    "contribution": {"image": 2},
    "late": "no",
    "masked": None,
    "evidence": [{"kind": "text", "topic": "t", "partition": -1, "offset": 0, "time": "2026-01-01T02:03:04.500Z"}],
    "evidence_left_out": -1,
    "model": {"name": "site", "version": "1", "sha256": "short"},
    "settings": "",
    "provider": "",
    "schema": 2,
}


def decoded(message: Message, **changes: Any) -> Alert | Notice | None:  # noqa: ANN401 - any JSON
    return decode_alert(json.dumps({**json.loads(message.value or b""), **changes}).encode(), message.headers)


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS.keys())
def test_an_alert_that_is_written_is_read_with_every_property(alert: Any) -> None:  # noqa: ANN401 - the core's own
    message = render_alert(alert, CONTEXT)
    body = json.loads(message.value or b"")
    found = decoded(message)
    assert isinstance(found, Alert)
    assert {name: getattr(found, name) for name in ("id", "phase", "label", "score", "severity")} == {
        name: body[name] for name in ("id", "phase", "label", "score", "severity")
    }
    assert set(SCHEMA["properties"]) == set(Alert.__struct_fields__)
    assert set(SCHEMA["required"]) == set(Alert.__struct_fields__) - {"reason"}
    assert [piece.offset for piece in found.evidence] == [piece["offset"] for piece in body["evidence"]]


def test_a_notice_that_is_written_is_read() -> None:
    found = decoded(render_notice(CoreNotice("rate", "dock-3", START_MS, "more than 50/s"), CONTEXT))
    assert found == Notice(notice="rate", zone="dock-3", detail="more than 50/s", schema=1)


def test_properties_that_a_later_version_adds_are_ignored() -> None:
    assert isinstance(decoded(render_alert(opened(), CONTEXT), mood="calm"), Alert)


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_schema_refuses_the_reader_refuses(name: str) -> None:
    message = render_alert(opened(), CONTEXT)
    body = {**json.loads(message.value or b""), name: REFUSED[name]}
    assert not Draft202012Validator(SCHEMA).is_valid(body), "the case has to be one that the schema refuses"
    with pytest.raises(WireError, match=r"expected a vigil\.alert\.opened\.v1 by its schema"):
        decoded(message, **{name: REFUSED[name]})


@pytest.mark.parametrize("name", sorted(SCHEMA["required"]))
def test_a_property_that_is_missing_is_refused(name: str) -> None:
    message = render_alert(opened(), CONTEXT)
    body = json.loads(message.value or b"")
    del body[name]
    with pytest.raises(WireError, match=name):
        decode_alert(json.dumps(body).encode(), message.headers)


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b"[]"])
def test_what_is_no_json_is_refused_under_its_type(value: bytes | None) -> None:
    with pytest.raises(WireError, match="by its schema"):
        decode_alert(value, render_alert(opened(), CONTEXT).headers)


def test_a_record_of_another_type_is_nothing_of_ours() -> None:
    assert decode_alert(b"{}", [("ce_type", b"vigil.alert.opened.v2")]) is None
    assert decode_alert(b"{}", []) is None


def test_a_camera_is_named_where_the_frame_named_one() -> None:
    found = decoded(render_alert(opened(), CONTEXT))
    assert isinstance(found, Alert)
    cameras = [piece.camera for piece in found.evidence]
    assert "c1" in cameras
    assert "" in cameras
