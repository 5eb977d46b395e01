"""Decompression that never makes more bytes than it was allowed: a small batch may unpack to gigabytes.

In: a codec by its number in Kafka's batch attributes, compressed bytes, a bound. Out: the bytes, or an error. The bound
holds while it unpacks: no codec here trusts a length that its input claims, or makes the output first and looks then.
"""

from __future__ import annotations

import mmap
import zlib
from struct import Struct
from typing import TYPE_CHECKING, Final

import cramjam

if TYPE_CHECKING:
    from collections.abc import Callable

#: https://kafka.apache.org/documentation/#recordbatch, bits 0-2 of the attributes.
CODECS: Final = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}

_GZIP_WINDOW: Final = 31
#: Producers write one; each further one costs a copy of all that follows, and an empty one is 20 bytes.
_MAX_GZIP_MEMBERS: Final = 16
#: Java's snappy cuts its stream into blocks behind this header and two version numbers of 4 bytes:
#: https://github.com/xerial/snappy-java#compatibility-notes
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16
_BLOCK_LENGTH: Final = Struct(">i").unpack_from
#: What cramjam says of an output that is full.
_FULL: Final = "failed to write whole buffer"


class InflateError(ValueError):
    """The bytes are not what the codec writes. The message says what is wrong with them."""


class TooLargeError(InflateError):
    """The bytes unpack to more than the bound."""


def inflate(codec: int, packed: bytes, bound: int) -> bytes:
    """Unpack a batch.

    Args:
        codec: a key of :data:`CODECS`.
        packed: the compressed bytes.
        bound: the most bytes that may come out.

    Raises:
        TooLargeError: if more would come out.
        InflateError: if the codec is unknown or its input is broken.
    """
    inflate_with = _INFLATE.get(codec)
    if inflate_with is None:
        message = f"expected a codec of {', '.join(CODECS.values())}, found number {codec}"
        raise InflateError(message)
    return inflate_with(packed, bound)


def _gzip(packed: bytes, bound: int) -> bytes:
    parts: list[bytes] = []
    room = bound
    left = packed
    for _ in range(_MAX_GZIP_MEMBERS):
        member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            # One more than there is room for: 0 would mean no bound.
            part = member.decompress(left, room + 1)
        except zlib.error as error:
            raise InflateError(str(error)) from error
        if len(part) > room:
            raise _too_large(bound)
        if not member.eof:
            message = "gzip: the stream is truncated"
            raise InflateError(message)
        parts.append(part)
        room -= len(part)
        left = member.unused_data
        if not left:
            return b"".join(parts)
    message = f"gzip: expected at most {_MAX_GZIP_MEMBERS} members, found more"
    raise InflateError(message)


def _snappy(packed: bytes, bound: int) -> bytes:
    if not packed.startswith(_XERIAL):
        return _snappy_block(memoryview(packed), bound, bound)
    parts: list[bytes] = []
    blocks = memoryview(packed)
    room, at = bound, _XERIAL_HEADER_BYTES
    while at < len(blocks):
        begin = at + 4
        size = _BLOCK_LENGTH(blocks, at)[0] if begin <= len(blocks) else -1
        at = begin + size
        if size < 0 or at > len(blocks):
            message = f"snappy: a block claims {size} bytes of {len(blocks) - begin}"
            raise InflateError(message)
        part = _snappy_block(blocks[begin:at], room, bound)
        parts.append(part)
        room -= len(part)
    return b"".join(parts)


def _snappy_block(block: memoryview, room: int, bound: int) -> bytes:
    try:
        # What the block claims is what it allocates, and it may not unpack to anything else.
        if cramjam.snappy.decompress_raw_len(block) > room:
            raise _too_large(bound)
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise InflateError(str(error)) from error


def _lz4(packed: bytes, bound: int) -> bytes:
    return _into_room(cramjam.lz4.decompress_into, packed, bound)


def _zstd(packed: bytes, bound: int) -> bytes:
    return _into_room(cramjam.zstd.decompress_into, packed, bound)


def _into_room(decompress_into: Callable[[bytes, mmap.mmap], int], packed: bytes, bound: int) -> bytes:
    """Unpack into anonymous memory, of which the system gives only the pages that are written."""
    with mmap.mmap(-1, bound) as room:
        try:
            size = decompress_into(packed, room)
        except (cramjam.DecompressionError, OSError) as error:
            if _FULL in str(error):
                raise _too_large(bound) from error
            raise InflateError(str(error)) from error
        return room[:size]


def _too_large(bound: int) -> TooLargeError:
    return TooLargeError(f"unpacks to more than {bound} bytes")


_INFLATE: Final = {1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}
