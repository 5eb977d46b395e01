"""Digests of what a step took in and put out, so that a recording can be told from what was there when it was live.

In: the parts of a record or a message. Out: BLAKE2b digests of 16 bytes. Parts are framed by MessagePack, which writes
every length, and a missing part otherwise than an empty one; the form is stated in docs/wire.md.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from stream_app.core.types import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.core.types import RawRecord, Side

    Headers = Iterable[tuple[str, bytes | None]]

_SIZE = 16
_frame = msgspec.msgpack.Encoder().encode


def record_digest(side: Side, raw: RawRecord) -> bytes:
    """Return the digest of an input record: side, offset, append time, key, value and headers.

    What stands for bytes that no client can read is named by its reason and the offsets that are lost, too.
    """
    parts = (side, raw.offset, raw.timestamp, raw.key, raw.value, raw.headers)
    if isinstance(raw, Unreadable):
        return blake2b(_frame((*parts, raw.reason, raw.detail, raw.first_offset)), digest_size=_SIZE).digest()
    return blake2b(_frame(parts), digest_size=_SIZE).digest()


def digest_of_all(digests: bytes | bytearray) -> str:
    """Return the digest of the digests of a step's records, one behind the other, as hexadecimal."""
    return blake2b(digests, digest_size=_SIZE).hexdigest()


class OutputDigest:
    """The digest of a step's messages: topic, key, value and headers of each, in their order."""

    __slots__ = ("_digest",)

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=_SIZE)

    def add(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Take the next message."""
        self._digest.update(_frame((topic, key, value, headers)))

    @property
    def hex(self) -> str:
        """The digest of all messages so far, as hexadecimal."""
        return self._digest.hexdigest()
