"""Pictures in the messages of other tools: Foxglove's and ROS's compressed images, in each encoding that is in use.

In: names of schema and encoding, and messages. Out: a picture's bytes and its own time. It must not know files.

CDR (ROS 2) and ROS 1 put these two messages down in a dozen bytes before the picture; so they are read here, and no
library that knows all of ROS is needed for it (docs/adr/0024).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from stream_app.adapters.recording.viewers import IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable

#: Kinds of CDR by the second byte of the head: plain CDR and plain CDR 2, big and little end first.
_ORDERS: Final = {0: ">", 1: "<", 6: ">", 7: "<"}


class ForeignImage(NamedTuple):
    """A picture; ``time_ms`` is its own time in ms since the Unix epoch, None where it was not set."""

    data: bytes
    time_ms: int | None


class ForeignImageError(ValueError):
    """A message is not what its schema says."""


class _JsonTime(msgspec.Struct):
    sec: int
    nsec: int = 0


class _JsonImage(msgspec.Struct):
    data: bytes
    timestamp: _JsonTime | None = None


def decoder_of(schema: str, encoding: str) -> Callable[[bytes], ForeignImage] | None:
    """Return what reads the pictures of a channel; None where it has none.

    Args:
        schema: its name.
        encoding: of the messages.

    The decoder raises ForeignImageError for a message that is damaged.
    """
    return _DECODERS.get((schema, encoding))


def _protobuf(message: bytes) -> ForeignImage:
    try:
        image = IMAGE.FromString(message)
    except DecodeError as error:
        raise ForeignImageError(str(error)) from error
    return ForeignImage(bytes(image.data), _ms(image.timestamp.seconds, image.timestamp.nanos))


def _json(message: bytes) -> ForeignImage:
    try:
        image = msgspec.json.decode(message, type=_JsonImage)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ForeignImageError(str(error)) from error
    time = image.timestamp
    return ForeignImage(image.data, None if time is None else _ms(time.sec, time.nsec))


def _ros1(message: bytes) -> ForeignImage:
    """Read a ``std_msgs/Header`` (sequence, time, frame), the format, the data: packed, little end first."""
    fields = _Fields(message, 0, "<", is_aligned=False)
    fields.number()
    time_ms = _ms(fields.number(), fields.number())
    fields.block()
    fields.block()
    return ForeignImage(fields.block(), time_ms)


def _cdr(message: bytes) -> ForeignImage:
    """Read a ``std_msgs/msg/Header`` (time, frame), the format, the data: aligned, by the order that the head says."""
    fields = _cdr_fields(message)
    time_ms = _ms(fields.number("i"), fields.number())
    fields.block()
    fields.block()
    return ForeignImage(fields.block(), time_ms)


def _foxglove_cdr(message: bytes) -> ForeignImage:
    """Read time, frame, data (and the format behind them)."""
    fields = _cdr_fields(message)
    time_ms = _ms(fields.number("i"), fields.number())
    fields.block()
    return ForeignImage(fields.block(), time_ms)


def _cdr_fields(message: bytes) -> _Fields:
    order = _ORDERS.get(message[1]) if len(message) >= _CDR_HEAD_BYTES and not message[0] else None
    if order is None:
        raise ForeignImageError(f"expected plain CDR, found the head {message[:_CDR_HEAD_BYTES].hex()!r}")
    return _Fields(message, _CDR_HEAD_BYTES, order, is_aligned=True)


class _Fields:
    """The fields of a message, one after the other."""

    def __init__(self, message: bytes, begin: int, order: str, *, is_aligned: bool) -> None:
        self._message = message
        self._begin = self._at = begin
        self._order = order
        self._is_aligned = is_aligned

    def number(self, code: str = "I") -> int:
        """Return the next 32 bits."""
        if self._is_aligned:
            self._at += -(self._at - self._begin) % 4
        try:
            (found,) = struct.unpack_from(self._order + code, self._message, self._at)
        except struct.error as error:
            raise ForeignImageError(f"it ends at byte {len(self._message)}") from error
        self._at += 4
        return int(found)

    def block(self) -> bytes:
        """Return the next string or sequence of bytes."""
        length = self.number()
        end = self._at + length
        if end > len(self._message):
            raise ForeignImageError(f"expected {length} bytes at {self._at}, found {len(self._message) - self._at}")
        found = self._message[self._at : end]
        self._at = end
        return found


def _ms(seconds: int, nanoseconds: int) -> int | None:
    return seconds * 1_000 + nanoseconds // 1_000_000 if seconds or nanoseconds else None


_CDR_HEAD_BYTES: Final = 4
_DECODERS: Final[dict[tuple[str, str], Callable[[bytes], ForeignImage]]] = {
    ("foxglove.CompressedImage", "protobuf"): _protobuf,
    ("foxglove.CompressedImage", "json"): _json,
    ("foxglove_msgs/msg/CompressedImage", "cdr"): _foxglove_cdr,
    ("sensor_msgs/CompressedImage", "ros1"): _ros1,
    ("sensor_msgs/msg/CompressedImage", "cdr"): _cdr,
    # As older writers of ROS 2 name it.
    ("sensor_msgs/CompressedImage", "cdr"): _cdr,
}
