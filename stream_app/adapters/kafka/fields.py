"""The fields of a record in a batch: numbers, and bytes behind their length.

In: bytes, where a field begins and where they end. Out: its value and where the next one begins, or `BrokenError`.
"""

from __future__ import annotations

from typing import Final

_VARINT_BYTES: Final = 10


class BrokenError(Exception):
    """The bytes are not what the format says. Whoever unpacks a batch says so in its record's place."""


def sized_bytes(body: bytes, at: int, end: int, *, is_any_negative_none: bool = False) -> tuple[bytes | None, int]:
    """Read bytes behind their length; None for the length that stands for none."""
    size, at = varint(body, at, end)
    if size == -1 or (size < 0 and is_any_negative_none):
        return None, at
    if not 0 <= size <= end - at:
        message = f"a length of {size} bytes, where {end - at} are left"
        raise BrokenError(message)
    return body[at : at + size], at + size


def varint(body: bytes, at: int, end: int) -> tuple[int, int]:
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
    raise BrokenError(message)


def record_length(body: bytes, at: int, end: int) -> tuple[int, int]:
    """Read the length of a record, which is never 0."""
    length, at = varint(body, at, end)
    if not 0 < length <= end - at:
        message = f"a record claims {length} bytes of {end - at}"
        raise BrokenError(message)
    return length, at
