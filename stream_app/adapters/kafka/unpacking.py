"""The records of a batch as a broker sends it, one by one, whatever they hold.

In: a batch, whose head :mod:`stream_app.adapters.kafka.batches` read. Out: records, and an `Unreadable` in the place of
each record, or rest of a batch, that cannot be read. A pure function of a batch's bytes and the bound: whoever reads
it, and however often, gets the same. Nothing in the bytes is believed: neither lengths nor counts nor offsets.

The format: https://kafka.apache.org/documentation/#messageformat
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch

from stream_app.adapters.kafka.batches import HEAD_BYTES, head_of_unpacked
from stream_app.adapters.kafka.fields import BrokenError, record_length, sized_bytes, varint
from stream_app.adapters.kafka.inflate import CODECS, InflateError, TooLargeError, inflate
from stream_app.core.types import BATCH_REASONS, NO_TIME_MS, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.adapters.kafka.batches import Batch

#: What a record costs in memory beside its bytes, and what a header does: a batch of empty ones is a bomb too.
RECORD_BYTES: Final = 512
HEADER_BYTES: Final = 128
CRC, FORMAT, CODEC, SIZE = BATCH_REASONS

#: The last time that RFC 3339 can write.
_MAX_TIME_MS: Final = 253_402_300_799_999
_LEAST_HEADER_BYTES: Final = 2
_SHOWN_BYTES: Final = 40


class UnreadableRecord(Unreadable, frozen=True, kw_only=True):
    """An `Unreadable` with its coordinates, as aiokafka's records have them."""

    topic: str
    partition: int

    @property
    def place(self) -> str:
        """What is lost, for people."""
        offsets = f"{self.first_offset}-{self.offset}" if self.first_offset < self.offset else f"{self.offset}"
        return f"{self.topic}/{self.partition}/{offsets}"


class _Found:
    """What could be read of one record so far."""

    __slots__ = ("flaw", "headers", "key", "offset", "reason", "timestamp", "value")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.timestamp = NO_TIME_MS
        self.key: bytes | None = None
        self.value: bytes | None = None
        self.headers: list[tuple[str, bytes | None]] = []
        self.reason = ""
        self.flaw = ""


def unpack(
    records: bytes, batch: Batch, tp: TopicPartition, bound: int
) -> Iterator[ConsumerRecord[bytes, bytes] | UnreadableRecord]:
    """Yield the records of one batch, in ascending order of their offsets, none above the batch's last.

    Args:
        records: the response.
        batch: from :func:`split`; its CRC is the caller's business.
        tp: where it comes from.
        bound: the memory that the batch may take unpacked, in bytes.
    """
    try:
        body, at, end = _body(records, batch, bound)
    except TooLargeError as error:
        yield lost(batch, tp, SIZE, str(error))
        return
    except InflateError as error:
        yield lost(batch, tp, CODEC, f"{CODECS.get(batch.codec, 'codec')}: {error}")
        return
    except BrokenError as error:
        yield lost(batch, tp, FORMAT, str(error))
        return
    room = bound - (end - at) - batch.count * RECORD_BYTES
    # However many headers so few bytes hold, there is room for them; and nearly all batches are sound.
    if (end - at) // _LEAST_HEADER_BYTES * HEADER_BYTES <= room:
        whole = _read_whole(body, at, end, batch, tp)
        if whole is not None:
            yield from whole
            return
    yield from _read_each(body, at, end, batch, tp, room)


def _read_whole(
    body: bytes, at: int, end: int, batch: Batch, tp: TopicPartition
) -> list[ConsumerRecord[bytes, bytes]] | None:
    """Return all records as aiokafka's C code reads them, a tenth of the time; None where it does not like one."""
    head = head_of_unpacked(batch, end - at)
    records: list[ConsumerRecord[bytes, bytes]] = []
    lowest, highest = batch.base_offset, batch.last_offset - batch.count + 1
    try:
        for record in DefaultRecordBatch(head + body[at:end]):
            offset, timestamp = record.offset, record.timestamp
            if not lowest <= offset <= highest or not NO_TIME_MS <= timestamp <= _MAX_TIME_MS:
                return None
            lowest, highest = offset + 1, highest + 1
            records.append(_sound(offset, timestamp, record.key, record.value, tuple(record.headers), batch, tp))
    # What it raises where lengths lie; a test feeds it whatever there is.
    except (CorruptRecordException, ValueError, SystemError, MemoryError, OverflowError):
        return None
    return records


def _read_each(
    body: bytes, at: int, end: int, batch: Batch, tp: TopicPartition, room: int
) -> Iterator[ConsumerRecord[bytes, bytes] | UnreadableRecord]:
    """Yield what can be had of each record; whatever the bytes are, it ends behind the last one."""
    lowest = batch.base_offset
    for left in range(batch.count - 1, -1, -1):
        try:
            length, at = record_length(body, at, end)
        except BrokenError as error:
            yield lost(batch, tp, FORMAT, str(error), first_offset=lowest)
            return
        found = _Found(lowest)
        try:
            room -= _read(body, at, at + length, found, batch, (lowest, batch.last_offset - left), room)
        except BrokenError as error:
            found.reason, found.flaw = "record", str(error)
        yield _record(found, batch, tp)
        lowest = found.offset + 1
        at += length
    # Bytes that may follow are no records: all that the batch says it has were read, and no offsets are left.


def lost(
    batch: Batch, tp: TopicPartition, reason: str, why: str, *, first_offset: int | None = None
) -> UnreadableRecord:
    """Return a stand-in for a batch, or for what is left of one.

    Args:
        batch: its head.
        tp: where it comes from.
        reason: one of the reasons above.
        why: in words.
        first_offset: the first one lost; by default the batch's own.
    """
    # A head that does not fit its CRC may say any time.
    newest_ms = batch.newest_ms if reason != CRC and not batch.flaw else NO_TIME_MS
    first = batch.base_offset if first_offset is None else first_offset
    return UnreadableRecord(
        topic=tp.topic,
        partition=tp.partition,
        offset=max(batch.last_offset, first),
        first_offset=first,
        timestamp=newest_ms if 0 <= newest_ms <= _MAX_TIME_MS else NO_TIME_MS,
        reason=reason,
        detail=f"offsets {first}-{max(batch.last_offset, first)}: {why} ({batch.end - batch.begin} bytes in the log)",
    )


def _body(records: bytes, batch: Batch, bound: int) -> tuple[bytes, int, int]:
    """Return the bytes of the records and where in them they begin and end.

    Raises:
        InflateError: if they cannot be unpacked, or not within the bound.
        BrokenError: if the head cannot be true.
    """
    if batch.flaw:
        raise BrokenError(batch.flaw)
    most = batch.last_offset - batch.base_offset + 1
    if not 0 <= batch.count <= most:
        message = f"claims {batch.count} records for {most} offsets"
        raise BrokenError(message)
    room = bound - batch.count * RECORD_BYTES
    if room <= 0:
        message = f"{batch.count} records take more than {bound} bytes unpacked"
        raise TooLargeError(message)
    begin = batch.begin + HEAD_BYTES
    if batch.codec:
        body = inflate(batch.codec, records[begin : batch.end], room)
        return body, 0, len(body)
    if batch.end - begin > room:
        message = f"takes more than {bound} bytes unpacked"
        raise TooLargeError(message)
    return records, begin, batch.end


def _read(body: bytes, at: int, end: int, found: _Found, batch: Batch, offsets: tuple[int, int], room: int) -> int:
    """Read one record into `found`; return what its headers cost.

    Raises:
        BrokenError: with what could be had in `found`.
    """
    delta_ms, at = varint(body, at + 1, end)
    timestamp = batch.newest_ms if batch.is_append_time else batch.first_ms + delta_ms
    if NO_TIME_MS <= timestamp <= _MAX_TIME_MS:
        found.timestamp = timestamp
    delta, at = varint(body, at, end)
    offset = batch.base_offset + delta
    # Compaction leaves holes; what it never does is to change the order or to leave the batch.
    if offsets[0] <= offset <= offsets[1]:
        found.offset = offset
    found.key, at = sized_bytes(body, at, end)
    found.value, at = sized_bytes(body, at, end)
    cost = _read_headers(body, at, end, found, room)
    if found.timestamp != timestamp:
        message = f"claims a time of {timestamp} ms"
        raise BrokenError(message)
    if found.offset != offset:
        message = f"claims offset {offset}, expected {offsets[0]}-{offsets[1]}"
        raise BrokenError(message)
    return cost


def _read_headers(body: bytes, at: int, end: int, found: _Found, room: int) -> int:
    count, at = varint(body, at, end)
    if not 0 <= count <= (end - at) // _LEAST_HEADER_BYTES:
        message = f"claims {count} headers in {end - at} bytes"
        raise BrokenError(message)
    cost = count * HEADER_BYTES
    if cost > room:
        found.reason, found.flaw = "headers", f"{count} headers are more than its batch has room for"
        return 0
    for _ in range(count):
        name, at = sized_bytes(body, at, end)
        # Kafka's own client, and aiokafka's, take any negative length of a header's value for none.
        content, at = sized_bytes(body, at, end, is_any_negative_none=True)
        if name is None:
            message = "a header has no name"
            raise BrokenError(message)
        try:
            found.headers.append((name.decode(), content))
        except UnicodeDecodeError:
            # As Python writes bytes: whatever is in it, only ASCII that can be printed comes out.
            found.reason, found.flaw = "headers", f"expected a name in UTF-8, found {name[:_SHOWN_BYTES]!r}"
    if at != end:
        message = f"{end - at} bytes are left over"
        raise BrokenError(message)
    return cost


def _record(found: _Found, batch: Batch, tp: TopicPartition) -> ConsumerRecord[bytes, bytes] | UnreadableRecord:
    key, value = found.key, found.value
    if not found.reason:
        return _sound(found.offset, found.timestamp, key, value, tuple(found.headers), batch, tp)
    return UnreadableRecord(
        topic=tp.topic,
        partition=tp.partition,
        offset=found.offset,
        first_offset=found.offset,
        timestamp=found.timestamp,
        reason=found.reason,
        detail=found.flaw,
        key=key,
        value=value,
        headers=tuple(found.headers),
    )


def _sound(
    offset: int,
    timestamp: int,
    key: bytes | None,
    value: bytes | None,
    headers: tuple[tuple[str, bytes | None], ...],
    batch: Batch,
    tp: TopicPartition,
) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord(
        tp.topic,
        tp.partition,
        offset,
        timestamp,
        int(batch.is_append_time),
        key,
        value,
        None,
        -1 if key is None else len(key),
        -1 if value is None else len(value),
        headers,
    )
