"""What a decode pool and its children say to each other over a socket. Both sides import it, so it stays light.

Parent to child, once: a length-prefixed JSON ``ChildSettings``. Then requests: a count (u32), that many sizes (u32),
then the image files. Child to parent, once: a ready reply. Then one reply per image, in order: status (u8), height
(u32), width (u32), payload size (u32), payload (RGB pixels, or UTF-8 words on a failure).
"""

from __future__ import annotations

from struct import Struct

import msgspec

from stream_app.bundle.manifest import ImageSpec

SIZE = Struct("<I")
REPLY = Struct("<BIII")

READY, PIXELS, UNDECODABLE, TOO_LARGE, FAILED = range(5)


class ChildSettings(msgspec.Struct, frozen=True):
    """What a child needs to know.

    ``decode`` names a function (bytes, ImageSpec) -> uint8 [h, w, 3] as ``module:function``. ``memory_bytes`` is what
    decoding may take on top of what the process has after its imports. ``parent_pid`` is whose death ends the child.
    """

    spec: ImageSpec
    decode: str
    memory_bytes: int
    parent_pid: int


def encode_request(images: list[bytes]) -> list[bytes]:
    """Return the parts of a request, to be written one after the other without joining megabytes."""
    return [SIZE.pack(len(images)) + b"".join(SIZE.pack(len(image)) for image in images), *images]
