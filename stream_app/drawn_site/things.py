"""Site, drawing of things: vehicles, bags, flames, smoke, steam, lamps. In: a canvas, a place in pixels, a phase.

Out: ink on the canvas. It must not know whether a thing is an event or ordinary life.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from stream_app.drawn_site.figures import Colour, Frame, Point

PAINT: tuple[Colour, ...] = (
    (190, 190, 195),
    (40, 40, 45),
    (60, 50, 170),
    (150, 80, 40),
    (225, 225, 225),
    (60, 110, 70),
    (40, 130, 190),
)
BAGS: tuple[Colour, ...] = ((45, 40, 160), (140, 60, 35), (35, 35, 38), (40, 110, 60), (30, 120, 190))


def _soft_disc() -> npt.NDArray[np.float32]:
    down, across = np.mgrid[-1:1:64j, -1:1:64j]
    disc: npt.NDArray[np.float32] = np.clip(1 - (across**2 + down**2), 0, 1).astype(np.float32)
    return disc


_DISC = _soft_disc()


def draw_puff(canvas: Frame, centre: Point, radius: float, colour: Colour, *, strength: float) -> None:
    """Blend one soft ball of smoke, steam or light into the picture.

    Args:
        canvas: Picture, uint8 [h, w, 3], BGR; drawn into.
        centre: Pixel of the middle; may lie outside.
        radius: Pixels.
        colour: Colour where it is thickest.
        strength: 0-1, how much of the picture it covers in the middle.
    """
    size = max(2, round(2 * radius))
    left, top = round(centre[0] - radius), round(centre[1] - radius)
    x0, y0, x1, y1 = max(0, left), max(0, top), min(canvas.shape[1], left + size), min(canvas.shape[0], top + size)
    if x0 >= x1 or y0 >= y1:
        return
    alpha = cv2.resize(_DISC, (size, size))[y0 - top : y1 - top, x0 - left : x1 - left, None] * strength
    region = canvas[y0:y1, x0:x1]
    region[:] = (region + (np.array(colour, np.float32) - region) * alpha).astype(np.uint8)


def draw_vehicle(canvas: Frame, foot: Point, *, scale: float, side: int, seed: int, lights_on: bool) -> None:
    """Draw a car, a van or a lorry from the side.

    Args:
        canvas: Picture, uint8 [h, w, 3], BGR; drawn into.
        foot: Pixel on the ground below its middle.
        scale: Pixels per metre.
        side: 1 when it faces right, -1 when it faces left.
        seed: Decides kind and paint.
        lights_on: Draw the head and tail lamps lit (they are part of the body; the beam is `draw_beam`).
    """
    rng = np.random.default_rng([seed, 21])
    kind = int(rng.integers(0, 3))
    paint = PAINT[int(rng.integers(0, len(PAINT)))]
    length, roof = ((4.2, 1.45), (4.8, 2.1), (5.4, 2.5))[kind]

    def at(along_m: float, up_m: float) -> tuple[int, int]:
        return round(foot[0] + side * along_m * scale), round(foot[1] - up_m * scale)

    def fill(corners: list[tuple[float, float]], colour: Colour) -> None:
        cv2.fillPoly(canvas, [np.array([at(*c) for c in corners], np.int32)], colour, cv2.LINE_AA)

    half = length / 2
    fill([(-half, 0.05), (half, 0.05), (half, 0.16), (-half, 0.16)], (35, 35, 38))
    glass: Colour = (110, 95, 80)
    if kind == 0:
        fill([(-half, 0.3), (half, 0.3), (half, 0.75), (half * 0.5, 0.88), (-half, 0.9)], paint)
        fill([(-half * 0.85, 0.88), (-half * 0.55, roof), (half * 0.15, roof), (half * 0.55, 0.86)], paint)
        fill([(-half * 0.7, 0.92), (-half * 0.5, roof - 0.1), (-half * 0.2, roof - 0.1), (-half * 0.2, 0.92)], glass)
        fill([(-half * 0.12, 0.92), (-half * 0.12, roof - 0.1), (half * 0.12, roof - 0.1), (half * 0.42, 0.92)], glass)
    else:
        cab = half * (0.45 if kind == 1 else 0.5)
        box: Colour = paint if kind == 1 else (215, 218, 220)
        fill([(-half, 0.3), (cab - 0.05, 0.3), (cab - 0.05, roof), (-half, roof)], box)
        fill([(cab, 0.3), (half, 0.3), (half, 1.0), (half * 0.8, 1.75), (cab, 1.8)], paint)
        fill([(cab + 0.1, 1.1), (half * 0.9, 1.1), (half * 0.76, 1.65), (cab + 0.1, 1.65)], glass)
    for along in (-half * 0.62, half * 0.62):
        cv2.circle(canvas, at(along, 0.33), max(2, round(0.35 * scale)), (25, 25, 28), -1, cv2.LINE_AA)
        cv2.circle(canvas, at(along, 0.33), max(1, round(0.17 * scale)), (150, 150, 155), -1, cv2.LINE_AA)
    front: Colour = (200, 250, 255) if lights_on else (205, 215, 215)
    cv2.circle(canvas, at(half - 0.08, 0.62), max(1, round(0.11 * scale)), front, -1, cv2.LINE_AA)
    cv2.circle(canvas, at(-half + 0.08, 0.7), max(1, round(0.09 * scale)), (40, 40, 220), -1, cv2.LINE_AA)


def draw_beam(canvas: Frame, foot: Point, *, scale: float, side: int) -> None:
    """Draw the light before a vehicle's lamps; arguments as in `draw_vehicle`."""
    for reach, strength in ((2.6, 0.75), (3.3, 0.45), (4.2, 0.25)):
        centre = (foot[0] + side * reach * scale, foot[1] - 0.5 * scale)
        draw_puff(canvas, centre, (reach - 1.7) * scale, (215, 245, 255), strength=strength)


def draw_bag(canvas: Frame, foot: Point, *, scale: float, seed: int) -> None:
    """Draw a suitcase, a holdall or a rucksack.

    Args:
        canvas: Picture, uint8 [h, w, 3], BGR; drawn into.
        foot: Pixel on the ground below its middle.
        scale: Pixels per metre.
        seed: Decides kind and colour.
    """
    rng = np.random.default_rng([seed, 22])
    kind, colour = int(rng.integers(0, 3)), BAGS[int(rng.integers(0, len(BAGS)))]
    wide, tall = ((0.5, 0.72), (0.85, 0.45), (0.5, 0.62))[kind]
    x, y, w, h = foot[0], foot[1], wide * scale / 2, tall * scale
    dark: Colour = (int(colour[0] * 0.55), int(colour[1] * 0.55), int(colour[2] * 0.55))
    cv2.ellipse(canvas, (round(x), round(y)), (round(w * 1.3), max(1, round(h * 0.12))), 0, 0, 360, (60, 60, 60), -1)
    if kind == 0:
        cv2.line(canvas, (round(x - w * 0.5), round(y - h * 1.35)), (round(x + w * 0.5), round(y - h * 1.35)), dark, 2)
        for sign in (-0.5, 0.5):
            cv2.line(canvas, (round(x + sign * w), round(y - h)), (round(x + sign * w), round(y - h * 1.35)), dark, 1)
    else:
        cv2.ellipse(
            canvas,
            (round(x), round(y - h)),
            (max(1, round(w * 0.5)), max(1, round(h * 0.3))),
            0,
            180,
            360,
            dark,
            max(1, round(scale * 0.05)),
            cv2.LINE_AA,
        )
    cv2.rectangle(canvas, (round(x - w), round(y - h)), (round(x + w), round(y)), colour, -1)
    cv2.rectangle(canvas, (round(x - w), round(y - h)), (round(x + w), round(y)), dark, 1)
    cv2.line(
        canvas,
        (round(x - w), round(y - h * 0.6)),
        (round(x + w), round(y - h * 0.6)),
        dark,
        max(1, round(scale * 0.04)),
    )


def draw_smoke(
    canvas: Frame, foot: Point, *, scale: float, seconds: float, seed: int, colour: Colour, strength: float
) -> None:
    """Draw a rising plume; flames and steam differ in colour, strength and origin.

    Args:
        canvas: Picture, uint8 [h, w, 3], BGR; drawn into.
        foot: Pixel whence it rises.
        scale: Pixels per metre.
        seconds: Time; the puffs rise and grow with it.
        seed: Decides the phase and the wind.
        colour: Colour of the puffs.
        strength: 0-1, how thick it is.
    """
    rng = np.random.default_rng([seed, 23])
    wind = rng.uniform(-0.8, 0.8)
    count = 9
    for number, offset in enumerate(rng.random(count)):
        age = (seconds * 0.35 + number / count + offset * 0.06) % 1.0
        sway = 0.25 * math.sin(seconds * 1.7 + number * 2.1)
        centre = (foot[0] + (wind * age * 1.6 + sway * age) * scale, foot[1] - (0.2 + age * 3.0) * scale)
        draw_puff(canvas, centre, (0.3 + 0.75 * age) * scale, colour, strength=strength * (1 - age) ** 0.6)


def draw_flames(canvas: Frame, foot: Point, *, scale: float, seconds: float, seed: int, growth: float) -> None:
    """Draw flickering flames with their glow.

    Args:
        canvas: Picture, uint8 [h, w, 3], BGR; drawn into.
        foot: Pixel on the ground in the middle of the fire.
        scale: Pixels per metre.
        seconds: Time; the tongues flicker with it.
        seed: Decides size and phase.
        growth: 0-1, from the first flame to the full fire.
    """
    rng = np.random.default_rng([seed, 24])
    wide, tall = rng.uniform(0.5, 0.9) * (0.4 + 0.6 * growth), rng.uniform(1.1, 1.8) * (0.35 + 0.65 * growth)
    phases = rng.random(7) * 6.3
    glow = 0.55 + 0.1 * math.sin(seconds * 11 + phases[0])
    draw_puff(
        canvas, (foot[0], foot[1] - tall * 0.4 * scale), (tall + 0.5) * scale, (40, 120, 235), strength=glow * 0.75
    )
    for size, colour in ((1.0, (20, 70, 235)), (0.72, (30, 150, 250)), (0.42, (130, 235, 255))):
        tips = []
        for number, phase in enumerate(phases):
            along = (number / 3 - 1) * wide * size
            high = tall * size * (1 - 0.75 * abs(number / 3 - 1) ** 1.5)
            high *= 0.8 + 0.3 * math.sin(seconds * (7 + number) + phase)
            lick = 0.12 * math.sin(seconds * 5 + phase * 2)
            tips += [(along - wide * size * 0.16, high * 0.35), (along + lick, high)]
        corners = [(-wide * size, 0.0), *tips, (wide * size, 0.0)]
        shape = np.array([(round(foot[0] + a * scale), round(foot[1] - u * scale)) for a, u in corners], np.int32)
        cv2.fillPoly(canvas, [shape], colour, cv2.LINE_AA)


def draw_lamp(canvas: Frame, foot: Point, *, scale: float, seconds: float, seed: int, is_glowing: bool) -> None:
    """Draw a warning lamp on a post: the post itself, or the light that it gives.

    Args:
        canvas: Picture, uint8 [h, w, 3], BGR; drawn into.
        foot: Pixel on the ground below the post.
        scale: Pixels per metre.
        seconds: Time; the lamp turns with it.
        seed: Decides height and phase.
        is_glowing: Draw the light (after darkness is laid over the picture) instead of the post.
    """
    rng = np.random.default_rng([seed, 25])
    tall, phase = rng.uniform(0.5, 1.5), rng.uniform(0, 6.3)
    head = (foot[0], foot[1] - (tall + 0.1) * scale)
    if not is_glowing:
        cv2.line(
            canvas,
            (round(foot[0]), round(foot[1])),
            (round(foot[0]), round(head[1])),
            (50, 50, 55),
            max(2, round(scale * 0.08)),
        )
        return
    turn = 0.65 + 0.35 * math.sin(seconds * 6.3 + phase)
    draw_puff(canvas, head, (0.55 + 0.45 * turn) * scale, (40, 140, 250), strength=0.4 + 0.4 * turn)
    cv2.circle(canvas, (round(head[0]), round(head[1])), max(2, round(scale * 0.17)), (60, 170, 255), -1, cv2.LINE_AA)
    cv2.circle(canvas, (round(head[0]), round(head[1])), max(1, round(scale * 0.08)), (190, 240, 255), -1, cv2.LINE_AA)
