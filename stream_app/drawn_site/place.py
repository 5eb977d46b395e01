"""Site, places and light. In: a seed and a view. Out: the empty yard as a picture, and its light.

The camera stands on a wall inside the yard and looks at the perimeter: near the open yard, then a fence with a gate
and a boom barrier, behind it a street and buildings. It must not know who walks there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from stream_app.drawn_site.figures import Colour, Frame, Point

FENCE_M = 9.2
"""Ground distance of the perimeter from the camera, metres; nearer is the yard, farther is public."""

FENCE_HEIGHT_M = 1.9

PLACES: tuple[str, ...] = ("gate", "dock", "car-park", "depot", "court")
"""Kinds of place; the backdrop behind the fence and the ground follow the kind."""


@dataclass(frozen=True, slots=True)
class View:
    """Where a camera stands and how it sees: a pinhole over flat ground.

    Attributes:
        width: Pixels.
        height: Pixels.
        focal_px: Focal length, pixels.
        above_m: Height of the camera over the ground, metres.
        horizon_px: Row of the horizon, pixels from the top.
        pan_m: Metres by which the camera stands to the right of the middle.
        is_mirrored: Seen from the other end of the yard: left and right change places.
    """

    width: int
    height: int
    focal_px: float
    above_m: float
    horizon_px: float
    pan_m: float
    is_mirrored: bool

    @property
    def facing(self) -> int:
        """1, or -1 where left and right are exchanged."""
        return -1 if self.is_mirrored else 1

    def scale(self, z_m: float) -> float:
        """Return pixels per metre at ground distance `z_m`."""
        return self.focal_px / z_m

    def ground(self, x_m: float, z_m: float, up_m: float = 0.0) -> Point:
        """Return the pixel of the point `x_m` right, `z_m` away, `up_m` over the ground."""
        scale = self.focal_px / z_m
        return (
            self.width / 2 + self.facing * (x_m - self.pan_m) * scale,
            self.horizon_px + (self.above_m - up_m) * scale,
        )


@dataclass(frozen=True, slots=True)
class Yard:
    """What is built at a place: the same for all cameras of a zone.

    Attributes:
        kind: One of `PLACES`.
        gate_m: Left and right end of the gate in the fence, metres.
        seed: Decides colours and furniture.
    """

    kind: str
    gate_m: tuple[float, float]
    seed: int


def build_yard(kind: str, seed: int) -> Yard:
    """Return the yard of that kind and seed; equal arguments give an equal yard."""
    rng = np.random.default_rng([seed, 11])
    left = float(rng.uniform(-2.6, 0.2))
    return Yard(kind, (left, left + 2.6), seed)


def _px(point: Point) -> tuple[int, int]:
    return round(point[0]), round(point[1])


def _box(
    canvas: Frame,
    view: View,
    left_right_m: tuple[float, float],
    z_m: float,
    low_high_m: tuple[float, float],
    colour: Colour,
) -> None:
    a = view.ground(left_right_m[0], z_m, low_high_m[0])
    b = view.ground(left_right_m[1], z_m, low_high_m[1])
    cv2.rectangle(canvas, _px(a), _px(b), colour, -1)


def _jitter(rng: np.random.Generator, colour: Colour, spread: int = 14) -> Colour:
    shift = rng.integers(-spread, spread + 1, 3)
    return cast("Colour", tuple(int(min(255, max(0, c + s))) for c, s in zip(colour, shift, strict=True)))


_GROUND: dict[str, Colour] = {
    "gate": (118, 122, 126),
    "dock": (140, 146, 150),
    "car-park": (92, 94, 98),
    "depot": (112, 128, 140),
    "court": (132, 148, 160),
}
_BACKDROP: dict[str, Colour] = {
    "gate": (120, 140, 165),
    "dock": (165, 165, 160),
    "car-park": (135, 130, 125),
    "depot": (95, 120, 150),
    "court": (130, 150, 190),
}


def _buildings(canvas: Frame, view: View, yard: Yard, rng: np.random.Generator) -> None:
    x_m = -16.0
    while x_m < 16:
        width_m, tall_m = rng.uniform(3, 7), rng.uniform(3.0, 6.5)
        wall = _jitter(rng, _BACKDROP[yard.kind], 28)
        _box(canvas, view, (x_m, x_m + width_m), 19.0, (0, tall_m), wall)
        pane = _jitter(rng, (95, 80, 70))
        for column in np.arange(x_m + 0.5, x_m + width_m - 0.9, 1.5):
            for row in np.arange(0.9, tall_m - 1.0, 1.6):
                _box(canvas, view, (column, column + 0.8), 19.0, (row, row + 0.9), pane)
        x_m += width_m + rng.uniform(0, 2.5)
    for _ in range(int(rng.integers(0, 4))):
        where, z_m = rng.uniform(-9, 9), rng.uniform(15, 17.5)
        _box(canvas, view, (where - 0.1, where + 0.1), z_m, (0, 1.6), (50, 70, 90))
        crown = _px(view.ground(where, z_m, 2.6))
        cv2.circle(
            canvas, crown, round(view.scale(z_m) * rng.uniform(0.8, 1.4)), _jitter(rng, (60, 110, 70)), -1, cv2.LINE_AA
        )


def _grounds(canvas: Frame, view: View, yard: Yard, rng: np.random.Generator) -> None:
    far, near = round(view.ground(0, FENCE_M)[1]), view.height
    colour = _jitter(rng, _GROUND[yard.kind])
    cv2.rectangle(canvas, (0, far), (view.width, near), colour, -1)
    street = _jitter(rng, (80, 80, 82))
    top, bottom = round(view.ground(0, 15.5)[1]), round(view.ground(0, 10.2)[1])
    cv2.rectangle(canvas, (0, top), (view.width, bottom), street, -1)
    for x_m in np.arange(-14, 14, 2.4):
        cv2.line(canvas, _px(view.ground(x_m, 12.6)), _px(view.ground(x_m + 1.2, 12.6)), (175, 175, 175), 1)
    if yard.kind in {"car-park", "dock", "court"}:
        line = _jitter(rng, (170, 175, 175) if yard.kind != "dock" else (60, 170, 190))
        step = 1.1 if yard.kind == "court" else 2.6
        for x_m in np.arange(-10, 10, step):
            cv2.line(canvas, _px(view.ground(x_m, FENCE_M - 0.4)), _px(view.ground(x_m, 4)), line, 1, cv2.LINE_AA)
    stain = canvas.copy()
    for _ in range(6):
        centre = _px(view.ground(rng.uniform(-5, 5), rng.uniform(4.2, 8.5)))
        wide = int(rng.integers(8, 40))
        cv2.ellipse(stain, centre, (wide, wide // 4), 0, 0, 360, _jitter(rng, colour, 22), -1, cv2.LINE_AA)
    cv2.addWeighted(stain, 0.6, canvas, 0.4, 0, canvas)


def _furniture(canvas: Frame, view: View, yard: Yard, rng: np.random.Generator) -> None:
    """Put things along the edges: a hut beside the gate, containers, bins, cones."""
    right = yard.gate_m[1] + 0.4
    if rng.random() < 0.75:
        hut = _jitter(rng, (150, 160, 150))
        _box(canvas, view, (right, right + 1.5), FENCE_M - 0.3, (0, 2.3), hut)
        _box(canvas, view, (right + 0.2, right + 1.3), FENCE_M - 0.3, (1.2, 1.9), (105, 90, 75))
    if rng.random() < 0.6:
        left = rng.uniform(-6.5, -4.2)
        _box(canvas, view, (left, left + 2.2), FENCE_M - 0.6, (0, 1.7), _jitter(rng, (140, 90, 60), 40))
    for _ in range(int(rng.integers(0, 3))):
        x_m, z_m = rng.choice([-1, 1]) * rng.uniform(2.9, 4.2), rng.uniform(6.5, 8.7)
        if rng.random() < 0.5:
            _box(canvas, view, (x_m, x_m + 0.45), z_m, (0, 0.8), _jitter(rng, (70, 80, 70)))
            _box(canvas, view, (x_m - 0.04, x_m + 0.49), z_m, (0.72, 0.82), (45, 45, 45))
        else:
            cone = [view.ground(x_m, z_m), view.ground(x_m + 0.36, z_m), view.ground(x_m + 0.18, z_m, 0.6)]
            cv2.fillConvexPoly(canvas, np.array([_px(p) for p in cone], np.int32), (50, 110, 220), cv2.LINE_AA)


def draw_backdrop(view: View, yard: Yard) -> Frame:
    """Draw the empty yard without its fence.

    Args:
        view: The camera.
        yard: The place.

    Returns:
        uint8 [view.height, view.width, 3], BGR, in full even light.
    """
    rng = np.random.default_rng([yard.seed, 12])
    canvas = np.empty((view.height, view.width, 3), np.uint8)
    sky_top, sky_low = np.array((220, 190, 160.0)), np.array((225, 218, 210.0))
    share = np.clip(np.arange(view.height) / max(view.horizon_px, 1), 0, 1)[:, None]
    canvas[:] = (sky_top + (sky_low - sky_top) * share).astype(np.uint8)[:, None, :]
    pavement = round(view.ground(0, 19.0)[1])
    cv2.rectangle(canvas, (0, pavement), (view.width, view.height), _jitter(rng, (140, 150, 150)), -1)
    _buildings(canvas, view, yard, rng)
    _grounds(canvas, view, yard, rng)
    _furniture(canvas, view, yard, rng)
    return canvas


def draw_fence(canvas: Frame, view: View, yard: Yard, *, gate_is_open: bool) -> None:
    """Draw the fence with its gate and boom barrier over what lies behind it.

    Args:
        canvas: Picture, uint8 [h, w, 3], BGR; drawn into.
        view: The camera.
        yard: The place.
        gate_is_open: The boom stands upright.
    """
    rail: Colour = (95, 98, 100) if yard.seed % 2 else (70, 95, 75)
    for left, right in ((-14.0, yard.gate_m[0]), (yard.gate_m[1], 14.0)):
        for x_m in np.arange(left, right, 0.42):
            cv2.line(
                canvas,
                _px(view.ground(x_m, FENCE_M)),
                _px(view.ground(x_m, FENCE_M, FENCE_HEIGHT_M)),
                rail,
                1,
                cv2.LINE_AA,
            )
        for up_m in (0.15, FENCE_HEIGHT_M):
            cv2.line(canvas, _px(view.ground(left, FENCE_M, up_m)), _px(view.ground(right, FENCE_M, up_m)), rail, 2)
    for end in yard.gate_m:
        _box(canvas, view, (end - 0.1, end + 0.1), FENCE_M, (0, FENCE_HEIGHT_M + 0.2), (60, 60, 62))
    _draw_boom(canvas, view, yard, gate_is_open=gate_is_open)


def _draw_boom(canvas: Frame, view: View, yard: Yard, *, gate_is_open: bool) -> None:
    start, end = yard.gate_m
    for part in range(6):
        near, far = (end - start) * part / 6, (end - start) * (part + 1) / 6
        colour: Colour = (50, 50, 215) if part % 2 else (240, 240, 240)
        if gate_is_open:
            a, b = view.ground(start, FENCE_M, 1 + near), view.ground(start, FENCE_M, 1 + far)
        else:
            a, b = view.ground(start + near, FENCE_M, 1.0), view.ground(start + far, FENCE_M, 1.0)
        cv2.line(canvas, _px(a), _px(b), colour, max(2, round(view.scale(FENCE_M) * 0.1)), cv2.LINE_AA)


def draw_light(view: View, *, seed: int, darkness: float) -> Frame:
    """Return the light that falls on each pixel.

    Args:
        view: The camera.
        seed: Decides where the lamps stand and whence the daylight comes.
        darkness: 0 is full day, 1 deep night.

    Returns:
        uint8 [view.height, view.width, 3]; 255 leaves a pixel as it is, 0 makes it black.
    """
    rng = np.random.default_rng([seed, 13])
    down, across = np.mgrid[0 : view.height, 0 : view.width].astype(np.float32)
    slope = rng.uniform(-0.22, 0.22) * (across / view.width - 0.5) + rng.uniform(-0.12, 0.12) * (down / view.height)
    level = (0.9 + slope) * (1 - 0.7 * darkness)
    light = np.repeat(level[:, :, None], 3, 2)
    light *= np.array((1 + 0.12 * darkness, 1.0, 1 - 0.12 * darkness), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        x_px, y_px = rng.uniform(0.1, 0.9) * view.width, rng.uniform(0.45, 0.85) * view.height
        spot = np.exp(-(((across - x_px) / (0.28 * view.width)) ** 2 + ((down - y_px) / (0.3 * view.height)) ** 2))
        light += spot[:, :, None] * np.array((0.34, 0.46, 0.52), np.float32) * darkness
    corner = ((across / view.width - 0.5) ** 2 + (down / view.height - 0.5) ** 2)[:, :, None]
    lit: Frame = np.clip((light * (1 - 0.45 * corner)) * 255, 8, 255).astype(np.uint8)
    return lit
