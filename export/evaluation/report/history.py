"""Reads how a training went, epoch by epoch. Goes in: the run's metrics.csv. Goes out: lines to draw."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path

History = dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
"""Name of a column -> epochs, counted from 1 as messages count them, and the column's value in each."""

_NO_FIGURES = {"epoch", "step"}


def read_history(path: Path) -> History:
    """Read a CSV with a column `epoch`, counted from 0, and any others.

    Cells that are empty or no numbers are passed over.

    Returns:
        Columns with values in at least two epochs; empty where there is no such file.
    """
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                epoch = _number(row.get("epoch")) + 1
                for name, cell in row.items():
                    value = _number(cell) if isinstance(name, str) and name not in _NO_FIGURES else math.nan
                    if math.isfinite(value) and math.isfinite(epoch):
                        found[name][epoch].append(value)
    except OSError:
        return {}
    return {
        name: (tuple(sorted(of)), tuple(sum(of[epoch]) / len(of[epoch]) for epoch in sorted(of)))
        for name, of in found.items()
        if len(of) > 1
    }


def _number(cell: object) -> float:
    try:
        return float(cell) if isinstance(cell, str) else math.nan
    except ValueError:
        return math.nan
