"""Files of evidence lie below --out, whatever an alert, a recording or a folder of evidence says."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.adapters.reading.alerts import read_alert
from stream_app.adapters.reading.decisions import RecordingError, decisions_of
from stream_app.adapters.reading.evidence import _named_evidence
from stream_app.files import write_below
from stream_app.wire.alerts import Alert, decode_alert, render_alert
from stream_app.wire.evidence import Piece, file_name
from tests.cli.deployment import alert_message, decision_value
from tests.cli.test_watch_lines import Record
from tests.wire.test_events import CONTEXT, opened
from vigil_export.data.review.evidence import read_evidence

NAMED: dict[str, Any] = {
    "kind": "frame",
    "topic": "vigil.frames",
    "partition": 0,
    "offset": 1,
    "time": "2026-01-01T00:00:01.000Z",
    "camera": "c1",
}
WRONG: list[dict[str, Any]] = [
    {"kind": "../../frame"},
    {"kind": "/etc/frame"},
    {"kind": "Frame"},
    {"kind": None},
    {"topic": "../frames"},
    {"topic": "frames\n"},
    {"topic": ""},
    {"topic": "t" * 250},
    {"partition": -1},
    {"partition": "0/../../x"},
    {"partition": 1.5},
    {"partition": 2**31},
    {"partition": True},
    {"offset": -1},
    {"offset": "1"},
    {"offset": 2**63},
    {"time": "../../x"},
    {"time": ""},
    {"camera": 7},
]


def lines_about(*named: dict[str, Any]) -> bytes:
    return decision_value(evidence=named)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_line_of_a_recording_that_is_not_by_the_schema_is_refused_by_its_number(wrong: dict[str, Any]) -> None:
    good, bad = (lines_about(NAMED, NAMED | more) for more in ({}, wrong))
    assert [record.offset for found in decisions_of([good]) for record in found] == [1, 1]
    for line in (bad, b'{"topic": "t", "value": ' + bad + b"}"):
        with pytest.raises(RecordingError, match=r"line 2: expected a decision \(docs/wire.md\), found another: "):
            list(decisions_of([good, line]))


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_so_is_an_alert_that_names_something_else_than_records(wrong: dict[str, Any]) -> None:
    for evidence, is_right in (([NAMED], True), ([NAMED, NAMED | wrong], False)):
        message = alert_message(evidence=evidence)
        seen = read_alert(Record(message.value, message.headers))
        assert (seen.content is not None, not seen.unreadable) == (is_right, is_right)


def test_evidence_that_several_alerts_name_is_fetched_once() -> None:
    message = render_alert(opened(), CONTEXT)
    alert = decode_alert(message.value, message.headers)
    assert isinstance(alert, Alert)
    assert [(piece.kind, piece.offset) for piece in _named_evidence([alert, alert])] == [("text", 17), ("frame", 4711)]


@given(camera=st.text(st.characters(codec=None, categories=None)), value=st.binary(max_size=4), kind=st.booleans())
def test_a_name_of_a_file_is_a_plain_one_whatever_the_camera_is_called(
    *, camera: str, value: bytes, kind: bool
) -> None:
    piece = Piece(kind="frame" if kind else "text", topic="t", partition=2**31 - 1, offset=2**63 - 1, camera=camera)
    name = file_name(piece, value, set())
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert name.startswith(("frame-", "text-"))
    assert len(name) <= 120


def test_records_of_two_topics_at_one_place_have_two_files_also_where_case_does_not_count() -> None:
    taken: set[str] = set()
    cameras = ("Gate", "gate", "gate/", "../gate", "gate", "GATE")
    pieces = [
        Piece(kind="frame", topic=f"t{number}", partition=0, offset=1, camera=camera)
        for number, camera in enumerate(cameras)
    ]
    names = [file_name(piece, b"\xff\xd8", taken) for piece in pieces]
    assert len({name.lower() for name in names}) == len(cameras)
    assert names[0] == "frame-0-1-Gate.jpg"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/x", "a\\b", "a\0b"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(ValueError, match="expected the name of a file"):
        write_below(folder, name, b"x")
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/hostname", "link.jpg", "..", "."])
def test_a_folder_of_evidence_names_no_file_outside_of_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    piece = {"topic": "t", "partition": 0, "offset": 1, "file": name}
    (folder / "evidence.json").write_bytes(msgspec.json.encode([piece]))
    found = read_evidence([folder])
    assert found.files == {}
    assert len(found.missing) == 1
