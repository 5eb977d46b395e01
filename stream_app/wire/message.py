"""One record to be published, its headers as a CloudEvent in binary mode, and what is read back of both.

In: names and times. Out: messages and headers; or a value by the type that it should have, or a :class:`WireError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from stream_app.core.event_time import format_event_time

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Version of the alert, notice and decision schemas; changes within it only add.
SCHEMA: Final = 1
# Stream time before the first record lies before the year 1; RFC 3339 cannot write that.
_EARLIEST_MS = -62_135_596_800_000

_Value = TypeVar("_Value")


class WireError(ValueError):
    """A record is not what its type says. The message gives the expected and the found."""


class NewerError(WireError):
    """A record is by a newer version of its schema than this version of Vigil reads."""


class _Version(msgspec.Struct):
    schema: int


class Message(msgspec.Struct, frozen=True):
    """One record to be published; ``partition`` None leaves the choice to the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


def event_headers(deployment: str, event_id: str, kind: str, zone: str, time_ms: int) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of a CloudEvent in binary mode whose value is JSON."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", f"/vigil/{deployment}".encode()),
        ("ce_type", kind.encode()),
        ("ce_subject", zone.encode()),
        ("ce_time", format_time(time_ms).encode()),
        ("content-type", b"application/json"),
    )


def event_type(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """Return what a record's headers say that it is; empty where they say nothing."""
    return next(((content or b"").decode("ascii", "replace") for name, content in headers if name == "ce_type"), "")


def format_time(time_ms: int) -> str:
    """Format a time in ms as the schemas have it, no earlier than the year 1."""
    return format_event_time(max(time_ms, _EARLIEST_MS))


def decode_value(value: bytes | None, wanted: type[_Value], name: str) -> _Value:
    """Read a record's value by a type; properties that the type does not have are ignored.

    Raises:
        NewerError: if it does not, and is by a newer version of its schema.
        WireError: if it does not fit the type; the message calls that ``name``.
    """
    try:
        return msgspec.json.decode(value or b"", type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        require_known(value, name)
        raise WireError(f"expected a {name} by its schema, found: {error}") from error


def require_known(value: bytes | None, name: str) -> None:
    """Make sure that a record's value does not say that it is by a newer version of its schema.

    Raises:
        NewerError: if it does; the message calls it ``name``.
    """
    try:
        found = msgspec.json.decode(value or b"", type=_Version).schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if found > SCHEMA:
        raise NewerError(f"{name} schema: expected {SCHEMA}, found {found}: a newer version of Vigil wrote it")
