"""Site, acts: what people and things do over time. In: an act and a moment. Out: ink on the canvas.

Each act draws in two steps: what the light of the place falls on (`draw_solid`), then what shines by itself
(`draw_glow`). Both are pure functions of act, view and time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from stream_app.drawn_site import figures, things
from stream_app.drawn_site.figures import Clothes, Frame, Pose, draw_lying, draw_person, dress, walking
from stream_app.drawn_site.place import FENCE_HEIGHT_M, FENCE_M, View

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.drawn_site.story import Act

PERSON_M = 1.75


def _person(
    canvas: Frame,
    view: View,
    at_m: tuple[float, float],
    pose: Pose,
    clothes: Clothes,
    *,
    side: int = 1,
    lift_m: float = 0.0,
) -> None:
    scale = view.scale(at_m[1])
    draw_person(
        canvas, view.ground(*at_m), pose, clothes, size=PERSON_M * scale, side=side * view.facing, lift=lift_m * scale
    )


def _fighter(beat: float, variant: int) -> Pose:
    """Return a pose of someone who fights: punch, kick, wrestle or duck, by the beat (turns)."""
    hit = max(0.0, math.sin(2 * math.pi * beat))
    if variant == 0:
        return Pose(14 + 12 * hit, (95 - 5 * hit, 150 - 60 * hit), (70, 140), (28, 8), (-24, -30))
    if variant == 1:
        return Pose(-12 * hit, (75, 140), (60, 130), (15 + 75 * hit, 5 + 80 * hit), (-14, -18))
    return Pose(30, (100 + 10 * hit, 85), (80, 100 - 20 * hit), (40, 5), (-32, -45))


def _fight(canvas: Frame, view: View, act: Act, seconds: float) -> None:
    rng = np.random.default_rng([act.seed, 31])
    first, second, third = dress(rng), dress(rng), dress(rng)
    variant, tempo, phase = int(rng.integers(0, 4)), rng.uniform(1.2, 2.0), rng.random()
    sway = 0.15 * math.sin(seconds * 2.3 + phase)
    gap = 0.34 + 0.1 * math.sin(seconds * 3.1)
    beat = seconds * tempo + phase
    left = (act.x_m - gap + sway, act.z_m)
    if variant == 3:
        draw_lying(
            canvas,
            view.ground(act.x_m + gap + 0.1, act.z_m),
            second,
            size=PERSON_M * view.scale(act.z_m),
            side=view.facing,
            kick=math.sin(seconds * 6),
        )
        _person(canvas, view, left, _fighter(beat, 1), first)
    else:
        _person(canvas, view, (act.x_m + gap + sway, act.z_m), _fighter(beat + 0.5, (variant + 1) % 3), second, side=-1)
        _person(canvas, view, left, _fighter(beat, variant), first)
    if rng.random() < 0.35:
        _person(canvas, view, (act.x_m + gap + 0.75, act.z_m - 0.1), _fighter(beat + 0.25, 0), third, side=-1)


def _greeting(canvas: Frame, view: View, act: Act, seconds: float) -> None:
    rng = np.random.default_rng([act.seed, 32])
    first, second = dress(rng), dress(rng)
    variant, phase = int(rng.integers(0, 3)), rng.random() * 6
    shake = math.sin(seconds * 5 + phase)
    if variant == 0:  # a handshake
        gap, pose = 0.38, Pose(3, (48 + 4 * shake, 82 + 6 * shake), (-4, 4), (6, 2), (-6, -6))
        other = pose
    elif variant == 1:  # an embrace
        gap, pose = 0.17, Pose(9, (82, 98 + 5 * shake), (70, 88), (8, 0), (-8, -12))
        other = Pose(6, (75, 92), (85, 105 + 5 * shake), (5, 0), (-5, -9))
    else:  # a talk with gestures
        gap, pose = 0.5, Pose(2, (35 + 25 * shake, 100 + 20 * shake), (10, 60), (6, 2), (-6, -6))
        other = Pose(0, (12, 70), (-5, 10), (6, 2), (-6, -6))
    _person(canvas, view, (act.x_m + gap, act.z_m), other, second, side=-1)
    _person(canvas, view, (act.x_m - gap, act.z_m), pose, first)


def _intruder_clothes(rng: np.random.Generator) -> Clothes:
    skin = dress(rng).skin
    return Clothes(skin, figures.DARK, (48, 42, 42), (45, 45, 50), has_vest=False, has_hood=True)


def _intrusion(canvas: Frame, view: View, act: Act, seconds: float) -> None:
    """Climb over the fence, drop, and creep along inside it."""
    rng = np.random.default_rng([act.seed, 33])
    clothes, side, climb_s = _intruder_clothes(rng), int(rng.choice([-1, 1])), rng.uniform(4, 9)
    if rng.random() < 0.25:
        climb_s = 0.0
    if seconds < climb_s:
        share = min(1.0, seconds / climb_s * 1.3)
        lift = 0.35 + (FENCE_HEIGHT_M - 0.75) * share
        reach = 15 * math.sin(seconds * 4)
        pose = Pose(22, (150 + reach, 165), (135 - reach, 150), (75 + reach, -10), (-15 - reach, -55))
        _person(canvas, view, (act.x_m, FENCE_M - 0.05), pose, clothes, side=side, lift_m=lift)
        return
    walked = (seconds - climb_s) * 0.45
    creep = walking(seconds * 1.1)
    pose = Pose(
        42, (55, 75), (30, 60), (creep.leg_a[0] + 30, creep.leg_a[1] - 22), (creep.leg_b[0] + 25, creep.leg_b[1] - 28)
    )
    along = (walked + 1.5) % 3.0 - 1.5
    _person(canvas, view, (act.x_m + side * along, FENCE_M - 0.7 - min(1.2, walked * 0.25)), pose, clothes, side=side)


def _staff(canvas: Frame, view: View, act: Act, seconds: float) -> None:
    """Walk the round along the inside of the fence, in a high-visibility vest."""
    rng = np.random.default_rng([act.seed, 34])
    clothes, side = dress(rng)._replace(has_vest=True), int(rng.choice([-1, 1]))
    stand = rng.random() < 0.4
    if stand:
        pose = Pose(2, (40 + 10 * math.sin(seconds), 120), (-6, 4), (5, 2), (-5, -5))
        _person(canvas, view, (act.x_m, FENCE_M - 0.5), pose, clothes, side=side)
        return
    along = (seconds * 0.6 + rng.uniform(0, 3)) % 3.0 - 1.5
    _person(canvas, view, (act.x_m + side * along, FENCE_M - 0.6), walking(seconds * 0.9), clothes, side=side)


def _left_bag(canvas: Frame, view: View, act: Act, seconds: float) -> None:
    """Put a bag down, walk away from it, leave it alone."""
    rng = np.random.default_rng([act.seed, 35])
    things.draw_bag(canvas, view.ground(act.x_m, act.z_m), scale=view.scale(act.z_m), seed=act.seed)
    side, clothes = int(rng.choice([-1, 1])), dress(rng)
    gone_m = 0.9 + seconds * 1.3
    if gone_m < 6:
        _person(canvas, view, (act.x_m + side * gone_m, act.z_m + 0.3), walking(seconds * 1.0), clothes, side=side)


def _owner(canvas: Frame, view: View, act: Act, seconds: float) -> None:
    """Stand beside one's own bag."""
    rng = np.random.default_rng([act.seed, 36])
    clothes, side, variant = dress(rng), int(rng.choice([-1, 1])), int(rng.integers(0, 3))
    beside = rng.uniform(0.45, 0.75)
    things.draw_bag(canvas, view.ground(act.x_m, act.z_m), scale=view.scale(act.z_m), seed=act.seed)
    sway = 3 * math.sin(seconds * 1.1)
    pose = (
        Pose(2 + sway / 2, (25, 115), (-8, 4), (5, 2), (-5, -5)),  # looks at a telephone
        Pose(1, (6 + sway, 12), (-6, 6), (4, 2), (-4, -4)),
        Pose(34, (22, 20 + sway), (-12, 8), (30, -5), (-15, -30)),  # bends down to the bag
    )[variant]
    _person(canvas, view, (act.x_m - side * beside, act.z_m + 0.05), pose, clothes, side=side)


def _vehicle_place(act: Act, seconds: float) -> tuple[float, float, int]:
    rng = np.random.default_rng([act.seed, 37])
    side = int(rng.choice([-1, 1]))
    if act.name == "parked":
        return act.x_m + rng.uniform(-2, 2), rng.uniform(10.6, 11.6), side
    rolled = min(seconds * rng.uniform(0.6, 1.3), 3.2)
    return act.x_m + side * (rolled - 1.6), max(5.6, min(act.z_m + 0.8, 8.2)), side


def _vehicle(canvas: Frame, view: View, act: Act, seconds: float) -> None:
    x_m, z_m, side = _vehicle_place(act, seconds)
    things.draw_vehicle(
        canvas,
        view.ground(x_m, z_m),
        scale=view.scale(z_m),
        side=side * view.facing,
        seed=act.seed,
        lights_on=act.name == "vehicle",
    )


def _burnt_thing(canvas: Frame, view: View, act: Act, _seconds: float) -> None:
    x, y = view.ground(act.x_m, act.z_m)
    scale = view.scale(act.z_m)
    canvas[
        max(0, round(y - 0.5 * scale)) : max(0, round(y)),
        max(0, round(x - 0.35 * scale)) : max(0, round(x + 0.35 * scale)),
    ] = (38, 42, 45)


def _post(canvas: Frame, view: View, act: Act, seconds: float) -> None:
    things.draw_lamp(
        canvas,
        view.ground(act.x_m, act.z_m),
        scale=view.scale(act.z_m),
        seconds=seconds,
        seed=act.seed,
        is_glowing=False,
    )


def _nothing(_canvas: Frame, _view: View, _act: Act, _seconds: float) -> None:
    return


def _fire_glow(canvas: Frame, view: View, act: Act, seconds: float) -> None:
    rng = np.random.default_rng([act.seed, 38])
    smoke, growth = rng.uniform(0.65, 0.95), min(1.0, 0.35 + seconds / 6)
    foot, scale = view.ground(act.x_m, act.z_m, 0.3), view.scale(act.z_m)
    grey = int(rng.integers(30, 75))
    things.draw_smoke(
        canvas,
        (foot[0], foot[1] - 0.8 * scale),
        scale=scale,
        seconds=seconds + 5,
        seed=act.seed,
        colour=(grey, grey, grey),
        strength=smoke * growth,
    )
    if rng.random() < 0.88:  # the rest smoulders: smoke and a red rim, no open flame
        things.draw_flames(canvas, foot, scale=scale, seconds=seconds, seed=act.seed, growth=growth)
    else:
        things.draw_puff(canvas, foot, 0.45 * scale, (30, 70, 220), strength=0.7)


def _steam_glow(canvas: Frame, view: View, act: Act, seconds: float) -> None:
    rng = np.random.default_rng([act.seed, 39])
    grey = int(rng.integers(170, 235))
    things.draw_smoke(
        canvas,
        view.ground(act.x_m, act.z_m),
        scale=view.scale(act.z_m),
        seconds=seconds + 5,
        seed=act.seed,
        colour=(grey, grey, grey),
        strength=rng.uniform(0.4, 0.7),
    )


def _lamp_glow(canvas: Frame, view: View, act: Act, seconds: float) -> None:
    things.draw_lamp(
        canvas,
        view.ground(act.x_m, act.z_m),
        scale=view.scale(act.z_m),
        seconds=seconds,
        seed=act.seed,
        is_glowing=True,
    )


def _beam_glow(canvas: Frame, view: View, act: Act, seconds: float) -> None:
    x_m, z_m, side = _vehicle_place(act, seconds)
    things.draw_beam(canvas, view.ground(x_m, z_m), scale=view.scale(z_m), side=side * view.facing)


_SOLID: dict[str, Callable[[Frame, View, Act, float], None]] = {
    "fight": _fight,
    "greeting": _greeting,
    "intrusion": _intrusion,
    "staff": _staff,
    "left_bag": _left_bag,
    "owner": _owner,
    "vehicle": _vehicle,
    "parked": _vehicle,
    "fire": _burnt_thing,
    "lamp": _post,
    "steam": _nothing,
}
_GLOW: dict[str, Callable[[Frame, View, Act, float], None]] = {
    "fire": _fire_glow,
    "steam": _steam_glow,
    "lamp": _lamp_glow,
    "vehicle": _beam_glow,
}


def depth_m(act: Act, t_ms: int) -> float:
    """Return how far from the camera the act is drawn, metres; farther acts are drawn first."""
    if act.name in {"vehicle", "parked"}:
        return _vehicle_place(act, (t_ms - act.start_ms) / 1000)[1]
    return FENCE_M - 0.3 if act.name in {"intrusion", "staff"} else act.z_m


def draw_solid(canvas: Frame, view: View, act: Act, *, t_ms: int) -> None:
    """Draw the part of an act on which the light of the place falls.

    Args:
        canvas: Picture, uint8 [h, w, 3], BGR; drawn into.
        view: The camera.
        act: What goes on.
        t_ms: The moment, ms on the clock of the act.
    """
    _SOLID[act.name](canvas, view, act, (t_ms - act.start_ms) / 1000)


def draw_glow(canvas: Frame, view: View, act: Act, *, t_ms: int, darkness: float) -> None:
    """Draw the part of an act that shines by itself.

    Args:
        canvas: Picture, uint8 [h, w, 3], BGR; drawn into.
        view: The camera.
        act: What goes on.
        t_ms: The moment, ms on the clock of the act.
        darkness: 0 day, 1 night: a vehicle's beam shows only in the dark.
    """
    if act.name == "vehicle" and darkness < 0.4:
        return
    draw = _GLOW.get(act.name)
    if draw is not None:
        draw(canvas, view, act, (t_ms - act.start_ms) / 1000)
