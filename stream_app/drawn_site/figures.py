"""Site, drawing of people. In: a canvas, a place in pixels, a pose, clothes. Out: ink on the canvas.

It must not know what the people are doing or why: poses are angles, and `acts` chooses them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]
"""Picture, uint8 [h, w, 3], BGR as OpenCV draws it."""

Colour = tuple[int, int, int]
"""Blue, green, red, each 0-255."""

Point = tuple[float, float]

SKIN: tuple[Colour, ...] = ((140, 175, 225), (110, 145, 200), (80, 110, 165), (60, 80, 120))
HAIR: tuple[Colour, ...] = ((25, 25, 30), (40, 60, 90), (70, 110, 150), (150, 150, 155))
CLOTH: tuple[Colour, ...] = (
    (150, 60, 40),
    (60, 60, 170),
    (70, 120, 60),
    (120, 120, 125),
    (190, 190, 195),
    (90, 50, 110),
    (40, 90, 140),
    (140, 130, 40),
)
TROUSERS: tuple[Colour, ...] = ((90, 60, 40), (50, 50, 55), (70, 85, 105), (110, 95, 80))
VEST: Colour = (40, 235, 225)
DARK: Colour = (32, 28, 28)


class Clothes(NamedTuple):
    """Colours of one person; `has_vest` marks staff, `has_hood` hides the hair."""

    skin: Colour
    hair: Colour
    top: Colour
    trousers: Colour
    has_vest: bool = False
    has_hood: bool = False


class Pose(NamedTuple):
    """Angles in degrees from straight down, positive towards the side the person faces; the lean is from upright."""

    lean: float = 0.0
    arm_a: tuple[float, float] = (8.0, 14.0)
    arm_b: tuple[float, float] = (-8.0, 2.0)
    leg_a: tuple[float, float] = (5.0, 3.0)
    leg_b: tuple[float, float] = (-5.0, -5.0)


def dress(rng: np.random.Generator) -> Clothes:
    """Draw ordinary clothes.

    Args:
        rng: Source of the choice.

    Returns:
        Clothes without vest and hood.
    """
    pick = rng.integers(0, 1 << 16, 4)
    return Clothes(
        SKIN[pick[0] % len(SKIN)],
        HAIR[pick[1] % len(HAIR)],
        CLOTH[pick[2] % len(CLOTH)],
        TROUSERS[pick[3] % len(TROUSERS)],
    )


def walking(phase: float) -> Pose:
    """Return the pose at `phase` (turns) of a step cycle."""
    swing = math.sin(2 * math.pi * phase)
    bend = max(0.0, math.cos(2 * math.pi * phase)) * 25
    return Pose(
        4,
        (-26 * swing, -26 * swing + 18),
        (26 * swing, 26 * swing + 18),
        (26 * swing, 26 * swing - bend),
        (-26 * swing, -26 * swing - 25 + bend),
    )


def _joint(start: Point, angle_deg: float, length: float, side: int) -> Point:
    angle = math.radians(angle_deg)
    return start[0] + side * math.sin(angle) * length, start[1] + math.cos(angle) * length


def _limb(canvas: Frame, a: Point, b: Point, colour: Colour, thickness: float) -> None:
    # A quarter-pixel grid (shift 2) keeps far people from jittering between whole pixels.
    start, end = (round(a[0] * 4), round(a[1] * 4)), (round(b[0] * 4), round(b[1] * 4))
    cv2.line(canvas, start, end, colour, max(1, round(thickness)), cv2.LINE_AA, 2)


def _shade(colour: Colour, factor: float) -> Colour:
    return (min(255, int(colour[0] * factor)), min(255, int(colour[1] * factor)), min(255, int(colour[2] * factor)))


def _leg(canvas: Frame, hip: Point, angles: tuple[float, float], *, size: float, side: int, colour: Colour) -> None:
    knee = _joint(hip, angles[0], size * 0.25, side)
    foot = _joint(knee, angles[1], size * 0.24, side)
    _limb(canvas, hip, knee, colour, size * 0.085)
    _limb(canvas, knee, foot, colour, size * 0.07)
    _limb(canvas, foot, (foot[0] + side * size * 0.06, foot[1]), DARK, size * 0.05)


def _arm(
    canvas: Frame, shoulder: Point, angles: tuple[float, float], *, size: float, side: int, colour: Colour, skin: Colour
) -> Point:
    elbow = _joint(shoulder, angles[0], size * 0.17, side)
    hand = _joint(elbow, angles[1], size * 0.15, side)
    _limb(canvas, shoulder, elbow, colour, size * 0.065)
    _limb(canvas, elbow, hand, colour, size * 0.055)
    cv2.circle(canvas, (round(hand[0]), round(hand[1])), max(1, round(size * 0.032)), skin, -1, cv2.LINE_AA)
    return hand


def draw_person(
    canvas: Frame, foot: Point, pose: Pose, clothes: Clothes, *, size: float, side: int = 1, lift: float = 0.0
) -> tuple[Point, Point]:
    """Draw one person seen from the side.

    Args:
        canvas: Picture, uint8 [h, w, 3], BGR; drawn into.
        foot: Pixel on the ground below the person.
        pose: The angles of the limbs.
        clothes: The colours.
        size: Height of the standing person, pixels.
        side: 1 when facing right, -1 when facing left.
        lift: Pixels by which the feet are above the ground.

    Returns:
        The pixels of the two hands (far hand, near hand).
    """
    reach = max(
        _joint((0, 0), leg[0], size * 0.25, 1)[1] + _joint((0, 0), leg[1], size * 0.24, 1)[1]
        for leg in (pose.leg_a, pose.leg_b)
    )
    hip = (foot[0], foot[1] - reach - lift)
    neck = _joint(hip, 180 - pose.lean, size * 0.32, side)
    head = _joint(neck, 180 - pose.lean * 0.8, size * 0.105, side)
    far_top, far_leg = _shade(clothes.top, 0.75), _shade(clothes.trousers, 0.75)
    far = _arm(canvas, neck, pose.arm_b, size=size, side=side, colour=far_top, skin=clothes.skin)
    _leg(canvas, hip, pose.leg_b, size=size, side=side, colour=far_leg)
    _leg(canvas, hip, pose.leg_a, size=size, side=side, colour=clothes.trousers)
    _torso(canvas, hip, neck, clothes, size)
    cv2.circle(canvas, (round(head[0]), round(head[1])), max(2, round(size * 0.068)), clothes.skin, -1, cv2.LINE_AA)
    cap = DARK if clothes.has_hood else clothes.hair
    crown = (round(head[0] - side * size * 0.018), round(head[1] - size * 0.025))
    cv2.circle(canvas, crown, max(2, round(size * (0.066 if clothes.has_hood else 0.056))), cap, -1, cv2.LINE_AA)
    sleeve = VEST if clothes.has_vest else clothes.top
    near = _arm(canvas, neck, pose.arm_a, size=size, side=side, colour=_shade(sleeve, 0.88), skin=clothes.skin)
    return far, near


def _torso(canvas: Frame, hip: Point, neck: Point, clothes: Clothes, size: float) -> None:
    _limb(canvas, hip, neck, VEST if clothes.has_vest else clothes.top, size * 0.17)
    if clothes.has_vest:
        for share in (0.35, 0.65):
            mid = (hip[0] + (neck[0] - hip[0]) * share, hip[1] + (neck[1] - hip[1]) * share)
            _limb(canvas, (mid[0] - size * 0.07, mid[1]), (mid[0] + size * 0.07, mid[1]), (235, 235, 235), size * 0.03)


def draw_lying(canvas: Frame, foot: Point, clothes: Clothes, *, size: float, side: int, kick: float) -> None:
    """Draw a person who lies on the ground.

    Args:
        canvas: Picture, uint8 [h, w, 3], BGR; drawn into.
        foot: Pixel on the ground below the hip.
        clothes: The colours.
        size: Height of the standing person, pixels.
        side: 1 when the head lies to the right.
        kick: -1 to 1: how far the arms and knees are drawn up.
    """
    hip = (foot[0], foot[1] - size * 0.07)
    neck = (hip[0] + side * size * 0.31, hip[1] - size * 0.03)
    knee = (hip[0] - side * size * 0.2, hip[1] - size * (0.09 + 0.07 * kick))
    _limb(canvas, hip, knee, clothes.trousers, size * 0.09)
    _limb(canvas, knee, (knee[0] - side * size * 0.2, hip[1]), clothes.trousers, size * 0.08)
    _limb(canvas, hip, neck, clothes.top, size * 0.15)
    _limb(canvas, neck, (neck[0] - side * size * 0.05, neck[1] - size * (0.2 + 0.05 * kick)), clothes.top, size * 0.06)
    head = (round(neck[0] + side * size * 0.1), round(neck[1]))
    cv2.circle(canvas, head, max(2, round(size * 0.068)), clothes.skin, -1, cv2.LINE_AA)
