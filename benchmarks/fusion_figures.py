"""Draws the pictures of the fusions in docs/models.md. Run `python -m benchmarks.fusion_figures`.

A picture is boxes in columns and arrows between them, two lanes: the image above, the text below.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from vigil_export.models.fusions import FusionKind

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "figures"

Tone = Literal["image", "text", "both", "absent", "out"]
_FILL: dict[Tone, str] = {
    "image": "#dbeafe",
    "text": "#fef3c7",
    "both": "#dcfce7",
    "absent": "#ffffff",
    "out": "#e5e7eb",
}
_COLUMN, _LANE, _WIDTH, _HEIGHT = 2.25, 1.0, 1.75, 0.72  # inches at drawing size


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its column from 0, its lane (1 image, 0 between, -1 text), what stands in it, and whose it is."""

    column: float
    lane: float
    says: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn: boxes by name, and arrows along chains of names."""

    boxes: dict[str, Box]
    chains: tuple[str, ...]


def _inputs(image: str, text: str) -> dict[str, Box]:
    return {
        "image": Box(0, 1, f"image encoder\n{image}", "image"),
        "text": Box(0, -1, f"text encoder\n{text}", "text"),
    }


def _absent(says: str) -> dict[str, Box]:
    return {"absent": Box(0, 0, says, "absent")}


_POOLED, _TOKENS = _inputs("[b, d]", "[b, d]"), _inputs("[b, s, d]", "[b, t, d + 1]")


def _logits(column: float) -> dict[str, Box]:
    return {"out": Box(column, 0, "logits\n[b, L]", "out")}


def _one_side(side: Literal["image", "text"]) -> Drawing:
    lane = 1 if side == "image" else -1
    boxes = {
        **_POOLED,
        "dense": Box(1, lane, "dense, ReLU\n[b, width]", side),
        "absent": Box(0, 0, f"no {side}:\na learned vector", "absent"),
        **_logits(2),
    }
    return Drawing(boxes, (f"{side} > dense > out",))


FIGURES: dict[FusionKind, Drawing] = {
    "concat": Drawing(
        {
            **_POOLED,
            **_absent("absent side:\na learned vector"),
            "joined": Box(1, 0, "side by side\n[b, 2 d]", "both"),
            "dense": Box(2, 0, "dense, ReLU\n[b, width]", "both"),
            **_logits(3),
        },
        ("image > joined > dense > out", "text > joined"),
    ),
    "gated": Drawing(
        {
            **_POOLED,
            **_absent("side absent:\ngate shut"),
            "a": Box(1, 1, "tanh(A image)\n[b, width]", "image"),
            "z": Box(1, 0, "z = sigmoid(C\n[image; text])", "both"),
            "b": Box(1, -1, "tanh(B text)\n[b, width]", "text"),
            "mix": Box(2, 0, "z * image\n+ (1 - z) * text", "both"),
            **_logits(3),
        },
        ("image > a > mix > out", "text > b > mix", "image > z > mix", "text > z"),
    ),
    "product": Drawing(
        {
            **_POOLED,
            **_absent("absent side:\nlearned factors"),
            "a": Box(1, 1, "tanh(A image)\n[b, width]", "image"),
            "b": Box(1, -1, "tanh(B text)\n[b, width]", "text"),
            "times": Box(1.5, 0, "product\n[b, width]", "both"),
            "dense": Box(2.5, 0, "dense, ReLU\n[b, width]", "both"),
            **_logits(3.5),
        },
        ("image > a > times > dense > out", "text > b > times"),
    ),
    "bilinear": Drawing(
        {
            **_POOLED,
            **_absent("absent side:\nits 1 alone"),
            "a": Box(1, 1, "A [image; 1]\n[b, r, width]", "image"),
            "b": Box(1, -1, "B [text; 1]\n[b, r, width]", "text"),
            "times": Box(1.5, 0, "products, sum over r\n[b, width]", "both"),
            "dense": Box(2.5, 0, "dense, ReLU\n[b, width]", "both"),
            **_logits(3.5),
        },
        ("image > a > times > dense > out", "text > b > times"),
    ),
    "attention": Drawing(
        {
            **_TOKENS,
            **_absent("absent side:\none learned token"),
            "cells": Box(1, 1, "cells + places\n[b, s, width]", "image"),
            "words": Box(1, -1, "words + places\n[b, t, width]", "text"),
            "told": Box(2, 1, "cells look at words\n[b, s, width]", "image"),
            "shown": Box(2, -1, "words look at cells\n[b, t, width]", "text"),
            "means": Box(3, 0, "both means, dense\n[b, width]", "both"),
            **_logits(4),
        },
        ("image > cells > told > means > out", "text > words > shown > means", "words > told", "cells > shown"),
    ),
    "transformer": Drawing(
        {
            **_TOKENS,
            **_absent("absent side:\nmasked"),
            "cells": Box(1, 1, "cells + places\n+ modality", "image"),
            "words": Box(1, -1, "words + places\n+ modality", "text"),
            "all": Box(1.5, 0, "[judge; cells; words]\n[b, 1 + s + t, width]", "both"),
            "layers": Box(2.5, 0, "layers of\nself-attention", "both"),
            "judge": Box(3.5, 0, "the judge\n[b, width]", "both"),
            **_logits(4.5),
        },
        ("image > cells > all > layers > judge > out", "text > words > all"),
    ),
    "decision": Drawing(
        {
            **_POOLED,
            **_absent("side absent:\nthe other decides"),
            "a": Box(1, 1, "classifier\n[b, L]", "image"),
            "b": Box(1, -1, "classifier\n[b, L]", "text"),
            "rule": Box(2, 0, "average, weighted,\nstack or saturating", "both"),
            **_logits(3),
        },
        ("image > a > rule > out", "text > b > rule"),
    ),
    "image_only": _one_side("image"),
    "text_only": _one_side("text"),
}


def draw(drawing: Drawing) -> Figure:
    """Draw it."""
    columns = max(box.column for box in drawing.boxes.values())
    figure = Figure(figsize=(columns * _COLUMN + _WIDTH + 0.2, 2 * _LANE + _HEIGHT + 0.2), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-0.1, columns * _COLUMN + _WIDTH + 0.1)
    axes.set_ylim(-_LANE - _HEIGHT / 2 - 0.1, _LANE + _HEIGHT / 2 + 0.1)
    for box in drawing.boxes.values():
        _draw_box(axes, box)
    for chain in drawing.chains:
        for start, end in pairwise(chain.split(" > ")):
            _draw_arrow(axes, drawing.boxes[start], drawing.boxes[end])
    return figure


def _draw_box(axes: Axes, box: Box) -> None:
    left, middle = box.column * _COLUMN, box.lane * _LANE
    axes.add_patch(
        FancyBboxPatch(
            (left, middle - _HEIGHT / 2),
            _WIDTH,
            _HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=_FILL[box.tone],
            edgecolor="#374151",
            linewidth=0.8,
            linestyle="--" if box.tone == "absent" else "-",
        )
    )
    axes.text(left + _WIDTH / 2, middle, box.says, ha="center", va="center", fontsize=8.5, color="#111827")


def _draw_arrow(axes: Axes, start: Box, end: Box) -> None:
    here, there = start.column * _COLUMN, end.column * _COLUMN
    if there >= here + _WIDTH:  # from side to side
        points = (here + _WIDTH, start.lane * _LANE), (there, end.lane * _LANE)
    else:  # up or down between boxes that lie above each other
        way = 1 if end.lane > start.lane else -1
        middle = (max(here, there) + min(here, there) + _WIDTH) / 2
        points = (
            (middle, start.lane * _LANE + way * _HEIGHT / 2),
            (middle, end.lane * _LANE - way * _HEIGHT / 2),
        )
    start_point, end_point = points
    axes.add_patch(
        FancyArrowPatch(
            start_point, end_point, arrowstyle="-|>", mutation_scale=9, color="#374151", lw=0.9, shrinkA=0, shrinkB=0
        )
    )


def main(folder: Path = FOLDER) -> None:
    """Write a picture of each fusion, the same bytes each time.

    Args:
        folder: Where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Text as text: small files, read by search and by those who listen to pages.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vigil", "font.family": "sans-serif"}):
        for kind, drawing in FIGURES.items():
            draw(drawing).savefig(folder / f"fusion-{kind}.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
