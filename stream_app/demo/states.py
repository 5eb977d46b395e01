"""A task's checkpoint as the demo reads it: by the form that docs/wire.md publishes, not by the code that wrote it."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

_SCHEMA = 2
_HELD = 1


def read_state(value: bytes) -> dict[str, Any]:
    """Read a checkpoint's fields by their names.

    Raises:
        ValueError: if it is of another schema, or damaged.
    """
    if value[0] != _SCHEMA:
        message = f"checkpoint schema: expected {_SCHEMA}, found {value[0]}"
        raise ValueError(message)
    try:
        fields: dict[str, Any] = msgspec.msgpack.decode(zlib.decompress(value[1:]))
    except zlib.error as error:
        message = f"a checkpoint cannot be unpacked: {error}"
        raise ValueError(message) from error
    return fields


def count_held(state: dict[str, Any]) -> int:
    """Return how many records the window of a checkpoint holds."""
    return sum(1 for side in ("texts", "frames") for _, marks in state[side] for mark in marks if mark & _HELD)
