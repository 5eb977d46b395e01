"""Ties rows that show one picture, or nearly one: they must stay together. In: rows. Out: pairs of places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vigil_export.data.checking.duplicates import NEAR_BITS, near_pairs
from vigil_export.data.checking.scan import distinct, hashes_of, scan
from vigil_export.data.rows import Progress, Row


def tie_pictures(
    rows: Sequence[Row],
    *,
    bits: int = NEAR_BITS,
    looking: Progress | None = None,
    comparing: Progress | None = None,
) -> list[tuple[int, int]]:
    """Find the rows that have to stay together for their pictures.

    Being near is taken further: if a is near b and b is near c, all three are tied.

    Args:
        rows: Of a data set.
        bits: See `near_pairs`.
        looking: Told of each picture that was opened.
        comparing: Told of each picture that was compared.

    Returns:
        Pairs of places, enough of them to connect all rows that belong together.
    """
    pictures = scan(rows, looking)
    whole = distinct(pictures)
    cluster = np.arange(len(whole))
    for portion in near_pairs(*hashes_of(whole), bits=bits, progress=comparing):
        ends = cluster[portion]
        links = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(len(whole), len(whole)))
        cluster = connected_components(links, directed=False)[1][cluster]
    number = {picture.key: int(place) for picture, place in zip(whole, cluster, strict=True)}
    cluster_of: dict[Path | None, int | None] = {picture.file: number.get(picture.key) for picture in pictures}
    first: dict[int, int] = {}
    tied = []
    for place, row in enumerate(rows):
        belongs = cluster_of.get(row.image)
        if belongs is not None and first.setdefault(belongs, place) != place:
            tied.append((first[belongs], place))
    return tied
