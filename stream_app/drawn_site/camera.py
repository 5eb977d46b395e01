"""Site, cameras. In: a place, what goes on there, a moment. Out: the picture that the camera delivers.

A picture is a pure function of the camera and the moment: asking twice, or in any order, gives the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import cv2
import numpy as np

from stream_app.drawn_site.acts import depth_m, draw_glow, draw_solid
from stream_app.drawn_site.figures import Frame, draw_person, dress, walking
from stream_app.drawn_site.lens import FOUL_WINDOW_MS, FOULS, HEIGHT, WIDTH, sense, spoil
from stream_app.drawn_site.place import (
    FENCE_M,
    PLACES,
    View,
    Yard,
    build_yard,
    draw_backdrop,
    draw_fence,
    draw_light,
)
from stream_app.drawn_site.story import Act


@dataclass(frozen=True, slots=True)
class Look:
    """How a camera renders what it sees.

    Attributes:
        darkness: 0 is full day, 1 deep night.
        is_grey: Delivers grey pictures (infrared at night, or an old camera).
        grain: Standard deviation of the sensor's noise, grey levels.
        quality: JPEG quality, 1-100.
        tint: Gain of blue, green, red.
        foul_share: Share of the time in which something spoils the picture, 0-1.
        post: Columns (from, to) hidden by a post before the lens, pixels; empty when equal.
    """

    darkness: float
    is_grey: bool
    grain: float
    quality: int
    tint: tuple[float, float, float]
    foul_share: float
    post: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Zone:
    """What all cameras of a zone look at.

    Attributes:
        name: The zone's id.
        yard: The place.
        darkness: 0 is full day, 1 deep night.
        passers: How many people walk through now and then.
        seed: Decides the passers-by.
    """

    name: str
    yard: Yard
    darkness: float
    passers: int
    seed: int


def build_zone(name: str, seed: int) -> Zone:
    """Return the zone of that name and seed: place, hour and passers-by."""
    rng = np.random.default_rng([seed, 41])
    darkness = float(rng.uniform(0, 0.2) if rng.random() < 0.55 else rng.uniform(0.55, 1.0))
    kind = PLACES[int(rng.integers(0, len(PLACES)))]
    return Zone(name, build_yard(kind, seed), darkness, int(rng.integers(0, 3)), seed)


def _build_view(rng: np.random.Generator) -> View:
    return View(
        WIDTH,
        HEIGHT,
        float(rng.uniform(235, 290)),
        float(rng.uniform(2.5, 3.3)),
        float(rng.uniform(42, 70)),
        float(rng.uniform(-0.7, 0.7)),
        bool(rng.random() < 0.5),
    )


def _build_look(rng: np.random.Generator, zone: Zone, foul_share: float) -> Look:
    is_grey = bool(rng.random() < (0.45 if zone.darkness > 0.5 else 0.12))
    post = (0, 0)
    if rng.random() < 0.2:
        left = int(rng.integers(0, WIDTH - 14))
        post = (left, left + int(rng.integers(6, 14)))
    tint = cast("tuple[float, float, float]", tuple(float(v) for v in rng.uniform(0.92, 1.08, 3)))
    return Look(
        zone.darkness,
        is_grey,
        float(rng.uniform(2, 6) + 7 * zone.darkness),
        int(rng.integers(30, 86)),
        tint,
        foul_share,
        post,
    )


def build_camera(name: str, zone: Zone, seed: int, *, acts: tuple[Act, ...] = (), foul_share: float = 0.08) -> Camera:
    """Return the camera of that name and seed in a zone.

    Args:
        name: The camera's id, unique in its zone.
        zone: What it looks at.
        seed: Decides where it stands and how good it is.
        acts: Everything that goes on in the zone, at any time.
        foul_share: Share of the time in which something spoils its pictures, 0-1.
    """
    rng = np.random.default_rng([seed, 42])
    return Camera(name, zone, _build_view(rng), _build_look(rng, zone, foul_share), acts, seed)


@dataclass(frozen=True)
class Camera:
    """One camera of a zone. No slots: the parts that never change are drawn once and kept."""

    name: str
    zone: Zone
    view: View
    look: Look
    acts: tuple[Act, ...]
    seed: int

    @cached_property
    def _bare(self) -> Frame:
        return draw_backdrop(self.view, self.zone.yard)

    @cached_property
    def _fence(self) -> tuple[Frame, Frame, Frame]:
        """Yard behind its closed fence; the fence alone; where the fence is (uint8 mask)."""
        whole = self._bare.copy()
        draw_fence(whole, self.view, self.zone.yard, gate_is_open=False)
        blank = np.full_like(whole, 1)
        draw_fence(blank, self.view, self.zone.yard, gate_is_open=False)
        mask = np.any(blank != 1, axis=2).astype(np.uint8)
        return whole, blank, mask

    @cached_property
    def _light(self) -> Frame:
        light = draw_light(self.view, seed=self.seed, darkness=self.look.darkness)
        tinted: Frame = np.clip(light * np.array(self.look.tint), 0, 255).astype(np.uint8)
        return tinted

    def frame(self, t_ms: int) -> Frame:
        """Return what the camera sees at that moment.

        Args:
            t_ms: ms on the clock of the acts.

        Returns:
            uint8 [240, 320, 3], BGR; the caller may write into it.
        """
        acts = [act for act in self.acts if act.start_ms <= t_ms < act.end_ms]
        return self.render(acts, t_ms)

    def jpeg(self, t_ms: int) -> bytes:
        """Return `frame(t_ms)` as a JPEG file of the camera's quality."""
        ok, data = cv2.imencode(".jpg", self.frame(t_ms), [cv2.IMWRITE_JPEG_QUALITY, self.look.quality])
        if not ok:
            raise RuntimeError(f"camera {self.name}: OpenCV could not encode a frame at {t_ms} ms")
        return data.tobytes()

    def render(self, acts: list[Act], t_ms: int) -> Frame:
        """Return the picture of exactly these acts at that moment; as `frame` in all else."""
        solid = sorted(((depth_m(act, t_ms), act) for act in acts), key=lambda pair: -pair[0])
        walkers = self._walkers(t_ms)
        behind = any(depth > FENCE_M for depth, _ in solid) or any(z > FENCE_M for z, *_ in walkers)
        whole, fence, mask = self._fence
        canvas = self._bare.copy() if behind else whole.copy()
        if behind:
            self._draw_depths(canvas, solid, walkers, t_ms, is_behind=True)
            cv2.copyTo(fence, mask, canvas)
        self._draw_depths(canvas, solid, walkers, t_ms, is_behind=False)
        rng = np.random.default_rng([self.seed, 43, t_ms])
        gain = 1 + 0.09 * math.sin(t_ms / 3700 + self.seed % 7) + 0.03 * float(rng.normal())
        lit = cast("Frame", cv2.multiply(canvas, self._light, scale=gain / 255))
        for _, act in solid:
            draw_glow(lit, self.view, act, t_ms=t_ms, darkness=self.look.darkness)
        if self.look.post[0] < self.look.post[1]:
            lit[:, self.look.post[0] : self.look.post[1]] = round(60 * (1 - 0.7 * self.look.darkness))
        window = np.random.default_rng([self.seed, 47, t_ms // FOUL_WINDOW_MS])
        spoiled, grain = spoil(lit, self.foul(t_ms), window, grain=self.look.grain)
        return sense(spoiled, rng, grain=grain, is_grey=self.look.is_grey)

    def _walkers(self, t_ms: int) -> list[tuple[float, float, int, int]]:
        """Passers-by now in view: ground distance, place across, direction, number."""
        rng = np.random.default_rng([self.zone.seed, 44])
        found = []
        for number in range(self.zone.passers):
            start, pace, z_m = rng.uniform(0, 26), rng.uniform(0.7, 1.3), rng.uniform(5.6, 11.5)
            side = int(rng.choice([-1, 1]))
            x_m = (start + pace * t_ms / 1000) % 26 - 13
            if 8.2 < z_m < 9.9:  # nobody else walks in the strip of the fence: that is what intruders do
                z_m += 2.0
            if abs(x_m) < 7:
                found.append((z_m, side * x_m, side, number))
        return found

    def _draw_depths(
        self,
        canvas: Frame,
        solid: list[tuple[float, Act]],
        walkers: list[tuple[float, float, int, int]],
        t_ms: int,
        *,
        is_behind: bool,
    ) -> None:
        todo: list[tuple[float, int, Act | tuple[float, float, int, int]]] = [
            *((depth, order, act) for order, (depth, act) in enumerate(solid)),
            *((walker[0], 100 + order, walker) for order, walker in enumerate(walkers)),
        ]
        for depth, _, thing in sorted(todo, key=lambda row: (-row[0], row[1])):
            if (depth > FENCE_M) != is_behind:
                continue
            if isinstance(thing, Act):
                draw_solid(canvas, self.view, thing, t_ms=t_ms)
                continue
            z_m, x_m, side, number = thing
            clothes = dress(np.random.default_rng([self.zone.seed, 45, number]))
            draw_person(
                canvas,
                self.view.ground(x_m, z_m),
                walking(t_ms / 1000 + number * 0.3),
                clothes,
                size=1.72 * self.view.scale(z_m),
                side=side * self.view.facing,
            )

    def foul(self, t_ms: int) -> str | None:
        """Return what spoils the picture at that moment, one of `FOULS`, or None."""
        rng = np.random.default_rng([self.seed, 46, t_ms // FOUL_WINDOW_MS])
        kind = FOULS[int(rng.integers(0, len(FOULS)))]
        return kind if rng.random() < self.look.foul_share else None
