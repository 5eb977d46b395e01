"""Checkpoints as bytes: every schema is read, the newest is written."""

from __future__ import annotations

import msgspec

from stream_app.core.checkpoint_1 import decode_checkpoint_1
from stream_app.core.checkpoint_2 import SCHEMA, decode_checkpoint_2, encode_checkpoint_2
from stream_app.core.checkpoint_state import (
    NO_RECORD_MS,
    Checkpoint,
    CheckpointError,
    NewerCheckpointError,
    TextState,
)

__all__ = [
    "NO_RECORD_MS",
    "SCHEMA",
    "Checkpoint",
    "CheckpointError",
    "NewerCheckpointError",
    "TextState",
    "decode_checkpoint",
    "encode_checkpoint",
]


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Encode a checkpoint; equal checkpoints give equal bytes where the same version of zlib packs them."""
    return encode_checkpoint_2(checkpoint)


def decode_checkpoint(data: bytes) -> Checkpoint:
    """Decode a checkpoint of any schema.

    Raises:
        NewerCheckpointError: if it is of a newer schema.
        CheckpointError: if it is damaged.
    """
    try:
        if data.startswith(b"{"):
            return decode_checkpoint_1(data)
        if data and data[0] == SCHEMA:
            return decode_checkpoint_2(data)
    except msgspec.DecodeError as error:
        message = f"checkpoint of {len(data)} bytes cannot be read: {error}"
        raise CheckpointError(message) from error
    if data and data[0] > SCHEMA:
        message = f"checkpoint schema: expected 1 or {SCHEMA}, found {data[0]}: a newer version of Vigil wrote it"
        raise NewerCheckpointError(message)
    found = f"{data[0]}" if data else "nothing"
    message = f"checkpoint schema: expected 1 or {SCHEMA}, found {found}"
    raise CheckpointError(message)
