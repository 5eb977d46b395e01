"""Reads how a training went, epoch by epoch. In: the run's metrics.csv. Out: lines to draw."""

from __future__ import annotations

import csv
from pathlib import Path

History = dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
"""Name of a column -> epochs, counted from 1 as messages count them, and the column's value in each."""


def read_history(path: Path) -> History:
    """Read the CSV of a training: a column `epoch`, counted from 0, and figures; a line for each epoch.

    Returns:
        The figures of at least two epochs; empty where there is no such file, or one that somebody has changed.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = [{name: float(cell) for name, cell in line.items()} for line in csv.DictReader(file)]
            epochs = tuple(line.pop("epoch") + 1 for line in lines)
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return {name: (epochs, tuple(line[name] for line in lines)) for name in lines[0]} if len(lines) > 1 else {}
