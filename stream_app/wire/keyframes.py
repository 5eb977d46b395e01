"""Keyframes as they stand in the journal: a checkpoint beside the cut that it describes.

In: the value of a journal record. Out: the bytes of the checkpoint, or None where it has none.
"""

from __future__ import annotations

import msgspec


class _Keyframe(msgspec.Struct, frozen=True):
    checkpoint: bytes


class _Keyed(msgspec.Struct, frozen=True):
    keyframe: _Keyframe | None = None


def keyframe_in(value: bytes) -> bytes | None:
    """Return the checkpoint that a journal record carries, for :func:`stream_app.core.checkpoint.decode_checkpoint`.

    Args:
        value: of a record that was read as a record of the journal before.
    """
    keyframe = msgspec.json.decode(value, type=_Keyed).keyframe
    return None if keyframe is None else keyframe.checkpoint
