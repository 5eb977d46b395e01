"""What is written as an alert is read as that alert; what the schema refuses, the reader refuses."""

import json
from importlib import resources
from typing import Any

import pytest

from stream_app.core.types import Notice as CoreNotice
from stream_app.wire.alerts import Alert, Notice, decode_alert, render_alert, render_notice
from stream_app.wire.message import Message, WireError
from tests.wire.test_events import ALERTS, CONTEXT, START_MS, opened

SCHEMA = json.loads(resources.files("stream_app").joinpath("schemas/alert.v1.schema.json").read_bytes())


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 1.5}, r"expected a vigil\.alert\.opened\.v1 by its schema, found: .* at `\$\.score`"),
        ({"present": ["image", "image"]}, "present: expected each value once, found image, image"),
        ({"cameras": ["c1", "c2", "c1"]}, "cameras: expected each value once, found c1, c2, c1"),
        ({"contribution": {"image": 0.5}}, "contribution: expected both sides or none, found only image"),
        ({"phase": "closed"}, "expected the reason of a closed incident, found none"),
        ({"start": "2026-02-31T00:00:00.000Z"}, "expected a time, found 2026-02-31T00:00:00.000Z"),
    ],
    ids=str,
)
def test_what_is_refused_is_said_by_its_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(WireError, match=message):
        decoded(render_alert(opened(), CONTEXT), **change)


def test_a_contribution_of_a_side_that_a_later_version_adds_is_ignored() -> None:
    found = decoded(render_alert(opened(), CONTEXT), contribution={"image": 0.5, "text": 0.2, "sound": "loud"})
    assert isinstance(found, Alert)
    assert found.contribution == {"image": 0.5, "text": 0.2}


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
