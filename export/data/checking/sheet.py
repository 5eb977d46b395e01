"""Draws a contact sheet: some pictures of every label with their texts, for a person to look at before training."""

from __future__ import annotations

import io
import textwrap
import warnings
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure

from export.data.rows import Dataset, Row
from export.files import write_whole
from stream_app.bundle.image import ImageError, decode_image
from stream_app.bundle.manifest import ImageSpec

_CELL = ImageSpec(height=180, width=240)
# Fonts that many systems have, for texts that matplotlib's own cannot show; the first that is there is used.
_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback")


def draw_sheet(out: Path, dataset: Dataset, *, columns: int = 6, seed: int = 0, rows_at_most: int = 16) -> bool:
    """Draw one line of pictures per label, chosen at random, each picture once.

    Args:
        out: The file to write; its suffix says the format (.png, .jpg, .pdf, .svg).
        dataset: Its rows.
        columns: Pictures per label.
        seed: Decides which.
        rows_at_most: Labels shown, the most frequent first.

    Returns:
        Whether the fonts of this machine have all characters; others are drawn as boxes.

    Raises:
        OSError: The file cannot be written.
        ValueError: Its suffix names no format that can be drawn.
    """
    chosen = _choose(dataset, columns, seed)[:rows_at_most]
    known = {font.name for font in font_manager.fontManager.ttflist}
    fonts = ["DejaVu Sans", *(name for name in _FONTS if name in known)]
    figure = Figure(figsize=(2.5 * columns, 2.75 * len(chosen)), layout="constrained", dpi=90)
    axes = figure.subplots(len(chosen), columns, squeeze=False)
    for line, (label, rows) in zip(axes, chosen, strict=True):
        for number, axis in enumerate(line):
            axis.set_axis_off()
            if number < len(rows):
                row = rows[number]
                axis.imshow(_pixels(row), aspect="auto")
                axis.set_title(_head(label, row.split), fontsize=8, loc="left", family=fonts, parse_math=False)
                axis.text(0, -0.03, _wrapped(row.text), **_BELOW, transform=axis.transAxes, family=fonts)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        drawn = io.BytesIO()
        figure.savefig(drawn, format=out.suffix[1:].lower() or None)
    write_whole(out, drawn.getvalue())
    return not any("Glyph" in str(warning.message) for warning in said)


_BELOW = {"fontsize": 7, "va": "top", "ha": "left", "parse_math": False}


def _choose(dataset: Dataset, columns: int, seed: int) -> list[tuple[str, list[Row]]]:
    rng = np.random.default_rng(seed)
    of_label: dict[str, list[Row]] = {}
    for row in dataset.rows:
        for label in row.labels or ("no label",):
            of_label.setdefault(label, []).append(row)
    chosen = []
    for label, rows in sorted(of_label.items(), key=lambda item: -len(item[1])):
        shuffled = [rows[int(place)] for place in rng.permutation(len(rows))]
        distinct = {row.image or row.text: row for row in reversed(shuffled)}
        chosen.append((label, list(distinct.values())[-columns:]))
    return chosen


def _pixels(row: Row) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    if row.image is not None:
        try:
            return decode_image(row.image.read_bytes(), _CELL)
        except (ImageError, OSError):
            broken = np.full((_CELL.height, _CELL.width, 3), 255, np.uint8)
            broken[..., 1:] = 200
            return broken
    return np.full((_CELL.height, _CELL.width, 3), 235, np.uint8)


def _head(label: str, split: str) -> str:
    """Return a title that stays above its own picture."""
    room = _room(label, 36) - len(split)
    short = label if len(label) <= room else f"{label[: room - 1]}…"
    return f"{short} · {split}" if split else short


def _room(text: str, columns: int) -> int:
    # Characters that are as wide as two take the place of two.
    return columns if text.isascii() else columns * 3 // 5


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(text, _room(text, 40)) or ["(no text)"]
    return "\n".join(lines[:2] + (["..."] if len(lines) > 2 else []))
