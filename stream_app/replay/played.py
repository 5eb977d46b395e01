"""A recording's inputs as they are played into topics again: the same records, now.

In: open recordings, a shift in time, the name of the run. Out: records with their headers, in the order and at the
distances of their append times. It knows no Kafka, no files and no clock.

What is changed of a record: its event time, by one constant; its id, so that a second play is no duplicate of the
first; and a header that says where it comes from. All else stays, faults too: what was refused will be refused again.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

import msgspec

from stream_app.core.event_time import format_event_time, parse_event_time
from stream_app.replay.reading import readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream_app.replay.recording import Kind, Recording, TopicRecord
    from stream_app.wire.topics import Topics

#: The header that says where a record was when it was recorded: topic/partition/offset.
ORIGIN: Final = "vigil_recorded"
_STRUCTURED: Final = b"application/cloudevents+json"
_INPUTS: Final = frozenset({"frames", "texts"})


class Played(msgspec.Struct, frozen=True, gc=False):
    """A record to be sent, and when it was appended: ``moment_ms`` never runs back, and is fit to be waited for.

    ``partition`` is that of the recording: for records without a key, which no partitioner can tell a place.
    """

    kind: Kind
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    moment_ms: int


class Inputs:
    """The inputs of recordings, as they came; what was recorded at one time comes together."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        """Look at them.

        Args:
            recordings: open, each with values.
        """
        self._recordings = recordings
        #: Records that are in the recordings without their values, or that no client could read.
        self.left_out = 0
        #: What cannot be read, in words; known at the end.
        self.lost: list[str] = []
        self.to_ms = max(recording.about.to_ms for recording in recordings)

    def first_ms(self) -> int | None:
        """Return when the first of them was appended; None where there is none."""
        return next((moment_ms for moment_ms, *_ in self._in_order([])), None)

    def played(self, shift_ms: int, run: str) -> Iterator[Played]:
        """Yield them as they are to be sent.

        Args:
            shift_ms: is added to all event times.
            run: is added to all ids.
        """
        self.left_out, self.lost = 0, []
        for moment_ms, topics, kind, record in self._in_order(self.lost):
            if record.lost is not None or (record.value is None and (record.size or record.key is None)):
                # What no client could read is no record any more, and Kafka takes none that has neither key nor value.
                self.left_out += 1
                continue
            origin = f"{topics.texts if kind == 'texts' else topics.frames}/{record.partition}/{record.offset}"
            own_ms = record.timestamp if 0 < record.timestamp <= self.to_ms else moment_ms
            headers = _headers(record.headers, own_ms, shift_ms, run)
            value = record.value
            if kind == "texts" and value is not None and _is_structured(record):
                value = _envelope(value, shift_ms, run)
            yield Played(kind, record.partition, record.key, value, (*headers, (ORIGIN, origin.encode())), moment_ms)

    def _in_order(self, lost: list[str]) -> Iterator[tuple[int, Topics, Kind, TopicRecord]]:
        moment_ms = 0
        several = [self._inputs(recording, lost) for recording in self._recordings]
        for topics, kind, record in heapq.merge(*several, key=lambda found: found[2].timestamp):
            # A producer's time may be missing, or centuries away: nobody waits for that.
            if record.timestamp > 0:
                moment_ms = max(moment_ms, min(record.timestamp, self.to_ms))
            elif not moment_ms:
                moment_ms = min(recording.about.from_ms for recording in self._recordings)
            yield moment_ms, topics, kind, record

    def _inputs(self, recording: Recording, lost: list[str]) -> Iterator[tuple[Topics, Kind, TopicRecord]]:
        for kind, record in readable(recording, lost):
            if kind in _INPUTS:
                yield recording.about.topics, kind, record


def outputs_among(targets: Sequence[str], deployments: Sequence[Topics]) -> list[str]:
    """Return those of these topics that are outputs of a deployment, by name."""
    outputs = {
        topic
        for topics in deployments
        for topic in (topics.alerts, topics.decisions, topics.journal, topics.state, topics.dead_letters)
    }
    return sorted(outputs & set(targets))


def _headers(
    headers: Sequence[tuple[str, bytes | None]], own_ms: int, shift_ms: int, run: str
) -> Iterator[tuple[str, bytes | None]]:
    has_time = False
    for name, content in headers:
        known = name.lower()
        if known == ORIGIN:
            # Of a play that was recorded: twice would be refused by nobody, and understood by nobody.
            continue
        if known == "ce_time":
            has_time = True
            yield name, _shifted(content or b"", shift_ms)
        elif known == "ce_id" and content:
            yield name, content + f"-{run}".encode()
        else:
            yield name, content
    if not has_time:
        yield "ce_time", format_event_time(own_ms + shift_ms).encode()


def _shifted(written: bytes, shift_ms: int) -> bytes:
    """Return an event time moved; one that is none stays, and is refused as it was."""
    try:
        return format_event_time(parse_event_time(written.decode()) + shift_ms).encode()
    except (ValueError, OverflowError):
        return written


def _is_structured(record: TopicRecord) -> bool:
    content_type = next((content or b"" for name, content in record.headers if name.lower() == "content-type"), b"")
    return content_type.startswith(_STRUCTURED)


def _envelope(value: bytes, shift_ms: int, run: str) -> bytes:
    """Return a structured CloudEvent with its own time and id changed; what is none stays as it is."""
    try:
        envelope: Any = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value
    if not isinstance(envelope, dict):
        return value
    if isinstance(envelope.get("time"), str):
        envelope["time"] = _shifted(envelope["time"].encode(), shift_ms).decode()
    if isinstance(envelope.get("id"), str) and envelope["id"]:
        envelope["id"] += f"-{run}"
    return msgspec.json.encode(envelope)
