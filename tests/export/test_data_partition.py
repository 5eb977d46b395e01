"""Splits and folds: whole groups, every label in its share, the same again for the same seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vigil_export.data import DataError, Dataset, Row
from vigil_export.data.checking.check import crossing_groups
from vigil_export.data.dividing.partition import folds, split
from vigil_export.data.rows import SplitName

_SHARES: dict[SplitName, float] = {"train": 0.7, "validation": 0.15, "test": 0.15}


def _dataset(labels: list[tuple[str, ...]], groups: list[str], **row: object) -> Dataset:
    names = tuple(sorted({name for several in labels for name in several}))
    rows = tuple(
        Row(id=str(n), image=None, text="x", labels=several, group=group, **row)  # type: ignore[arg-type]
        for n, (several, group) in enumerate(zip(labels, groups, strict=True))
    )
    return Dataset("multilabel", names, (), rows)


def _random(seed: int, rows: int = 2000, groups: int = 150) -> Dataset:
    """Several labels per row, one of them rare, and groups of uneven size in which labels are not evenly spread."""
    rng = np.random.default_rng(seed)
    group = rng.zipf(1.4, rows) % groups
    tilt = rng.random((groups, 3)) * [0.9, 0.5, 0.06]
    labels = [tuple(name for name, p in zip("abc", tilt[g], strict=True) if rng.random() < p) for g in group]
    return _dataset(labels, [f"g{g}" for g in group])


def _share(dataset: Dataset, name: str, label: str) -> float:
    found = [row.split for row in dataset.rows if not label or label in row.labels]
    return found.count(name) / len(found)


@pytest.mark.parametrize("seed", range(6))
def test_groups_stay_whole_and_every_label_has_its_share(seed: int) -> None:
    divided = split(_random(seed), _SHARES, seed=seed)
    assert crossing_groups(divided) == {}
    assert {row.split for row in divided.rows} == {"train", "validation", "test"}
    for name, wanted in {"train": 0.7, "validation": 0.15, "test": 0.15}.items():
        # One group of a Zipf law may be a third of all rows: where it goes, shares go with it.
        largest = max(Counter(row.group for row in divided.rows).values()) / len(divided)
        for label in ("", "a", "b", "c"):
            assert abs(_share(divided, name, label) - wanted) < max(0.05, largest), (name, label)


def test_equal_seeds_give_equal_splits_and_others_do_not() -> None:
    dataset = _random(1)
    assert split(dataset, _SHARES, seed=3) == split(dataset, _SHARES, seed=3)
    assert split(dataset, _SHARES, seed=3) != split(dataset, _SHARES, seed=4)


def test_a_kept_split_stays_as_it_is() -> None:
    dataset = _random(2)
    rows = tuple(replace(row, split="test" if row.group < "g2" else "train") for row in dataset.rows)
    divided = split(replace(dataset, rows=rows), {"train": 0.8, "validation": 0.2, "test": 0.5}, seed=0, keep=("test",))
    assert [row.split == "test" for row in divided.rows] == [row.split == "test" for row in rows]
    assert {row.split for row in divided.rows} == {"train", "validation", "test"}


def test_rows_that_are_tied_stay_together_with_their_groups() -> None:
    dataset = _dataset([("a",), ("b",)] * 12, [f"g{n // 2}" for n in range(24)])
    tied = [(0, 23), (23, 12)]
    divided = split(dataset, {"train": 0.5, "test": 0.5}, seed=5, tied=tied)
    assert len({divided.rows[n].split for n in (0, 1, 22, 23, 12, 13)}) == 1
    assert Counter(row.split for row in divided.rows) == {"train": 12, "test": 12}


def test_rows_of_one_picture_stay_together_whatever_their_groups_are_called() -> None:
    dataset = _dataset([("a",), ("b",)] * 12, [f"g{n}" for n in range(24)])
    # Of each picture one row names a group and one does not; the second is reached by another way.
    paths = [Path("set") / ("images" if n % 2 else "other/../images") / f"{n // 2}.png" for n in range(24)]
    rows = tuple(replace(row, image=path) for row, path in zip(dataset.rows, paths, strict=True))
    divided = split(replace(dataset, rows=rows), {"train": 0.5, "test": 0.5}, seed=0)
    assert all(divided.rows[n].split == divided.rows[n + 1].split for n in range(0, 24, 2))
    assert Counter(row.split for row in divided.rows) == {"train": 12, "test": 12}


def test_folds_test_every_row_once_and_share_no_group() -> None:
    dataset = _random(3)
    made = folds(dataset, 5, seed=0)
    tested = Counter(row.id for fold in made for row in fold.rows if row.split == "test")
    assert tested == Counter(row.id for row in dataset.rows)
    assert all(crossing_groups(fold) == {} for fold in made)
    assert all({row.split for row in fold.rows} == {"train", "validation", "test"} for fold in made)


def test_folds_of_a_column_are_taken_as_they_are() -> None:
    dataset = _dataset([("a",), ("b",)] * 6, [f"g{n}" for n in range(12)])
    rows = tuple(replace(row, facets=(("fold", str(n % 3 + 1)),)) for n, row in enumerate(dataset.rows))
    made = folds(replace(dataset, rows=rows), seed=0, column="fold")
    tested = [[row.id for row in fold.rows if row.split == "test"] for fold in made]
    assert tested == [[str(n) for n in range(first, 12, 3)] for first in range(3)]
    with pytest.raises(DataError, match=r"expected a column 'part' that names the fold, found the columns fold"):
        folds(replace(dataset, rows=rows), seed=0, column="part")
    with pytest.raises(DataError, match=r"found none beside those that have a meaning of their own \(group, lang"):
        folds(dataset, seed=0, column="part")


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        ([("a",), ("b",), ("a",)], ["x", "x", "y"], "expected at least 3 groups to divide, found 2"),
        ([("a",), ("a",), ("b",)] + [("a",)] * 9, list("xyzxyuvwxyuv"), "expected rows of the label 'b' in training"),
    ],
)
def test_what_cannot_be_divided_is_refused(labels: list[tuple[str, ...]], groups: list[str], message: str) -> None:
    shares = {"train": 1.0, "validation": 1.0, "test": 30.0}
    with pytest.raises(DataError, match=message):
        split(_dataset(labels, groups), shares, seed=0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="expected at least 2 folds, found 1"):
        folds(_dataset(labels, groups), 1, seed=0)


@pytest.mark.parametrize("seed", range(8))
def test_the_heaviest_group_is_placed_first_so_that_small_ones_can_make_up_for_it(seed: int) -> None:
    groups = ["large"] * 10 + [f"small {number}" for number in range(10)]
    divided = split(_dataset([("x",)] * 20, groups), {"train": 0.5, "test": 0.5}, seed=seed)
    assert Counter(row.split for row in divided.rows) == {"train": 10, "test": 10}
