"""Record batches as a broker sends them, unpacked record by record, whatever they hold.

In: the bytes of a fetch response for one partition. Out: records, and an `Unreadable` in the place of each record, or
rest of a batch, that cannot be read. A pure function of a batch's bytes and the bound: whoever reads it, and however
often, gets the same. Nothing in the bytes is believed: neither lengths nor counts nor offsets.

The format: https://kafka.apache.org/documentation/#messageformat
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

import msgspec
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch

from stream_app.adapters.kafka.inflate import CODECS, InflateError, TooLargeError, inflate
from stream_app.core.types import BATCH_REASONS, NO_TIME_MS, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a record costs in memory beside its bytes, and what a header does: a batch of empty ones is a bomb too.
RECORD_BYTES: Final = 512
HEADER_BYTES: Final = 128
CRC, FORMAT, CODEC, SIZE = BATCH_REASONS

# Base offset 8 bytes, length 4 (of what follows), leader epoch 4, magic 1, CRC 4; then what the CRC covers: attributes
# 2, last offset delta 4, first and newest timestamp 8 each, producer id 8, epoch 2, base sequence 4, records 4.
_HEAD: Final = Struct(">qiibIhiqqqhii")
HEAD_BYTES: Final = _HEAD.size
COVERED_FROM: Final = 21
_LENGTH: Final = Struct(">qi")
#: All formats have the magic at the same place.
_MAGIC_AT: Final = 16
_BEFORE_LENGTH_COUNTS: Final = 12
_MAGIC: Final = 2
_CODEC_MASK, _IS_APPEND_TIME, _IS_TRANSACTIONAL, _IS_CONTROL = 0x07, 0x08, 0x10, 0x20
#: The last time that RFC 3339 can write.
_MAX_TIME_MS: Final = 253_402_300_799_999
_VARINT_BYTES: Final = 10
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


class Batch(msgspec.Struct, frozen=True):
    """The head of a batch, and where its bytes are: `begin` to `end` of the response. ``flaw``: it has no such head."""

    begin: int
    end: int
    base_offset: int
    crc: int = 0
    attributes: int = 0
    last_offset: int = 0
    first_ms: int = NO_TIME_MS
    newest_ms: int = NO_TIME_MS
    producer_id: int = -1
    count: int = 0
    flaw: str = ""

    @property
    def is_transactional(self) -> bool:
        """Whether it belongs to a transaction."""
        return bool(self.attributes & _IS_TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether it is a transaction's marker, which is no record."""
        return bool(self.attributes & _IS_CONTROL)


class _BrokenError(Exception):
    """The bytes of a record are not what the format says; never leaves this module."""


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


def split(records: bytes) -> Iterator[Batch]:
    """Yield the whole batches of a response; the last one may be cut off, and is fetched again then."""
    at, size = 0, len(records)
    while at + _MAGIC_AT < size:
        base_offset, length = _LENGTH.unpack_from(records, at)
        end = at + _BEFORE_LENGTH_COUNTS + length
        if end > size:
            return
        magic = records[at + _MAGIC_AT]
        if length <= _MAGIC_AT - _BEFORE_LENGTH_COUNTS or (magic == _MAGIC and end - at < HEAD_BYTES):
            # Nobody knows where the next one begins.
            yield Batch(at, size, base_offset, last_offset=base_offset, flaw=f"claims a length of {length} bytes")
            return
        if magic != _MAGIC:
            flaw = f"expected message format {_MAGIC} (Kafka 0.11), found {magic}"
            yield Batch(at, end, base_offset, last_offset=base_offset, flaw=flaw)
        else:
            yield _batch(records, at, end)
        at = end


def _batch(records: bytes, at: int, end: int) -> Batch:
    base_offset, _, _, _, crc, attributes, last_delta, first_ms, newest_ms, producer_id, _, _, count = (
        _HEAD.unpack_from(records, at)
    )
    last_offset = base_offset + max(last_delta, 0)
    return Batch(at, end, base_offset, crc, attributes, last_offset, first_ms, newest_ms, producer_id, count)


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
        yield lost(batch, tp, CODEC, f"{CODECS.get(batch.attributes & _CODEC_MASK, 'codec')}: {error}")
        return
    except _BrokenError as error:
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
    head = _HEAD.pack(
        *(batch.base_offset, end - at + HEAD_BYTES - _BEFORE_LENGTH_COUNTS, 0, _MAGIC, 0),
        *(batch.attributes & ~_CODEC_MASK, 0, batch.first_ms, batch.newest_ms, -1, -1, -1, batch.count),
    )
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
            length, at = _record_length(body, at, end)
        except _BrokenError as error:
            yield lost(batch, tp, FORMAT, str(error), first_offset=lowest)
            return
        found = _Found(lowest)
        try:
            room -= _read(body, at, at + length, found, batch, (lowest, batch.last_offset - left), room)
        except _BrokenError as error:
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
        _BrokenError: if the head cannot be true.
    """
    if batch.flaw:
        raise _BrokenError(batch.flaw)
    most = batch.last_offset - batch.base_offset + 1
    if not 0 <= batch.count <= most:
        message = f"claims {batch.count} records for {most} offsets"
        raise _BrokenError(message)
    room = bound - batch.count * RECORD_BYTES
    if room <= 0:
        message = f"{batch.count} records take more than {bound} bytes unpacked"
        raise TooLargeError(message)
    begin = batch.begin + HEAD_BYTES
    codec = batch.attributes & _CODEC_MASK
    if codec:
        body = inflate(codec, records[begin : batch.end], room)
        return body, 0, len(body)
    if batch.end - begin > room:
        message = f"takes more than {bound} bytes unpacked"
        raise TooLargeError(message)
    return records, begin, batch.end


def _record_length(body: bytes, at: int, end: int) -> tuple[int, int]:
    length, at = _varint(body, at, end)
    if not 0 < length <= end - at:
        message = f"a record claims {length} bytes of {end - at}"
        raise _BrokenError(message)
    return length, at


def _read(body: bytes, at: int, end: int, found: _Found, batch: Batch, offsets: tuple[int, int], room: int) -> int:
    """Read one record into `found`; return what its headers cost.

    Raises:
        _BrokenError: with what could be had in `found`.
    """
    delta_ms, at = _varint(body, at + 1, end)
    timestamp = batch.newest_ms if batch.attributes & _IS_APPEND_TIME else batch.first_ms + delta_ms
    if NO_TIME_MS <= timestamp <= _MAX_TIME_MS:
        found.timestamp = timestamp
    delta, at = _varint(body, at, end)
    offset = batch.base_offset + delta
    # Compaction leaves holes; what it never does is to change the order or to leave the batch.
    if offsets[0] <= offset <= offsets[1]:
        found.offset = offset
    found.key, at = _bytes(body, at, end)
    found.value, at = _bytes(body, at, end)
    cost = _read_headers(body, at, end, found, room)
    if found.timestamp != timestamp:
        message = f"claims a time of {timestamp} ms"
        raise _BrokenError(message)
    if found.offset != offset:
        message = f"claims offset {offset}, expected {offsets[0]}-{offsets[1]}"
        raise _BrokenError(message)
    return cost


def _read_headers(body: bytes, at: int, end: int, found: _Found, room: int) -> int:
    count, at = _varint(body, at, end)
    if not 0 <= count <= (end - at) // _LEAST_HEADER_BYTES:
        message = f"claims {count} headers in {end - at} bytes"
        raise _BrokenError(message)
    cost = count * HEADER_BYTES
    if cost > room:
        found.reason, found.flaw = "headers", f"{count} headers are more than its batch has room for"
        return 0
    for _ in range(count):
        name, at = _bytes(body, at, end)
        # Kafka's own client, and aiokafka's, take any negative length of a header's value for none.
        content, at = _bytes(body, at, end, is_any_negative_none=True)
        if name is None:
            message = "a header has no name"
            raise _BrokenError(message)
        try:
            found.headers.append((name.decode(), content))
        except UnicodeDecodeError:
            # As Python writes bytes: whatever is in it, only ASCII that can be printed comes out.
            found.reason, found.flaw = "headers", f"expected a name in UTF-8, found {name[:_SHOWN_BYTES]!r}"
    if at != end:
        message = f"{end - at} bytes are left over"
        raise _BrokenError(message)
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
        1 if batch.attributes & _IS_APPEND_TIME else 0,
        key,
        value,
        None,
        -1 if key is None else len(key),
        -1 if value is None else len(value),
        headers,
    )


def _bytes(body: bytes, at: int, end: int, *, is_any_negative_none: bool = False) -> tuple[bytes | None, int]:
    size, at = _varint(body, at, end)
    if size == -1 or (size < 0 and is_any_negative_none):
        return None, at
    if not 0 <= size <= end - at:
        message = f"a length of {size} bytes, where {end - at} are left"
        raise _BrokenError(message)
    return body[at : at + size], at + size


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    """Read a zigzag number of at most 64 bits: https://protobuf.dev/programming-guides/encoding/#signed-ints."""
    if at < end:
        found = body[at]
        if found < 0x80:
            return (found >> 1) ^ -(found & 1), at + 1
        found &= 0x7F
        for place in range(1, min(_VARINT_BYTES, end - at)):
            byte = body[at + place]
            found |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return (found >> 1) ^ -(found & 1), at + place + 1
    message = "a number has no end"
    raise _BrokenError(message)
