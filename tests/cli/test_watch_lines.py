"""What `vigil watch` makes of records on the alerts topic."""

from typing import Any

import msgspec
import pytest

from stream_app.adapters.kafka.unpacking import UnreadableRecord
from stream_app.adapters.reading.alerts import Wanted, read_alert
from stream_app.cli.watch import alert_line
from stream_app.core.types import Notice as CoreNotice
from stream_app.wire.alerts import Alert, Notice, decode_alert, render_alert, render_notice
from stream_app.wire.message import Message
from tests.wire.test_events import CONTEXT, START_MS, opened


class Record(msgspec.Struct):
    """A record of the alerts topic, as far as a reader looks at it."""

    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    topic: str = "vigil.alerts"
    partition: int = 3
    offset: int = 17


def alert(**changes: Any) -> Alert:  # noqa: ANN401 - the properties of an alert
    message = render_alert(opened(), CONTEXT)
    found = decode_alert(message.value, message.headers)
    assert isinstance(found, Alert)
    return msgspec.structs.replace(found, **changes)


NOTICE = render_notice(CoreNotice("rate", "dock-3", START_MS, "more than 50/s"), CONTEXT)
ALERT = render_alert(opened(), CONTEXT)


@pytest.mark.parametrize(("message", "kind"), [(ALERT, Alert), (NOTICE, Notice)])
def test_alerts_and_notices_are_read_with_their_own_json(message: Message, kind: type[object]) -> None:
    seen = read_alert(Record(message.value, message.headers))
    assert isinstance(seen.content, kind)
    assert (seen.value, seen.place, seen.unreadable) == (message.value, "vigil.alerts/3/17", "")


@pytest.mark.parametrize("value", [None, b"", b"\xff\xd8", b"[]", b"{}", b"{", b"[" * 100_000])
def test_what_says_that_it_is_an_alert_and_is_none_is_unreadable_and_what_says_nothing_is_foreign(
    value: bytes | None,
) -> None:
    foreign, unfit = read_alert(Record(value)), read_alert(Record(value, ALERT.headers))
    assert (foreign.content, foreign.unreadable) == (None, "")
    assert unfit.content is None
    assert "expected a vigil.alert.opened.v1 by its schema, found: " in unfit.unreadable


def test_what_no_client_can_read_is_unreadable_and_names_all_that_is_lost() -> None:
    lost = UnreadableRecord(
        offset=9, first_offset=3, timestamp=5, reason="batch-crc", detail="bad", topic="vigil.alerts", partition=1
    )
    seen = read_alert(lost)
    assert (seen.content, seen.place, seen.unreadable) == (None, "vigil.alerts/1/3-9", "batch-crc, bad")


def test_filters_take_what_fits_all_of_them() -> None:
    one, notice = alert(zone="z"), Notice(notice="rate", zone="z", detail="", schema=1)
    everything, fights = Wanted(), Wanted(zones=frozenset({"z"}), labels=frozenset({"fight"}))
    assert everything.takes(one)
    assert everything.takes(notice)
    assert fights.takes(one)
    assert not fights.takes(notice)
    assert not Wanted(zones=frozenset({"y"})).takes(notice)
    assert not Wanted(phases=frozenset({"closed"})).takes(one)


def test_in_a_narrow_terminal_the_id_has_a_line_of_its_own() -> None:
    one = alert(label="fight\x0a", score=0.9, cameras=("c1", "c2"), end="2026-01-02T03:04:05.678Z")
    lines = alert_line(one, is_narrow=True).plain.splitlines()
    assert [line.split() for line in lines] == [
        ["2026-01-02T03:04:05.678Z", "opened", "fight\\n", "dock-3", "0.900", "4", "c1,c2"],
        [one.id],
    ]
    assert max(len(line) for line in lines) <= 80


def test_a_line_shows_marks_and_no_control_characters() -> None:
    line = alert_line(alert(id="a1", zone="z\x1b[2J", late=True, reason="model-changed")).plain
    assert "\x1b" not in line
    assert "a1 late model-changed" in line
