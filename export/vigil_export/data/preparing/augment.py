"""What happens to pictures of surveillance cameras: night, dirt, blur, noise, compression. Pictures in, pictures out.

For training alone. The order is that of a camera: scene, lens, sensor, encoder. It must not know labels or models.

Shapes: `b` pictures, `h`, `w` of a picture.
"""

from __future__ import annotations

import re
from typing import Annotated

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""uint8 [h, w, 3], RGB."""

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_SIDE = re.compile(r"\b(?:left|right|leftmost|rightmost|lefthand|righthand)\b|[左右]", re.IGNORECASE)


class AugmentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which share of the pictures each effect changes.

    Attributes:
        flip: Mirrored left to right, where the text permits it (`names_side`).
        exposure: Brighter or darker, with more or less contrast.
        night: Dark, and at times grey as under infrared light.
        occlusion: A patch that hides up to a fifth: dirt, a leaf, spray (Zhong et al. 2017, arXiv:1708.04896).
        blur: Out of focus, or moved.
        noise: Of a sensor at high gain.
        jpeg: Compressed once more, at a quality of 15 to 60.
    """

    flip: _Share = 0.5
    exposure: _Share = 0.5
    night: _Share = 0.1
    occlusion: _Share = 0.1
    blur: _Share = 0.1
    noise: _Share = 0.2
    jpeg: _Share = 0.2


def names_side(text: str) -> bool:
    """Whether a text may tell left from right (English, Chinese), so that its picture must not be mirrored.

    It rather says yes: "a bag was left behind" counts too. A wrong yes costs a mirrored picture, a wrong no teaches a
    false sentence.
    """
    return _SIDE.search(text) is not None


def augment(
    images: npt.NDArray[np.uint8], *, spec: AugmentSpec, rng: np.random.Generator, may_flip: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Change pictures as cameras do.

    Args:
        images: uint8 [b, h, w, 3], RGB; left as they are.
        spec: How often.
        rng: Decides what happens to which; equal states give equal pictures.
        may_flip: bool [b]: may it be mirrored? Only if no text of the picture names a side.

    Returns:
        uint8 [b, h, w, 3], C-contiguous.
    """
    changed = np.array(images, order="C")
    chance = rng.random((len(images), 1 + len(_EFFECTS)))
    for place, picture in enumerate(images):
        found = picture[:, ::-1] if chance[place, 0] < spec.flip and may_flip[place] else picture
        for number, (name, effect) in enumerate(_EFFECTS.items(), start=1):
            if chance[place, number] < getattr(spec, name):
                found = effect(np.ascontiguousarray(found), rng)
        changed[place] = found
    return changed


def _clipped(values: npt.NDArray[np.float32]) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def expose(picture: Picture, rng: np.random.Generator) -> Picture:
    """Change brightness by up to a third and contrast by up to a quarter."""
    mean = np.float32(picture.mean())
    gain, contrast = np.float32(rng.uniform(0.7, 1.35)), np.float32(rng.uniform(0.8, 1.25))
    return _clipped(((picture.astype(np.float32) - mean) * contrast + mean) * gain)


def darken(picture: Picture, rng: np.random.Generator) -> Picture:
    """Turn day into night: gamma 1.5 to 2.5, 30 to 80 % of the light, noise; every other one without colour."""
    light = np.power(picture / np.float32(255), np.float32(rng.uniform(1.5, 2.5)), dtype=np.float32)
    if rng.random() < 0.5:
        light = np.repeat(light.mean(2, keepdims=True, dtype=np.float32), 3, 2)
    lamp = np.float32(rng.uniform(0.3, 0.8))
    return add_noise(_clipped(light * lamp * 255), rng)


def occlude(picture: Picture, rng: np.random.Generator) -> Picture:
    """Hide a rectangle of 2 to 20 % of the picture behind one colour."""
    height, width = picture.shape[:2]
    area, ratio = rng.uniform(0.02, 0.2), np.exp(rng.uniform(-1, 1))
    rows = min(height, max(1, int(height * np.sqrt(area * ratio))))
    columns = min(width, max(1, int(width * np.sqrt(area / ratio))))
    top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
    hidden = picture.copy()
    hidden[top : top + rows, left : left + columns] = rng.integers(0, 256, 3, dtype=np.uint8)
    return hidden


def blur(picture: Picture, rng: np.random.Generator) -> Picture:
    """Blur by up to 2 % of the height: out of focus, or moved along a row or a column."""
    reach = max(1, round(picture.shape[0] * rng.uniform(0.005, 0.02)))
    size = 2 * reach + 1
    kind = rng.integers(0, 3)
    if kind == 0:
        return np.asarray(cv2.GaussianBlur(picture, (size, size), 0), np.uint8)
    return np.asarray(cv2.blur(picture, (size, 1) if kind == 1 else (1, size)), np.uint8)


def add_noise(picture: Picture, rng: np.random.Generator) -> Picture:
    """Add the noise of a sensor, normal with a deviation of 3 to 18 levels."""
    deviation = rng.uniform(3, 18)
    grain = rng.standard_normal(picture.shape, np.float32) * np.float32(deviation)
    return _clipped(picture.astype(np.float32) + grain)


def compress(picture: Picture, rng: np.random.Generator) -> Picture:
    """Write it as a JPEG of quality 15 to 60 and read it again."""
    quality = int(rng.integers(15, 61))
    _, data = cv2.imencode(".jpg", picture[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


_EFFECTS = {
    "exposure": expose,
    "night": darken,
    "occlusion": occlude,
    "blur": blur,
    "noise": add_noise,
    "jpeg": compress,
}
