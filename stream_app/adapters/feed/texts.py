"""Alarm texts with times, from JSON lines, CSV or plain lines.

In: a file. Out: texts in the order of their times. It must not know Kafka, nor what is done with the times.

A time is RFC 3339 (the event's own), or seconds since the start (``12.5``), or ``[hours:]minutes:seconds`` since it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from stream_app.adapters.feed.camera import FeedError
from stream_app.core.admit import MAX_SEVERITY
from stream_app.core.event_time import parse_event_time

_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_FIELDS = frozenset({"time", "text", "zone", "severity", "sensor"})


class TimedText(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm text. Exactly one of ``time_ms`` (since the epoch) and ``offset_ms`` (since the start) is set."""

    text: str
    zone: str = ""
    severity: int | None = None
    sensor: str | None = None
    time_ms: int | None = None
    offset_ms: int | None = None


def body_of(text: TimedText) -> bytes:
    """Return a text as the value of a record."""
    body = {"text": text.text, "severity": text.severity, "sensor": text.sensor}
    return msgspec.json.encode({name: content for name, content in body.items() if content is not None})


def read_texts(path: Path) -> tuple[TimedText, ...]:
    """Read a file of texts; its name says the form: ``.jsonl`` / ``.ndjson``, ``.csv``, anything else plain lines.

    JSON lines and CSV have the fields ``time`` and ``text``, and where wanted ``zone``, ``severity``, ``sensor``. A
    plain line is a time, a blank, and the text.

    Args:
        path: UTF-8.

    Returns:
        The texts, those with offsets before those with own times, each in the order of time.

    Raises:
        FeedError: if the file or a line of it cannot be read; the message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            content = file.read()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}"
        raise FeedError(message) from error
    except UnicodeDecodeError as error:
        message = f"{path}: expected UTF-8 text, found byte {error.object[error.start]:#04x} at {error.start}"
        raise FeedError(message) from error
    suffix = path.suffix.lower()
    read = {".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv_rows}.get(suffix, _plain_lines)
    found = []
    for number, fields in read(content, path):
        try:
            found.append(_timed(fields))
        except ValueError as error:
            message = f"{path}, line {number}: {error}"
            raise FeedError(message) from error
    if not found:
        message = f"expected texts in {path}, found none"
        raise FeedError(message)
    return tuple(sorted(found, key=_when))


# Lines end at line feeds alone: str.splitlines would end them at U+2028 and its like too, which may stand in a text.
def _json_lines(content: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            message = f"{path}, line {number}: expected a JSON object, found {error}"
            raise FeedError(message) from error
        if not isinstance(fields, dict):
            message = f"{path}, line {number}: expected a JSON object, found {type(fields).__name__}"
            raise FeedError(message)
        yield number, fields


def _csv_rows(content: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    rows = csv.DictReader(io.StringIO(content, newline=""))
    if not {"time", "text"} <= set(rows.fieldnames or ()):
        message = f"{path}, line 1: expected a heading with time and text, found {rows.fieldnames}"
        raise FeedError(message)
    for row in rows:
        yield rows.line_num, {name: value for name, value in row.items() if name in _FIELDS and value}


def _plain_lines(content: str, _path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            time, *text = line.split(maxsplit=1)
            yield number, {"time": time, "text": "".join(text)}


def _timed(fields: Mapping[str, Any]) -> TimedText:
    text = fields.get("text")
    if not isinstance(text, str) or not text.strip():
        message = "expected a text that is not empty, found " + ("none" if text is None else "an empty one")
        raise ValueError(message)
    time_ms, offset_ms = _time(fields.get("time"))
    return TimedText(
        text=text.strip(),
        zone=str(fields.get("zone") or ""),
        severity=_severity(fields.get("severity")),
        sensor=str(fields["sensor"]) if fields.get("sensor") else None,
        time_ms=time_ms,
        offset_ms=offset_ms,
    )


def _time(value: object) -> tuple[int | None, int | None]:
    written = "" if value is None or isinstance(value, bool) else str(value).strip()
    if _SECONDS.fullmatch(written):
        return None, round(float(written) * 1_000)
    clock = _CLOCK.fullmatch(written)
    if clock is not None:
        hours, minutes, seconds = clock.groups()
        return None, round((int(hours or 0) * 3_600 + int(minutes) * 60 + float(seconds)) * 1_000)
    try:
        return parse_event_time(written), None
    except ValueError:
        message = f"expected a time (seconds, minutes:seconds or RFC 3339), found {written[:40]!r}"
        raise ValueError(message) from None


def _severity(value: object) -> int | None:
    if value is None:
        return None
    written = str(value)
    if written.isdecimal() and 1 <= int(written) <= MAX_SEVERITY:
        return int(written)
    message = f"expected a severity of 1 to {MAX_SEVERITY}, found {written[:40]!r}"
    raise ValueError(message)


def _when(text: TimedText) -> tuple[bool, int]:
    moment = text.offset_ms if text.time_ms is None else text.time_ms
    return text.time_ms is not None, moment or 0
