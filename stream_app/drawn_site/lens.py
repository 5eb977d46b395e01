"""Site, lens and sensor. In: a picture as the light makes it. Out: the picture as a cheap camera delivers it.

It must not know what the picture shows.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from stream_app.drawn_site.figures import Frame

WIDTH, HEIGHT = 320, 240
FOULS: tuple[str, ...] = ("blur", "grain", "dirt", "glare", "blocked", "gloom")
"""What may spoil a picture for some seconds."""

FOUL_WINDOW_MS = 4000
_GRAIN_LEVEL = 32.0


def _grain_field() -> Frame:
    field = np.random.default_rng(5).normal(0, _GRAIN_LEVEL, (HEIGHT * 2, WIDTH * 2, 3))
    grain: Frame = np.clip(field + 128, 0, 255).astype(np.uint8)
    return grain


# Drawing fresh noise for every frame would take longer than all else: each frame gets another piece of one field.
_GRAIN = _grain_field()


def sense(frame: Frame, rng: np.random.Generator, *, grain: float, is_grey: bool) -> Frame:
    """Add the sensor's noise, and take the colours of a grey camera.

    Args:
        frame: uint8 [240, 320, 3], BGR.
        rng: Source of the noise.
        grain: Standard deviation of the noise, grey levels.
        is_grey: Three equal channels.

    Returns:
        A new picture of the same shape.
    """
    if is_grey:
        frame = cast("Frame", cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR))
    down, across = int(rng.integers(0, HEIGHT)), int(rng.integers(0, WIDTH))
    field = _GRAIN[down : down + HEIGHT, across : across + WIDTH]
    weight = grain / _GRAIN_LEVEL
    return cast("Frame", cv2.addWeighted(frame, 1.0, field, weight, -128 * weight))


def spoil(frame: Frame, kind: str | None, rng: np.random.Generator, *, grain: float) -> tuple[Frame, float]:
    """Spoil a picture.

    Args:
        frame: uint8 [240, 320, 3], BGR.
        kind: One of `FOULS`; None leaves the picture as it is.
        rng: Decides size and strength; equal for all frames of one window, so that dirt stays where it is.
        grain: Standard deviation of the sensor's noise without it, grey levels.

    Returns:
        The picture, and the noise to add to it.
    """
    if kind == "blur":
        width = 2 * int(rng.integers(4, 8)) + 1
        return cast("Frame", cv2.blur(frame, (width, width))), grain
    if kind == "grain":
        return frame, float(rng.uniform(30, 55))
    if kind == "gloom":
        return cast("Frame", cv2.convertScaleAbs(frame, alpha=float(rng.uniform(0.18, 0.4)))), grain + 12
    return (frame if kind is None else _cover(frame, kind, rng)), grain


def _cover(frame: Frame, kind: str, rng: np.random.Generator) -> Frame:
    """Lay dirt, glare or somebody's back before the lens over a picture."""
    over = frame.copy()
    if kind == "blocked":
        middle = int(rng.integers(70, WIDTH - 70))
        cv2.ellipse(
            over,
            (middle, HEIGHT + 20),
            (int(rng.integers(70, 120)), int(rng.integers(150, 230))),
            0,
            0,
            360,
            (45, 42, 50),
            -1,
        )
        return cast("Frame", cv2.blur(over, (5, 5)))
    if kind == "glare":
        centre = (int(rng.integers(40, WIDTH - 40)), int(rng.integers(30, HEIGHT - 60)))
        cv2.circle(over, centre, int(rng.integers(60, 110)), (235, 245, 250), -1)
        over = cast("Frame", cv2.blur(over, (61, 61)))
        return cast("Frame", cv2.addWeighted(over, 0.85, frame, 0.15, 0))
    for _ in range(int(rng.integers(6, 14))):
        spot = (int(rng.integers(0, WIDTH)), int(rng.integers(60, HEIGHT)))
        cv2.ellipse(
            over,
            spot,
            (int(rng.integers(12, 38)), int(rng.integers(10, 28))),
            int(rng.integers(0, 180)),
            0,
            360,
            (70, 80, 85),
            -1,
        )
    over = cast("Frame", cv2.blur(over, (13, 13)))
    return cast("Frame", cv2.addWeighted(over, 0.9, frame, 0.1, 0))
