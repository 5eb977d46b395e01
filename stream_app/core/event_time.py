"""Event times on the wire: RFC 3339 text to integer milliseconds and back. Pure; knows no clock.

Each record has a time or several, and most lie in a second of which others were just read or written: what a second is
called is remembered, so that a time costs a look-up and not a calendar.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Date and time of day, to the second; then decimals and offset.
_SECOND = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d", re.ASCII)
_REST = re.compile(r"(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_SECOND_CHARS: Final = 19
#: Nanoseconds and an offset; what is longer is not remembered, or a producer could fill the memory.
_REST_CHARS: Final = 16


def parse_event_time(text: str) -> int:
    """Parse an RFC 3339 date-time to milliseconds since the Unix epoch, floored.

    Args:
        text: for example ``2026-01-01T02:03:04.5678Z``; an offset is required, a leap second counts as the next second.

    Returns:
        Milliseconds since 1970-01-01T00:00:00Z; negative before it.

    Raises:
        ValueError: if the text is no RFC 3339 date-time.
    """
    rest = text[_SECOND_CHARS:]
    try:
        rest_ms = _rest_ms(rest) if len(rest) <= _REST_CHARS else _rest_ms.__wrapped__(rest)
        return _second_ms(text[:_SECOND_CHARS]) + rest_ms
    except ValueError:
        message = f"expected an RFC 3339 date-time with offset, found {text[:64]!r}"
        raise ValueError(message) from None


def format_event_time(event_ms: int) -> str:
    """Format milliseconds since the epoch as RFC 3339 UTC with three decimals.

    The inverse of :func:`parse_event_time` within the years 1 to 9999.
    """
    seconds, rest_ms = divmod(event_ms, 1_000)
    return f"{_second(seconds)}.{rest_ms:03d}Z"


@lru_cache(maxsize=4_096)
def _second(seconds: int) -> str:
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}".rjust(_SECOND_CHARS, "0")


@lru_cache(maxsize=4_096)
def _second_ms(text: str) -> int:
    if _SECOND.fullmatch(text) is None:
        raise ValueError
    is_leap = text.endswith(":60")
    moment = datetime.fromisoformat(f"{text[:-2]}59Z" if is_leap else f"{text}Z")
    return _ms(moment) + 1_000 * is_leap


@lru_cache(maxsize=4_096)
def _rest_ms(text: str) -> int:
    if _REST.fullmatch(text) is None:
        raise ValueError
    return _ms(datetime.fromisoformat(f"1970-01-01T00:00:00{text.upper()}"))


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
