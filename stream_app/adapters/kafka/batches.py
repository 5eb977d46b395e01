"""The heads of record batches, as a broker sends them: where each batch is and what it says of itself.

In: the bytes of a fetch response for one partition. Out: a `Batch` for each whole one, with a `flaw` where its head
cannot be one. What the heads say is not believed here, only passed on.

The format: https://kafka.apache.org/documentation/#messageformat
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

import msgspec

from stream_app.core.types import NO_TIME_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    def codec(self) -> int:
        """How its records are compressed: 0 for not at all."""
        return self.attributes & _CODEC_MASK

    @property
    def is_append_time(self) -> bool:
        """Whether its records have the broker's time, which is its newest one."""
        return bool(self.attributes & _IS_APPEND_TIME)

    @property
    def is_transactional(self) -> bool:
        """Whether it belongs to a transaction."""
        return bool(self.attributes & _IS_TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether it is a transaction's marker, which is no record."""
        return bool(self.attributes & _IS_CONTROL)


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


def head_of_unpacked(batch: Batch, body_bytes: int) -> bytes:
    """Return the head that a batch would have if its records, of so many bytes, had never been compressed."""
    return _HEAD.pack(
        *(batch.base_offset, body_bytes + HEAD_BYTES - _BEFORE_LENGTH_COUNTS, 0, _MAGIC, 0),
        *(batch.attributes & ~_CODEC_MASK, 0, batch.first_ms, batch.newest_ms, -1, -1, -1, batch.count),
    )
