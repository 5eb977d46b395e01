"""Event times: RFC 3339 to milliseconds since the epoch, floored, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.event_time import _rest_ms, format_event_time, parse_event_time
from tests.core.examples import examples


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00.5z", 500),
        ("1970-01-01 00:00:01+00:00", 1_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T19:00:00-05:00", 0),
        ("1970-01-01T00:00:00.0009Z", 0),
        ("1970-01-01T00:00:00.123999999999Z", 123),
        ("1969-12-31T23:59:59.9999Z", -1),  # floored, not cut off towards zero
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),  # a leap second counts as the next
        ("2024-02-29T12:00:00Z", 1_709_208_000_000),
        ("2099-01-01T00:00:00Z", 4_070_908_800_000),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000),
    ],
)
def test_a_date_time_is_read_as_milliseconds(text: str, expected: int) -> None:
    assert parse_event_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "1700000000", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z", "2026-01-01T25:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00+25:00",
        "2026-01-01T00:00Z", "20260101T000000Z", "2026-W01-1T00:00:00Z", "٢٠٢٦-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z ", "2026-01-01T00:00:00Z\n", "0000-01-01T00:00:00Z", "2026-01-01T00:00:61Z",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_what_was_expected_and_found(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_event_time(text)


def test_a_very_long_time_is_read_and_not_remembered() -> None:
    remembered = _rest_ms.cache_info().currsize
    assert parse_event_time(f"2026-01-01T00:00:00.5{'0' * 60_000}Z") == 1_767_225_600_500
    assert _rest_ms.cache_info().currsize == remembered


@pytest.mark.parametrize("end", ["+25:00", "?"])
def test_of_a_very_long_one_that_is_refused_no_more_than_its_beginning_is_told(end: str) -> None:
    with pytest.raises(ValueError, match=r"^expected an RFC 3339 .{,100}$"):
        parse_event_time(f"2026-01-01T00:00:00.5{'0' * 60_000}{end}")


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
@examples(200)
def test_what_is_written_is_read_back(event_ms: int) -> None:
    written = format_event_time(event_ms)
    assert parse_event_time(written) == event_ms
    assert len(written) == len("2026-01-01T02:03:04.500Z")
