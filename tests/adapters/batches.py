"""Record batches made by hand, sound and broken, as a broker would send them."""

from __future__ import annotations

import gzip
import io
import struct
from typing import TYPE_CHECKING

import cramjam
import google_crc32c
from aiokafka import codec as codecs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

APPENDED_MS = 1_700_000_000_000
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
COMPRESS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0, bytes),
    "gzip": (GZIP, codecs.gzip_encode),
    "snappy": (SNAPPY, lambda data: bytes(codecs.snappy_encode(data, xerial_compatible=False))),
    "snappy in blocks": (SNAPPY, codecs.snappy_encode),
    "lz4": (LZ4, codecs.lz4_encode),
    "zstd": (ZSTD, codecs.zstd_encode),
}


def varint(number: int) -> bytes:
    """Write a zigzag number of 64 bits."""
    left = (number << 1) ^ (number >> 63)
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def field(content: bytes | None, *, size: int | None = None) -> bytes:
    """Write bytes behind their length, or behind one that lies."""
    real = -1 if content is None else len(content)
    return varint(real if size is None else size) + (content or b"")


def record(
    delta: int,
    value: bytes | None = b"a fire",
    *,
    key: bytes | None = b"zone",
    headers: Sequence[tuple[bytes | None, bytes | None]] = (),
    delta_ms: int = 0,
    rest: bytes | None = None,
) -> bytes:
    """Write one record; `rest` replaces all from the key on."""
    told = b"".join(field(name) + field(content) for name, content in headers)
    if rest is None:
        rest = field(key) + field(value) + varint(len(headers)) + told
    body = b"\0" + varint(delta_ms) + varint(delta) + rest
    return varint(len(body)) + body


def batch(  # noqa: PLR0913 - every field of a head may lie
    records: Sequence[bytes],
    *,
    codec: str = "none",
    packed: bytes | None = None,
    base: int = 0,
    count: int | None = None,
    last_delta: int | None = None,
    attributes: int = 0x08,
    producer_id: int = -1,
    magic: int = 2,
    first_ms: int = APPENDED_MS,
    newest_ms: int = APPENDED_MS,
) -> bytes:
    """Write a batch with a good CRC; `packed` replaces its compressed records."""
    number, compress = COMPRESS[codec]
    body = compress(b"".join(records)) if packed is None else packed
    told = len(records) if count is None else count
    last = told - 1 if last_delta is None else last_delta
    covered = struct.pack(">hiqqqhii", attributes | number, last, first_ms, newest_ms, producer_id, 0, 0, told) + body
    crc = google_crc32c.value(covered)
    return struct.pack(">qiibI", base, len(covered) + 9, 0, magic, crc) + covered


def bomb(codec: str, size: int) -> bytes:
    """Compress so many zeros, in pieces that are small in memory."""
    return pack(codec, [bytes(1 << 20)] * (size >> 20))


def bomb_record(size: int) -> list[bytes]:
    """Return one sound record whose value is so many zeros, in pieces."""
    head = b"\0" + varint(0) + varint(0) + field(b"zone") + varint(size)
    tail = varint(0)
    return [varint(len(head) + size + len(tail)) + head, *[bytes(1 << 20)] * (size >> 20), tail]


def pack(codec: str, pieces: Sequence[bytes]) -> bytes:
    """Compress pieces one after the other, where the codec can."""
    if codec == "gzip":
        out = io.BytesIO()
        with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
            for piece in pieces:
                file.write(piece)
        return out.getvalue()
    if codec == "snappy":
        return bytes(cramjam.snappy.compress_raw(b"".join(pieces)))
    if codec == "snappy in blocks":
        blocks = [bytes(cramjam.snappy.compress_raw(piece)) for piece in pieces]
        told = [struct.pack(">i", len(block)) + block for block in blocks]
        return b"\x82SNAPPY\0\0\0\0\1\0\0\0\1" + b"".join(told)
    made = cramjam.lz4.Compressor(block_linked=False) if codec == "lz4" else cramjam.zstd.Compressor()
    for piece in pieces:
        made.compress(piece)
    return bytes(made.finish())
