"""Evidence: the very frames and texts that an alert names, or a decision, fetched by topic, partition and offset.

In: a connection and an alert or incident id, or coordinates. Out: files in a folder, and for each piece whether it was
found. A record is taken for evidence only if its offset and its event time are those that the alert names: after a
topic was deleted and recreated, another record lies at the same place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from stream_app.adapters.kafka.answering import Tell, tell_nobody
from stream_app.adapters.kafka.clients import consumer
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.unpacking import UnreadableRecord
from stream_app.adapters.reading.alerts import read_alerts
from stream_app.core.admit import admit
from stream_app.core.event_time import parse_event_time
from stream_app.core.settings import Semantic
from stream_app.core.types import RawRecord, Refused, Side
from stream_app.files import open_below, write_below
from stream_app.wire.alerts import Alert
from stream_app.wire.evidence import ALERT, INDEX, Piece, file_name, index_of, piece_of

_FETCH_S = 15.0
#: Wide open: what matters here is the event time, not whether today's settings would admit the record.
_ANY = Semantic(
    max_ahead_ms=1 << 50,
    max_image_bytes=1 << 40,
    max_text_bytes=1 << 40,
    max_image_pixels=1 << 60,
    max_image_side=1 << 30,
)


class NoSuchAlertError(Exception):
    """No alert with this id is on the alerts topic (any more)."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The alert, and all pieces of evidence in the order in which it names them."""

    alert: Alert
    pieces: tuple[Piece, ...]


async def fetch_evidence(
    connection: Connection, topic: str, wanted: str, out: Path, *, tell: Tell = tell_nobody
) -> Evidence:
    """Find an alert and write its evidence into a folder.

    Writes ``alert.json`` (of an incident: its newest alert), ``evidence.json`` (the pieces), and one file per frame and
    text, with the bytes that were sent.

    Args:
        connection: the cluster.
        topic: the alerts topic.
        wanted: id of an alert, or of an incident: then the evidence of all its alerts.
        out: the folder; made if it is not there.
        tell: is told when the brokers no longer answer, and when they are back.

    Returns:
        The alert and its pieces.

    Raises:
        BrokerUnreachableError: if no broker answers.
        TopicMissingError: if there is no such topic.
        NoSuchAlertError: if no alert or incident has this id.
        OSError: if the folder cannot be written.
    """

    def takes(alert: Alert) -> bool:
        return wanted in {alert.id, alert.incident}

    found = await read_alerts(connection, topic, takes, tell=tell)
    if not found:
        message = (
            f"expected an alert or incident {wanted} on {topic}, found none: mistyped, or its retention has passed"
        )
        raise NoSuchAlertError(message)
    alert, value = max(found, key=_number)
    named = _named_evidence([one for one, _ in found])
    await asyncio.to_thread(_write_alert, out, value)
    pieces = await fetch_pieces(connection, named, out)
    return Evidence(alert=alert, pieces=pieces)


async def fetch_pieces(connection: Connection, named: Sequence[Piece], out: Path) -> tuple[Piece, ...]:
    """Write records into a folder: one file each, with the bytes that were sent, and ``evidence.json`` at the end.

    Args:
        connection: the cluster.
        named: where they lie; those with a time are taken only if it is theirs.
        out: the folder; made if it is not there.

    Returns:
        The pieces in the same order, with their files or why they are missing.

    Raises:
        BrokerUnreachableError: if no broker answers.
        OSError: if the folder cannot be written; there is no ``evidence.json`` then.
    """
    async with consumer(connection, auto_offset_reset="none") as client:
        there = await client.topics()
        await asyncio.to_thread(open_below, out)
        taken: set[str] = set()
        pieces = [await _fetch(client, piece, out, taken, there) for piece in named]
    await asyncio.to_thread(_write_index, out, pieces)
    return tuple(pieces)


def _write_alert(out: Path, value: bytes) -> None:
    open_below(out)
    write_below(out, ALERT, msgspec.json.format(value) + b"\n")


def _write_index(out: Path, pieces: Sequence[Piece]) -> None:
    write_below(out, INDEX, index_of(pieces))


def _number(found: tuple[Alert, bytes]) -> int:
    return found[0].number


def _named_evidence(alerts: Sequence[Alert]) -> list[Piece]:
    """Return the evidence of all alerts, each piece once, in order."""
    pieces: dict[tuple[str, int, int], Piece] = {}
    for named in (named for alert in alerts for named in alert.evidence):
        pieces.setdefault((named.topic, named.partition, named.offset), piece_of(named))
    return list(pieces.values())


async def _fetch(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    piece: Piece,
    out: Path,
    taken: set[str],
    there: Collection[str],
) -> Piece:
    if piece.topic not in there:
        # Asking for it by name would make it, where brokers create topics on demand.
        return msgspec.structs.replace(piece, missing=f"expected the topic {piece.topic}, found none")
    try:
        async with asyncio.timeout(_FETCH_S):
            record = await _record_at(client, piece)
    except TimeoutError:
        return msgspec.structs.replace(piece, missing=f"no answer within {_FETCH_S:g} s")
    except KafkaError as error:
        return msgspec.structs.replace(piece, missing=f"cannot be read: {error}")
    if isinstance(record, str):
        return msgspec.structs.replace(piece, missing=record)
    name = file_name(piece, record.value or b"", taken)
    await asyncio.to_thread(write_below, out, name, record.value or b"")
    return msgspec.structs.replace(piece, file=name)


async def _record_at(client: Any, piece: Piece) -> Any:  # noqa: ANN401 - aiokafka has no types
    """Return the record that the piece names, or in words why it is not there."""
    place = TopicPartition(piece.topic, piece.partition)
    client.assign([place])
    begin = (await client.beginning_offsets([place]))[place]
    end = (await client.end_offsets([place]))[place]
    if piece.offset < begin:
        return f"retention has passed: the log of {piece.topic}/{piece.partition} starts at {begin}"
    if piece.offset >= end:
        # Only what an alert or a decision named is known to have been there.
        why = "the topic was recreated" if piece.time else "mistyped, or the topic was recreated"
        return f"the log of {piece.topic}/{piece.partition} ends at {end}: {why}"
    client.seek(place, piece.offset)
    try:
        record = await client.getone(place)
    except OffsetOutOfRangeError:
        return "retention has passed while it was being read"
    return _unlike(record, piece) or record


def _unlike(record: Any, piece: Piece) -> str:  # noqa: ANN401 - aiokafka has no types
    """Say in words why a record cannot be the one that the piece names; empty where it can."""
    is_it = isinstance(record, UnreadableRecord) and record.first_offset <= piece.offset <= record.offset
    # What could be had of a single record is evidence too.
    if is_it and record.value is None:
        return f"{record.place} cannot be read: {record.reason}, {record.detail}"
    if record.offset != piece.offset:
        return f"expected offset {piece.offset}, found {record.offset} next: the record is gone"
    found_ms = _event_ms(record, piece)
    if found_ms is not None and piece.time and found_ms != parse_event_time(piece.time):
        return f"expected event time {piece.time}, found another: the topic was recreated"
    return ""


def _event_ms(record: RawRecord, piece: Piece) -> int | None:
    side = Side.FRAME if piece.kind == "frame" else Side.TEXT
    admitted = admit(side, record, _ANY)
    return None if isinstance(admitted, Refused) else admitted.event_ms
