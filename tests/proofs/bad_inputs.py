"""Bad inputs of all kinds, each with the reason that it has to be refused for: what is planted, not what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import msgspec
import numpy as np

from tests.proofs.rig import jpeg, now_ms, rfc3339

Side = Literal["frame", "text"]

#: The bounds that the deployment of these records runs with.
MAX_IMAGE_BYTES = 1024 * 1024
MAX_TEXT_BYTES = 8 * 1024
DECODE_MEMORY_MB = 64

#: Put on the worker's path as sitecustomize: in the decoding processes, and nowhere else, the decoder has two faults.
FAULTY_DECODER = """
import sys

if "stream_app.adapters.decoding.child" in sys.orig_argv:
    import os, signal, time
    from stream_app.bundle import image

    sound = image.decode_image

    def decode_image(data, spec):
        if b"KILLS ITS DECODER" in data:
            os.kill(os.getpid(), signal.SIGSEGV)
        if b"HANGS ITS DECODER" in data:
            time.sleep(3600)
        return sound(data, spec)

    image.decode_image = decode_image
"""


@dataclass(frozen=True)
class Bad:
    """A record that has to end in the dead letters for this reason. ``key`` None is a null key, '' the zone's own."""

    name: str
    side: Side
    reason: str
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    key: bytes | None = b""


def refused() -> list[Bad]:
    """Return what admission has to refuse: nothing of it is decoded, scored or held."""
    good, said = jpeg(), msgspec.json.encode({"text": "a fire"})
    now = rfc3339(now_ms())
    both: list[Bad] = []
    sides: tuple[tuple[Side, bytes], ...] = (("frame", good), ("text", said))
    for side, value in sides:
        both += [
            Bad("empty", side, "empty", b""),
            Bad("null", side, "empty", None),
            Bad("null key", side, "no-key", value, key=None),
            Bad("key that is not UTF-8", side, "key", value, key=b"\xff\xfe"),
            Bad("unparsable time", side, "time", value, (("ce_time", b"the day before yesterday"),)),
            Bad("time that does not exist", side, "time", value, (("ce_time", b"2026-02-30T12:00:00Z"),)),
            Bad("the year 2099", side, "ahead", value, (("ce_time", b"2099-01-01T00:00:00Z"),)),
            Bad("repeated header", side, "headers", value, (("ce_time", now), ("ce_time", now))),
            Bad("header that is not UTF-8", side, "headers", value, (("ce_time", now), ("ce_id", b"\xff"))),
            Bad("specversion", side, "specversion", value, (("ce_specversion", b"2.0"), ("ce_time", now))),
        ]
    return [
        *both,
        Bad("oversized image", "frame", "too-large", good + bytes(MAX_IMAGE_BYTES)),
        Bad("a header that says 16000 x 16000", "frame", "dimensions", claiming(16_000, 16_000)),
        Bad("no image", "frame", "not-an-image", b"GIF89a is not understood"),
        Bad("structured frame", "frame", "structured", good, (("content-type", b"application/cloudevents+json"),)),
        Bad("text that is not UTF-8", "text", "encoding", b"\xff\xfe\xfa fire"),
        Bad("white space", "text", "empty", b" \r\n\t "),
        Bad("oversized text", "text", "too-large", b"fire " * MAX_TEXT_BYTES),
        Bad("batch of events", "text", "structured", said, (("content-type", b"application/cloudevents-batch+json"),)),
    ]


def undecodable() -> list[Bad]:
    """Return pictures with sound headers that no decoder brings to pixels."""
    whole = jpeg(size=(640, 480))
    return [
        Bad("cut off", "frame", "undecodable", whole[: len(whole) // 2]),
        Bad("kills its decoder", "frame", "decode-crash", with_comment(whole, b"KILLS ITS DECODER")),
        Bad("hangs its decoder", "frame", "decode-timeout", with_comment(whole, b"HANGS ITS DECODER")),
        # OpenCV says of a lack of memory what it says of broken data: nothing.
        Bad("needs more memory than there is", "frame", "undecodable", huge_png()),
    ]


def claiming(width: int, height: int) -> bytes:
    """Return a small JPEG whose frame header claims this size."""
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def with_comment(data: bytes, comment: bytes) -> bytes:
    """Return a JPEG with a comment in it."""
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


@cache
def huge_png() -> bytes:
    """Return a small file of 24 million pixels: 72 MB when decoded."""
    picture = np.zeros((4_000, 6_000, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())
