"""Recording: what is committed to the decisions topic, as JSON lines with their coordinates, and such lines read back.

In: a connection and a topic, or a recording. Out: lines, or the frames and texts that they name. It joins no consumer
group and must not know where lines are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from aiokafka import TopicPartition

from stream_app.adapters.kafka.answering import Tell, tell_nobody
from stream_app.adapters.kafka.clients import consumer
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.to_the_end import assign_all, read_to_the_end
from stream_app.adapters.kafka.unpacking import UnreadableRecord
from stream_app.core.event_time import format_event_time, parse_event_time
from stream_app.wire.decisions import Decision, decode_decision
from stream_app.wire.message import WireError, decode_value
from stream_app.wire.recorded import DecisionLine, decision_line
from stream_app.wire.references import EvidenceRef


class RecordingError(Exception):
    """A recording cannot be read, or does not belong to the topic; the message says expected and found."""


class Mark(msgspec.Struct, frozen=True):
    """The newest decision of a partition that a recording holds, and when it was written to the topic."""

    offset: int
    time: str


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Which decisions are wanted. Times are event times, in ms, of the newest record that a decision names."""

    zones: frozenset[str] = frozenset()
    from_ms: int | None = None
    until_ms: int | None = None

    def takes(self, decision: Decision) -> bool:
        """Return whether a decision is wanted: in one of the zones (none: all), from <= time < until."""
        if self.zones and decision.zone not in self.zones:
            return False
        newest_ms = max(parse_event_time(named.time) for named in decision.evidence)
        return (self.from_ms is None or newest_ms >= self.from_ms) and (
            self.until_ms is None or newest_ms < self.until_ms
        )


class Recorded(msgspec.Struct):
    """What became of the topic's records.

    ``gaps`` are places in words that are gone and were never recorded, ``unreadable`` those that no client can read.
    """

    written: int = 0
    others: int = 0
    foreign: int = 0
    gaps: list[str] = msgspec.field(default_factory=list)
    unreadable: list[str] = msgspec.field(default_factory=list)


async def record_decisions(
    connection: Connection,
    topic: str,
    write: Callable[[bytes], object],
    *,
    after: Mapping[int, Mark],
    chosen: Chosen,
    tell: Tell = tell_nobody,
) -> Recorded:
    """Hand out each decision that is committed now, one line each, in the order of its partition.

    Args:
        connection: the cluster.
        topic: the decisions topic.
        write: is given the lines, with their line feed.
        after: per partition the newest decision that is recorded already; those behind it are handed out.
        chosen: which ones.
        tell: is told when the brokers no longer answer, and when they are back.

    Returns:
        How many were written, not wanted, or no decisions at all.

    Raises:
        BrokerUnreachableError: if no broker answers, or none any longer.
        TopicMissingError: if there is no such topic.
        RecordingError: if the topic is not the one of ``after`` any more: it was recreated.
    """
    done = Recorded()
    async with consumer(connection) as client:
        partitions = await assign_all(client, topic)
        begins = await client.beginning_offsets(partitions)
        ends = await client.end_offsets(partitions)
        _require_room(topic, after, {place.partition for place in partitions})
        for place in partitions:
            client.seek(place, _start(place, begins[place], ends[place], after.get(place.partition), done))
        async for record in read_to_the_end(client, ends, tell=tell):
            if isinstance(record, UnreadableRecord):
                done.unreadable.append(f"{record.place}: {record.reason}, {record.detail}")
                continue
            mark = after.get(record.partition)
            if mark is not None and record.offset <= mark.offset:
                _require_same(record, mark)
                continue
            _take(record, write, chosen, done)
    return done


def _require_room(topic: str, after: Mapping[int, Mark], there: set[int]) -> None:
    missing = sorted(set(after) - there)
    if missing:
        message = f"expected partition {missing[0]} of {topic}, which the recording has, found {len(there)} partitions"
        raise RecordingError(message)


def _start(place: TopicPartition, begin: int, end: int, mark: Mark | None, done: Recorded) -> int:
    """Return where to read from: with a recording at its newest decision itself, which tells one topic from another."""
    if mark is None:
        return begin
    if end <= mark.offset:
        message = (
            f"expected {place.topic}/{place.partition} to continue after offset {mark.offset}, found its end at {end}: "
            "the topic was recreated; record into a new file"
        )
        raise RecordingError(message)
    if begin > mark.offset + 1:
        done.gaps.append(f"{place.topic}/{place.partition}: offsets {mark.offset + 1} to {begin - 1}")
    return max(begin, mark.offset)


def _require_same(record: Any, mark: Mark) -> None:  # noqa: ANN401 - aiokafka has no types
    found = format_event_time(record.timestamp)
    if record.offset == mark.offset and found != mark.time:
        message = (
            f"expected the decision at {record.topic}/{record.partition}/{record.offset} to be of {mark.time}, as "
            f"recorded, found {found}: the topic was recreated; record into a new file"
        )
        raise RecordingError(message)


def _take(record: Any, write: Callable[[bytes], object], chosen: Chosen, done: Recorded) -> None:  # noqa: ANN401
    try:
        is_wanted = chosen.takes(decode_decision(record.value))
    except WireError:
        done.foreign += 1
        return
    if not is_wanted:
        done.others += 1
        return
    write(decision_line(record.topic, record.partition, record.offset, record.timestamp, record.value))
    done.written += 1


def newest_of(lines: Iterable[bytes], topic: str) -> dict[int, Mark]:
    """Return per partition the newest decision that a recording holds.

    Args:
        lines: the recording.
        topic: the decisions topic.

    Raises:
        RecordingError: if a line is of another form, cut off, or of another topic.
    """
    newest: dict[int, Mark] = {}
    for number, text in enumerate(lines, 1):
        try:
            line = decode_value(text, DecisionLine, "recorded decision")
        except WireError as error:
            message = f"line {number}: expected a line that `vigil decisions` wrote, found another: {error}"
            raise RecordingError(message) from error
        if line.topic != topic or not text.endswith(b"\n"):
            found = f"one of {line.topic}" if line.topic != topic else "a truncated one"
            message = f"line {number}: expected a decision of {topic}, found {found}"
            raise RecordingError(message)
        if line.partition not in newest or newest[line.partition].offset < line.offset:
            newest[line.partition] = Mark(line.offset, line.time)
    return newest


def decisions_of(lines: Iterable[bytes]) -> Iterator[tuple[EvidenceRef, ...]]:
    """Yield the records that each decision of a recording names.

    Args:
        lines: decisions, bare or as ``value`` of an object.

    Raises:
        RecordingError: if a line is no decision.
    """
    for number, text in enumerate(lines, 1):
        try:
            yield _decision(text).evidence
        except WireError as error:
            message = f"line {number}: expected a decision (docs/wire.md), found another: {error}"
            raise RecordingError(message) from error


class _Enveloped(msgspec.Struct, frozen=True):
    value: msgspec.Raw = msgspec.Raw(b"")


def _decision(text: bytes) -> Decision:
    return decode_decision(bytes(decode_value(text, _Enveloped, "line").value) or text)
