"""Site, contact sheet: everything that can happen, by day and by night, in one picture for a person to look at."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from stream_app.drawn_site.camera import Camera, build_camera, build_zone
from stream_app.drawn_site.figures import Frame
from stream_app.drawn_site.lens import HEIGHT, WIDTH
from stream_app.drawn_site.story import LABELS, LOOKALIKES, QUIET, Act

_STRIP_PX = 18


def contact_sheet(seed: int, *, columns: int = 6) -> Frame:
    """Draw every event and look-alike, one per row.

    Args:
        seed: Decides cameras and scenes.
        columns: Pictures per row; even places are by day, odd ones by night.

    Returns:
        uint8 [rows * 258, columns * 320, 3], BGR; each picture has its name below.
    """
    rows = []
    for place, name in enumerate((*LABELS, *LOOKALIKES, QUIET)):
        cells = [
            _cell(seed * 10_007 + place * 101 + column, name, is_night=bool(column % 2)) for column in range(columns)
        ]
        rows.append(np.hstack(cells))
    return np.vstack(rows)


def _cell(seed: int, name: str, *, is_night: bool) -> Frame:
    rng = np.random.default_rng([seed, 95])
    camera = _camera(seed, name, rng, is_night=is_night)
    cell = np.zeros((HEIGHT + _STRIP_PX, WIDTH, 3), np.uint8)
    cell[:HEIGHT] = camera.frame(int(rng.integers(1500, 9000)))
    words = f"{name} - {'night' if is_night else 'day'}"
    cv2.putText(cell, words, (4, HEIGHT + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA)
    return cast("Frame", cell)


def _camera(seed: int, name: str, rng: np.random.Generator, *, is_night: bool) -> Camera:
    zone = build_zone("zone-1", seed)
    attempt = 0
    while (zone.darkness > 0.5) != is_night:
        attempt += 1
        zone = build_zone("zone-1", seed + attempt * 1_000_003)
    acts: tuple[Act, ...] = ()
    if name != QUIET:
        acts = (Act(name, 0, 12_000, float(rng.uniform(-2, 2)), float(rng.uniform(5.8, 8)), seed),)
    return build_camera("c1", zone, seed, acts=acts, foul_share=0)
