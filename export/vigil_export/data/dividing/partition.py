"""Divides a data set into splits or folds: by whole groups, with labels spread evenly. It opens no picture.

The rule is that of scikit-learn's StratifiedGroupKFold (the groups that weigh most on some label first, each to where
it brings the shares closest to what was asked for), widened to shares that differ and to rows with several labels
(Sechidis et al. 2011, "On the stratification of multi-label data"); both are beyond that class.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vigil_export.data.rows import DataError, Dataset, Row, SplitName


def split(
    dataset: Dataset,
    shares: Mapping[SplitName, float],
    *,
    seed: int,
    keep: Sequence[SplitName] = (),
    tied: Sequence[tuple[int, int]] = (),
) -> Dataset:
    """Give every row a split.

    Args:
        dataset: Its rows.
        shares: Of all rows that are divided; they need not sum to 1.
        seed: Equal arguments give equal splits.
        keep: Rows that lie in one of these splits already stay there, and it gets no others.
        tied: Pairs of rows (their places) to be kept together, as if they were of one group.

    Returns:
        The data set with `Row.split` filled in.

    Raises:
        DataError: There are fewer groups than splits, or a label would be missing in training.
    """
    wanted = {name: share for name, share in shares.items() if name not in keep and share > 0}
    free = np.array([number for number, row in enumerate(dataset.rows) if row.split not in keep], np.int64)
    names = [row.split for row in dataset.rows]
    if len(free):
        groups = _groups(dataset.rows, tied)[free]
        weights = np.array(list(wanted.values()))
        parts = _divide(_strata(dataset)[free], groups, weights / weights.sum(), seed)
        for place, part in zip(free, parts, strict=True):
            names[place] = list(wanted)[part]
    return _checked(_with_splits(dataset, names))


def folds(
    dataset: Dataset, k: int = 0, *, seed: int, column: str = "", validation_share: float = 0.15
) -> tuple[Dataset, ...]:
    """Divide a data set for cross-validation; the splits that it has are ignored.

    Args:
        dataset: Its rows.
        k: How many folds, at least 2; not used with `column`.
        seed: Equal arguments give equal folds.
        column: A facet that numbers the folds, for data sets that bring theirs.
        validation_share: Of the rows outside the fold, for early stopping and calibration.

    Returns:
        One data set per fold: its rows are `test`, all others `train` or `validation`. Every row is tested once.

    Raises:
        DataError: There are fewer groups than folds, no such column, or a label would be missing in training.
    """
    fold_of = _given_folds(dataset, column) if column else _equal_folds(dataset, k, seed)
    shares: dict[SplitName, float] = {"train": 1 - validation_share, "validation": validation_share}
    return tuple(
        split(
            _with_splits(dataset, ["test" if fold == number else "" for fold in fold_of]),
            shares,
            seed=seed + number,
            keep=("test",),
        )
        for number in range(max(fold_of) + 1)
    )


def _equal_folds(dataset: Dataset, k: int, seed: int) -> list[int]:
    if k < 2:
        raise DataError(f"expected at least 2 folds, found {k}")
    parts = _divide(_strata(dataset), _groups(dataset.rows, ()), np.full(k, 1 / k), seed)
    return [int(part) for part in parts]


def _given_folds(dataset: Dataset, column: str) -> list[int]:
    values = [dict(row.facets).get(column) for row in dataset.rows]
    for row, value in zip(dataset.rows, values, strict=True):
        if value is None:
            raise DataError(f"{row.id}: expected a column {column!r} that names the fold, found {_usable(dataset)}")
    names = sorted({str(value) for value in values})
    if len(names) < 2:
        raise DataError(f"expected at least 2 folds in {column}, found {', '.join(names)}")
    return [names.index(str(value)) for value in values]


def _usable(dataset: Dataset) -> str:
    """Say which columns could number folds: none that has a meaning of its own."""
    known = sorted({name for row in dataset.rows for name, _ in row.facets})
    if not known:
        return (
            "none beside those that have a meaning of their own (group, lang, ...): add one, or give a number of "
            "folds, which divides by whole groups"
        )
    return f"the columns {', '.join(known)}, of which one with a value in every row may be used"


def _groups(rows: Sequence[Row], tied: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """Return int64 [n]: rows of one number stay together; those of one picture do, whatever their groups are called."""
    _, number = np.unique(np.array([row.group for row in rows], np.str_), return_inverse=True)
    pairs = [*tied, *_sharing_a_picture(rows)]
    if not pairs:
        return number.astype(np.int64)
    ends = number[np.asarray(pairs, np.int64)]
    links = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(len(rows), len(rows)))
    joined: npt.NDArray[np.int64] = connected_components(links, directed=False)[1][number].astype(np.int64)
    return joined


def _sharing_a_picture(rows: Sequence[Row]) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for number, row in enumerate(rows):
        if row.image is not None and (earlier := first.setdefault(os.path.normpath(row.image), number)) != number:
            yield earlier, number


def _strata(dataset: Dataset) -> npt.NDArray[np.float64]:
    """Return [n, names + 1]: 1 where the row has the name, and 1 in the last column."""
    names = sorted({name for row in dataset.rows for name in row.labels})
    place = {name: number for number, name in enumerate(names)}
    strata = np.zeros((len(dataset.rows), len(names) + 1))
    strata[:, -1] = 1
    for number, row in enumerate(dataset.rows):
        strata[number, [place[name] for name in row.labels]] = 1
    return strata


def _divide(
    strata: npt.NDArray[np.float64], groups: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], seed: int
) -> npt.NDArray[np.int64]:
    """Return int64 [n], the part of each row."""
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    if count < len(shares):
        raise DataError(f"expected at least {len(shares)} groups to divide, found {count}: whole groups stay together")
    weight = np.zeros((count, strata.shape[1]))
    np.add.at(weight, group, strata)
    weight /= np.maximum(weight.sum(axis=0), 1)
    order = np.random.default_rng([seed, 81]).permutation(count)
    order = order[np.argsort(-weight[order].max(axis=1), kind="stable")]
    missing = np.repeat(shares[:, None], strata.shape[1], axis=1)
    part_of = np.empty(count, np.int64)
    for number in order:
        # What the sum of squared deviations changes by, if this part takes the group.
        cost = (weight[number] * (weight[number] - 2 * missing)).sum(axis=1)
        part_of[number] = part = int(cost.argmin())
        missing[part] -= weight[number]
    return part_of[group]


def _with_splits(dataset: Dataset, names: Sequence[str]) -> Dataset:
    rows = (replace(row, split=name) for row, name in zip(dataset.rows, names, strict=True))
    return replace(dataset, rows=tuple(rows))


def _checked(dataset: Dataset) -> Dataset:
    learnt = {name for row in dataset.rows if row.split == "train" for name in row.labels}
    for row in dataset.rows:
        for name in row.labels:
            if name not in learnt:
                raise DataError(
                    f"expected rows of the label {name!r} in training, found all of them in one group of another split "
                    f"({row.id}); add rows from elsewhere, or leave the label out"
                )
    return dataset
