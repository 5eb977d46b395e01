"""Image preparation shared by training and serving: encoded bytes in, uint8 [H, W, 3] RGB of the model's size out.

It must not know where bytes come from, nor limits of time and memory: those belong to the decode pool. Decode
untrusted bytes only in a process that may die. Orientation tags are ignored (a camera's pixels are taken as they
are), alpha is dropped, grey becomes three equal channels, 16-bit samples become 8-bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg

from stream_app.core.image_header import ImageHeaderError, read_image_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream_app.bundle.manifest import ImageSpec

# Cameras put stray bytes between scans and markers, leave the spectral range of a sequential scan at 0, or write odd
# versions and colour profiles. The pixels are whole; libjpeg only remarks on it.
_HARMLESS = (
    "extraneous bytes before marker",
    "Invalid SOS parameters for sequential JPEG",
    "unknown JFIF revision number",
    "bad ICC marker",
)
_CV2_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


class ImageError(ValueError):
    """The bytes are no image that can be decoded whole."""


def decode_image(data: bytes, spec: ImageSpec) -> NDArray[np.uint8]:
    """Decode an image and bring it to the size of the model.

    A JPEG is decoded at the smallest of libjpeg's scales (1/8 ... 1) that is not below the target on either side,
    then resized; the result of a scaled decode differs from that of a full one, so training must come this way too.

    Args:
        data: JPEG, PNG or WebP bytes.
        spec: the target.

    Returns:
        uint8 [spec.height, spec.width, 3], RGB, C-contiguous.

    Raises:
        ImageError: if the bytes cannot be decoded whole; a truncated image is never half accepted.
    """
    try:
        header = read_image_header(data)
    except ImageHeaderError as error:
        raise ImageError(str(error)) from error
    if header.format == "jpeg":
        return prepare_image(_decode_jpeg(data, min_height=spec.height, min_width=spec.width), spec)
    return prepare_image(_decode_other(data), spec)


def prepare_image(rgb: NDArray[np.uint8], spec: ImageSpec) -> NDArray[np.uint8]:
    """Bring decoded pixels to the size of the model by "area-stretch": area averaging, aspect ratio not kept.

    Args:
        rgb: uint8 [h, w, 3], any size.
        spec: the target.

    Returns:
        uint8 [spec.height, spec.width, 3], C-contiguous; ``rgb`` itself where it fits already.

    Raises:
        ImageError: if ``rgb`` is not uint8 [h, w, 3] with at least one pixel.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        message = f"expected uint8 [h, w, 3], found {rgb.dtype} {list(rgb.shape)}"
        raise ImageError(message)
    if rgb.shape[:2] == (spec.height, spec.width):
        return np.ascontiguousarray(rgb)
    resized = cv2.resize(rgb, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(resized, dtype=np.uint8)


def self_check_image(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Draw the image of a self-check case, the same on every machine.

    Args:
        seed: any integer.
        height: rows.
        width: columns.

    Returns:
        uint8 [height, width, 3] with pixel (seed*97 + y*31 + x*17 + c*59 + (x*y) % 251) % 256.
    """
    y, x, c = np.ogrid[:height, :width, :3]
    pixels: NDArray[np.uint8] = ((seed * 97 + y * 31 + x * 17 + c * 59 + (x * y) % 251) % 256).astype(np.uint8)
    return pixels


def _decode_jpeg(data: bytes, *, min_height: int, min_width: int) -> NDArray[np.uint8]:
    try:
        _, _, colour_space, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        if colour_space not in {"CMYK", "YCCK"}:
            pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", min_height=min_height, min_width=min_width)
            return np.asarray(pixels, dtype=np.uint8)
    except KeyError as error:  # simplejpeg does not know the colour space or sampling; it says the number alone
        message = f"a JPEG that is truncated in its headers, or of an unknown colour space or sampling ({error})"
        raise ImageError(message) from error
    except ValueError as error:
        # The decode stopped at the first remark, so a truncation behind it was not seen: look for the end marker.
        is_harmless = any(remark in str(error) for remark in _HARMLESS)
        if not is_harmless or b"\xff\xd9" not in data[-1024:]:
            raise ImageError(str(error)) from error
    return _decode_other(data)


def _decode_other(data: bytes) -> NDArray[np.uint8]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), _CV2_FLAGS)
    except cv2.error as error:
        raise ImageError(str(error).strip()) from error
    if pixels is None:
        message = "not decodable"
        raise ImageError(message)
    return np.asarray(pixels, dtype=np.uint8)
