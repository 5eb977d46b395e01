"""Lays out a sheet of samples, for a person to look at before training. In: rows. Out: one HTML page."""

from __future__ import annotations

import numpy as np

from vigil_export.data.rows import Dataset, Row
from vigil_export.evaluation.report.page import template
from vigil_export.evaluation.report.samples import picture_of


def sheet_page(dataset: Dataset, *, most: int = 6, seed: int = 0, labels: int = 16) -> str:
    """Return a page with some rows of every label, chosen at random, each picture once.

    Args:
        dataset: Its rows.
        most: Rows per label.
        seed: Decides which.
        labels: Labels shown, the most frequent first.
    """
    chosen = _choose(dataset, most, seed)[:labels]
    cards = [(label, [(row, picture_of(row.image) if row.image else None) for row in rows]) for label, rows in chosen]
    return template("sheet.html.j2").render(task=dataset.task, labels=cards)


def _choose(dataset: Dataset, most: int, seed: int) -> list[tuple[str, list[Row]]]:
    rng = np.random.default_rng(seed)
    of_label: dict[str, list[Row]] = {}
    for row in dataset.rows:
        for label in row.labels or ("no label",):
            of_label.setdefault(label, []).append(row)
    chosen = []
    for label, rows in sorted(of_label.items(), key=lambda item: -len(item[1])):
        shuffled = [rows[place] for place in rng.permutation(len(rows)).tolist()]
        distinct = {row.image or row.text: row for row in reversed(shuffled)}
        chosen.append((label, list(distinct.values())[-most:]))
    return chosen
