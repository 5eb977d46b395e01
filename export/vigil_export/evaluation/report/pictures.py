"""Draws the pictures of reports. In: scored decisions, intervals. Out: SVG as addresses. No files."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from stream_app.bundle.manifest import Presence
from vigil_export.evaluation.evaluate import MISSING_WORDS
from vigil_export.evaluation.intervals import Interval
from vigil_export.evaluation.metrics import confusion, reliability
from vigil_export.evaluation.report.history import History
from vigil_export.evaluation.report.samples import address
from vigil_export.evaluation.scores import Scored

LINES = 8
"""Curves in one picture; of more labels, those with the lowest area are drawn."""
FIRM = 5
"""A reliability bin with fewer claims is not drawn: what came true of it is chance."""
POINTS = 400
"""Points of a curve; an eye sees no more."""
CELLS = 24
"""Classes up to which a confusion is drawn with its counts."""

# Texts stay texts, in the reader's own fonts: labels may be in any script. Without salt, names inside differ each time.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
_COLOURS: dict[Presence, str] = {"both": "#1f5fa8", "image": "#c25e00", "text": "#3b8132"}


def curves(scored: Mapping[Presence, Scored], areas: Sequence[float]) -> str:
    """Draw ROC and precision over recall.

    Args:
        scored: Decisions of each presence. With one label each presence is a line, with more each label judged by
            all sides.
        areas: AUROC of each label.
    """
    both = scored["both"]
    if len(both.labels) == 1:
        lines = [(MISSING_WORDS[presence], found, 0) for presence, found in scored.items()]
        colours = [_COLOURS[presence] for presence in scored]
    else:
        lowest = sorted(np.argsort(np.nan_to_num(areas, nan=2.0), kind="stable")[:LINES].tolist())
        lines = [(both.labels[place], both, place) for place in lowest]
        colours = [f"C{place}" for place in range(len(lines))]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (name, found, place), colour in zip(lines, colours, strict=True):
            truth, micro = found.truth[:, place] > 0.5, found.micro[:, place]
            if not truth.any() or truth.all():
                continue
            wrong, reached, _ = roc_curve(truth, micro)
            precision, recall, _ = precision_recall_curve(truth, micro)
            left.plot(wrong, reached, color=colour, label=name)
            thin = _thinned(len(recall))
            right.step(recall[thin], precision[thin], where="post", color=colour, label=name)
        left.plot((0, 1), (0, 1), color="grey", linewidth=0.8, linestyle=":")
        _name(left, "ROC", "share of decisions without it that open", "share with it that open")
        _name(right, "Precision and recall", "recall", "precision")
        if left.get_legend_handles_labels()[0]:
            left.legend(loc="lower right", fontsize=8)
        return _svg(figure)


def progress(history: History) -> str | None:
    """Draw losses, and the other figures that lie within 0 and 1, over epochs; None where there is nothing."""
    losses = {name: line for name, line in history.items() if "loss" in name}
    others = {
        name: line for name, line in history.items() if name not in losses and 0 <= min(line[1]) <= max(line[1]) <= 1
    }
    panels = [(title, lines) for title, lines in (("Loss", losses), ("Figures", others)) if lines]
    if not panels:
        return None
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.5 * len(panels), 3.2), layout="constrained")
        for axis, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for name, (epochs, values) in lines.items():
                axis.plot(epochs, values, "o-", markersize=2.5, label=name)
            axis.set(title=title, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.legend(fontsize=8)
        return _svg(figure)


def reliabilities(scored: Mapping[Presence, Scored]) -> str:
    """Draw how often claims of a probability come true, and how many claims there are."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.4, 4.4), layout="constrained")
        top, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
        top.plot((0, 1), (0, 1), color="grey", linewidth=0.8, linestyle=":")
        for presence, found in scored.items():
            bins = reliability(found)
            firm = [each for each in bins if each.count >= FIRM]
            colour = _COLOURS[presence]
            top.plot(
                [each.claimed for each in firm],
                [each.observed for each in firm],
                "o-",
                markersize=3.5,
                color=colour,
                label=MISSING_WORDS[presence],
            )
            below.plot(
                [each.claimed for each in bins], [each.count for each in bins], "o-", markersize=2.5, color=colour
            )
        _name(top, f"Reliability, bins of {FIRM} or more", "", "share that was so")
        below.set(xlabel="probability that was given", ylabel="count", yscale="log", xlim=(0, 1))
        top.legend(loc="lower right", fontsize=8)
        return _svg(figure)


def confusions(scored: Scored) -> str:
    """Draw which class was decided for which truth; shades are shares of the truth."""
    names, cells = confusion(scored)
    share = cells / np.maximum(cells.sum(1, keepdims=True), 1)
    side = min(9.0, 2.4 + 0.42 * len(names))
    with mpl.rc_context({**_STYLE, "axes.grid": False}):
        figure = Figure(figsize=(side + 0.6, side), layout="constrained")
        axis = figure.subplots()
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        places = range(len(names))
        axis.set_xticks(places, names, rotation=60, ha="right", rotation_mode="anchor")
        axis.set_yticks(places, names)
        for row in places if len(names) <= CELLS else ():
            for column in places:
                if cells[row, column]:
                    colour = "white" if share[row, column] > 0.55 else "black"
                    axis.text(column, row, str(cells[row, column]), ha="center", va="center", color=colour, fontsize=8)
        axis.set(xlabel="decided", ylabel="true", title="Confusion")
        return _svg(figure)


def forest(lines: Sequence[tuple[str, Interval]], title: str, *, unit: str, zero: bool) -> str:
    """Draw values with their intervals beneath one another.

    Args:
        lines: Name and value; from the top.
        title: Of the picture.
        unit: Below it.
        zero: Draw a line at zero, for differences.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 0.9 + 0.3 * len(lines)), layout="constrained")
        axis = figure.subplots()
        for place, (_, interval) in enumerate(lines):
            if not math.isnan(interval.low):
                axis.plot((interval.low, interval.high), (place, place), color="#1f5fa8", linewidth=2)
            axis.plot(interval.value, place, "o", color="#1f5fa8", markersize=5)
        if zero:
            axis.axvline(0, color="black", linewidth=0.8)
        axis.set_yticks(range(len(lines)), [name for name, _ in lines])
        axis.set_ylim(len(lines) - 0.5, -0.5)
        axis.set(xlabel=unit, title=title)
        return _svg(figure)


def _thinned(count: int) -> npt.NDArray[np.int64]:
    """Return places of at most `POINTS` of so many points, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(np.int64))


def _name(axis: Axes, title: str, across: str, upwards: str) -> None:
    axis.set(title=title, xlabel=across, ylabel=upwards, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))


def _svg(figure: Figure) -> str:
    drawn = io.StringIO()
    with warnings.catch_warnings():
        # Matplotlib has no glyphs for many scripts, and needs none: the page's reader draws the texts.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return address(drawn.getvalue().encode(), "image/svg+xml")
