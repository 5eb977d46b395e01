"""The image port: encoded bytes of untrusted origin in, pixels of the model's size or a named failure out.

Only types and the check that costs nothing. Decoding itself happens in child processes (``pool.py``), which may
die without harm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_app.core.image_header import ImageHeaderError, read_image_header

FailureReason = Literal["undecodable", "too-large", "decode-timeout", "decode-crash"]


@dataclass(frozen=True, slots=True)
class DecodeFailure:
    """An image that gave no pixels: the reason is counted and published, the detail is for the log."""

    reason: FailureReason
    detail: str


class ImageDecoder(Protocol):
    """Turns image files into pixels."""

    async def decode(self, data: bytes) -> NDArray[np.uint8] | DecodeFailure:
        """Return uint8 [H, W, 3] RGB of the model's size, or why there is none."""
        ...


@dataclass(frozen=True, slots=True)
class DecodeStats:
    """Counts since the start, and what waits now. ``lost_children`` died or were killed for hanging."""

    decoded: int = 0
    waiting: int = 0
    lost_children: int = 0
    failures: dict[str, int] = field(default_factory=dict)


def header_failure(data: bytes, *, max_pixels: int) -> DecodeFailure | None:
    """Judge an image by its header alone.

    Args:
        data: the image file.
        max_pixels: the largest width times height that may be decoded.

    Returns:
        ``undecodable`` for what is no image, ``too-large`` for too many pixels, None for what may be tried.
    """
    try:
        header = read_image_header(data)
    except ImageHeaderError as error:
        return DecodeFailure("undecodable", str(error))
    if header.width * header.height > max_pixels:
        return DecodeFailure("too-large", f"expected <= {max_pixels} pixels, found {header.width}x{header.height}")
    return None
