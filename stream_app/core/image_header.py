"""Image headers: the first bytes of an image in, its format and dimensions out, without decoding a pixel.

A pure function over bytes. It never reads beyond them and raises nothing but ``ImageHeaderError``; a picture that
claims 16,000 x 16,000 pixels costs no more than a small one. What the header claims may be a lie: decoding is bounded
elsewhere.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import NamedTuple


class ImageHeader(NamedTuple):
    """Format (``jpeg``, ``png`` or ``webp``) and dimensions in pixels as the header states them, both at least 1."""

    format: str
    width: int
    height: int


class ImageHeaderError(ValueError):
    """The bytes do not begin like a JPEG, PNG or WebP image, or end before the dimensions."""


_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_START = Struct(">8xI4sII")
_BIG_ENDIAN_16 = Struct(">H").unpack_from
# Frame header: length 16, precision 8, height 16, width 16.
_FRAME_SIZE = Struct(">HH").unpack_from
_LITTLE_ENDIAN_16_PAIR = Struct("<HH").unpack_from
_LITTLE_ENDIAN_32 = Struct("<I").unpack_from

# A megabyte of fill bytes must not cost a million steps of Python.
_FILL = re.compile(rb"\xff+").match

# Start-of-frame markers: C0-CF without C4 (Huffman tables), C8 (reserved) and CC (arithmetic conditioning).
_IS_FRAME = bytes(0xC0 <= code <= 0xCF and code not in {0xC4, 0xC8, 0xCC} for code in range(256))
# Markers that carry no length: TEM and the restart markers.
_IS_BARE = bytes(code == 0x01 or 0xD0 <= code <= 0xD7 for code in range(256))
# Once the scan or the end begins, no frame header can follow.
_IS_END = bytes(code in {0xD9, 0xDA} for code in range(256))
# Real files have some twenty segments before the frame; a file of nothing but empty ones must not cost milliseconds.
_MAX_SEGMENTS = 1000


def read_image_header(data: bytes) -> ImageHeader:
    """Read format and dimensions of a JPEG, PNG or WebP image.

    Args:
        data: the image's bytes, whole or cut off anywhere.

    Returns:
        What the header states. For an animated WebP the size of its canvas.

    Raises:
        ImageHeaderError: if the bytes are none of the three or end before the dimensions.
    """
    if data[:2] == b"\xff\xd8":
        return _read_jpeg(data)
    if data[:8] == _PNG:
        return _read_png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _read_webp(data)
    if not data:
        raise ImageHeaderError("empty")
    raise ImageHeaderError("neither JPEG nor PNG nor WebP")


def _checked(kind: str, width: int, height: int) -> ImageHeader:
    if not width or not height:
        raise ImageHeaderError(f"{kind} of {width}x{height} pixels")
    return ImageHeader(kind, width, height)


def _read_jpeg(data: bytes) -> ImageHeader:
    size = len(data)
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > size:
            raise ImageHeaderError("JPEG ends before its frame header")
        code = data[at + 1]
        if data[at] != 0xFF or code == 0xFF:
            at = _next_marker(data, at)
            continue
        if _IS_FRAME[code]:
            if at + 9 > size:
                raise ImageHeaderError("JPEG ends within its frame header")
            height, width = _FRAME_SIZE(data, at + 5)
            return _checked("jpeg", width, height)
        if _IS_END[code]:
            raise ImageHeaderError("JPEG has no frame header before its scan or end")
        if _IS_BARE[code] or not code:
            at += 2
            continue
        length = _BIG_ENDIAN_16(data, at + 2)[0]
        if length < 2:
            raise ImageHeaderError(f"JPEG segment of length {length}")
        at += 2 + length
    raise ImageHeaderError(f"JPEG with more than {_MAX_SEGMENTS} segments before its frame header")


def _next_marker(data: bytes, at: int) -> int:
    """Skip stray bytes, as decoders do, and fill bytes; return the place of the FF that starts the next marker."""
    start = data.find(b"\xff", at)
    if start < 0:
        return len(data)
    run = _FILL(data, start)
    return run.end() - 1 if run else start


def _read_png(data: bytes) -> ImageHeader:
    if len(data) < _PNG_START.size:
        raise ImageHeaderError("PNG ends within its header")
    _, chunk, width, height = _PNG_START.unpack_from(data)
    if chunk != b"IHDR":
        raise ImageHeaderError("PNG does not begin with IHDR")
    return _checked("png", width, height)


def _read_webp(data: bytes) -> ImageHeader:
    chunk = data[12:16]
    if len(data) < 30 and not (chunk == b"VP8L" and len(data) >= 25):
        raise ImageHeaderError("WebP ends within its header")
    if chunk == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise ImageHeaderError("WebP without the start code of its key frame")
        width, height = _LITTLE_ENDIAN_16_PAIR(data, 26)
        return _checked("webp", width & 0x3FFF, height & 0x3FFF)
    if chunk == b"VP8L":
        if data[20] != 0x2F:
            raise ImageHeaderError("WebP without the signature of its lossless stream")
        bits = _LITTLE_ENDIAN_32(data, 21)[0]
        return _checked("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if chunk == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        return _checked("webp", width, int.from_bytes(data[27:30], "little") + 1)
    raise ImageHeaderError("WebP without a VP8, VP8L or VP8X chunk")
