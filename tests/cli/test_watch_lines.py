"""What `vigil watch` makes of records on the alerts topic."""

import pytest

from stream_app.adapters.reading.alerts import AlertView, NoticeView, Wanted, read_alert
from stream_app.cli.watch import alert_line

ALERT = b"""{"id": "a1", "incident": "i1", "phase": "opened", "number": 1, "label": "fight", "score": 0.9312,
"threshold": 0.8, "zone": "dock-3", "cameras": ["c1"], "severity": null, "start": "s", "end": "e",
"present": ["image"], "late": true, "masked": false, "evidence": [], "something_new": {"of": "v1.1"}, "schema": 1}"""
NOTICE = b'{"notice": "rate", "zone": "dock-3", "detail": "more than 50/s", "schema": 1}'


def test_alerts_and_notices_are_read_and_later_fields_ignored() -> None:
    alert, notice = read_alert(ALERT), read_alert(NOTICE)
    assert isinstance(alert, AlertView)
    assert (alert.id, alert.cameras, alert.severity, alert.late) == ("a1", ("c1",), None, True)
    assert notice == NoticeView("rate", "dock-3", "more than 50/s")


@pytest.mark.parametrize("value", [None, b"", b"\xff\xd8", b"[]", b"{}", b"{"])
def test_what_is_neither_is_none(value: bytes | None) -> None:
    assert read_alert(value) is None


def test_filters_take_what_fits_all_of_them() -> None:
    alert, notice = AlertView("a", "i", "opened", "fight", "z"), NoticeView("rate", "z")
    everything, fights = Wanted(), Wanted(zones=frozenset({"z"}), labels=frozenset({"fight"}))
    assert everything.takes(alert)
    assert everything.takes(notice)
    assert fights.takes(alert)
    assert not fights.takes(notice)
    assert not Wanted(zones=frozenset({"y"})).takes(notice)
    assert not Wanted(phases=frozenset({"closed"})).takes(alert)


def test_in_a_narrow_terminal_the_id_has_a_line_of_its_own() -> None:
    alert = AlertView(
        "a" * 32,
        "i",
        "opened",
        "fight\x0a",
        "dock-3",
        score=0.9,
        severity=4,
        cameras=("c1", "c2"),
        end="2026-01-02T03:04:05.678Z",
    )
    lines = alert_line(alert, is_narrow=True).plain.splitlines()
    assert [line.split() for line in lines] == [
        ["2026-01-02T03:04:05.678Z", "opened", "fight\\n", "dock-3", "0.900", "4", "c1,c2"],
        ["a" * 32],
    ]
    assert max(len(line) for line in lines) <= 80


def test_a_line_shows_marks_and_no_control_characters() -> None:
    line = alert_line(AlertView("a1", "i", "opened", "fight", "z\x1b[2J", late=True, reason="model-changed")).plain
    assert "\x1b" not in line
    assert "a1 late model-changed" in line
