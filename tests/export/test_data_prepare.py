"""Prepared pictures are serving's, each is decoded once, and test rows are for evaluation alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream_app.bundle.image import decode_image
from stream_app.bundle.manifest import ImageSpec
from tests.export.folders import fights, full_disk, imagefolder
from vigil_export.data import DataError, Dataset, Split, Splits, TestSplitError, open_dataset
from vigil_export.data.preparing.prepare import picture_store, prepare

SPEC = ImageSpec(height=24, width=32)


def _pictures(split: Split) -> list[bytes]:
    return [split.images[place].tobytes() for place in split.image_of if place >= 0]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rows = fights(4, scene="s")
    rows[2] |= {"file_name": "0.jpg", "lang": "zh"}
    rows[3] |= {"file_name": None}
    return open_dataset(imagefolder(tmp_path / "data", rows))


def test_pictures_are_those_that_serving_makes(dataset: Dataset, tmp_path: Path) -> None:
    split = prepare(dataset, dataset.rows, SPEC, tmp_path / "cache")
    images = [row.image for row in dataset.rows if row.image]
    assert _pictures(split) == [decode_image(image.read_bytes(), SPEC).tobytes() for image in images]
    assert split.image_of.tolist() == [0, 1, 0, -1]
    assert split.images.shape == (2, 24, 32, 3)
    assert split.truth.tolist() == [[1], [0], [1], [0]]
    assert split.has_image.tolist() == [True, True, True, False]
    assert {name: values.tolist() for name, values in split.facets.items()} == {
        "scene": ["s"] * 4,
        "language": ["", "", "zh", ""],
        "group": ["picture:/0.jpg", "picture:/1.jpg", "picture:/0.jpg", "row:metadata.jsonl:4"],
    }


def test_prose_is_no_facet(tmp_path: Path) -> None:
    rows = [row | {"remark": "x" * 65, "shift": "y" * 64} for row in fights(2)]
    dataset = open_dataset(imagefolder(tmp_path, rows))
    assert set(prepare(dataset, dataset.rows, SPEC, tmp_path / "cache").facets) == {"shift", "group"}


def test_groups_and_sequences_have_one_number_in_all_splits(tmp_path: Path) -> None:
    for split, scenes in (("train", "ba"), ("test", "cb")):
        rows = [row | {"group": scene, "sequence": ""} for row, scene in zip(fights(2), scenes, strict=True)]
        imagefolder(tmp_path / split, rows)
    dataset = open_dataset(tmp_path)
    splits = Splits(dataset, SPEC, tmp_path / "cache")
    assert splits.open("train", purpose="training").groups.tolist() == [1, 0]
    assert splits.open("test", purpose="evaluation").groups.tolist() == [2, 1]
    assert splits.open("test", purpose="evaluation").sequences.tolist() == [-1, -1]


def test_a_cached_picture_is_not_decoded_again_and_a_changed_one_is(dataset: Dataset, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = _pictures(prepare(dataset, dataset.rows[:1], SPEC, cache))
    pixels = next(cache.rglob("arrays"))
    stored = pixels.read_bytes()
    pixels.write_bytes(bytes(len(stored)))
    split = prepare(dataset, dataset.rows, SPEC, cache)
    assert not split.images[split.image_of[0]].any(), "what lies in the store was not used"
    first, second = (row.image for row in dataset.rows[:2])
    assert first is not None
    assert second is not None
    pixels.write_bytes(stored + pixels.read_bytes()[len(stored) :])
    second.write_bytes(first.read_bytes())
    assert _pictures(prepare(dataset, dataset.rows[:2], SPEC, cache)) == before * 2
    assert len(pixels.read_bytes()) == 2 * len(stored)


@pytest.mark.parametrize("torn", ["arrays", "index"])
def test_a_store_that_lost_its_end_is_mended(dataset: Dataset, tmp_path: Path, torn: str) -> None:
    cache = tmp_path / "cache"
    whole = _pictures(prepare(dataset, dataset.rows, SPEC, cache))
    file = next(cache.rglob(torn))
    os.truncate(file, file.stat().st_size - 10)
    assert _pictures(prepare(dataset, dataset.rows, SPEC, cache)) == whole


def test_a_full_disk_is_said_and_nothing_is_lost(dataset: Dataset, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    one = _pictures(prepare(dataset, dataset.rows[:1], SPEC, cache))
    message = r"expected a folder that can be written.*free space"
    with full_disk(24 * 32 * 3 + 100), pytest.raises(DataError, match=message):
        prepare(dataset, dataset.rows, SPEC, cache)
    assert len(picture_store(cache, SPEC).read()) == 1
    assert _pictures(prepare(dataset, dataset.rows, SPEC, cache))[:1] == one


def test_a_broken_picture_is_named(dataset: Dataset, tmp_path: Path) -> None:
    broken = dataset.rows[1].image
    assert broken is not None
    broken.write_bytes(broken.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"1\.jpg: expected a whole JPEG"):
        prepare(dataset, dataset.rows, SPEC, tmp_path / "cache")


@pytest.mark.parametrize("purpose", ["training", "calibration"])
def test_the_test_split_is_not_to_learn_from(dataset: Dataset, tmp_path: Path, purpose: str) -> None:
    rows = tuple(replace(row, split="test") for row in dataset.rows)
    splits = Splits(replace(dataset, rows=rows), SPEC, tmp_path / "cache")
    with pytest.raises(TestSplitError, match=f"for {purpose}, found test"):
        splits.open("test", purpose=purpose)  # type: ignore[arg-type]
    assert len(splits.open("test", purpose="evaluation")) == 4
    with pytest.raises(TestSplitError):
        splits.open("test", purpose=purpose)  # type: ignore[arg-type]


def test_several_splits_open_as_one_but_never_with_the_test_split_to_learn_from(
    dataset: Dataset, tmp_path: Path
) -> None:
    rows = tuple(
        replace(row, split=name)
        for row, name in zip(dataset.rows, ("train", "test", "validation", "train"), strict=True)
    )
    splits = Splits(replace(dataset, rows=rows), SPEC, tmp_path / "cache")
    assert splits.open("train", "validation", purpose="training").ids == tuple(rows[at].id for at in (0, 2, 3))
    assert len(splits.open("train", purpose="training")) == 2
    with pytest.raises(TestSplitError):
        splits.open("train", "test", purpose="training")
    lacking = Splits(replace(dataset, rows=rows[1:2]), SPEC, tmp_path / "cache")
    with pytest.raises(DataError, match="split validation, found none"):
        lacking.open("test", "validation", purpose="evaluation")


def test_a_split_without_rows_says_what_there_is(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split train, found none \(train 0, .* without a split 4\)"):
        Splits(dataset, SPEC, tmp_path / "cache").open("train", purpose="training")


def test_the_truth_of_several_labels_is_one_column_each(tmp_path: Path) -> None:
    rows = [{"text": "x", "labels": labels} for labels in (["fire"], ["fight", "fire"], ["normal"], [])]
    dataset = open_dataset(imagefolder(tmp_path, rows))
    split = prepare(dataset, dataset.rows, SPEC, tmp_path / "cache")
    np.testing.assert_array_equal(split.truth, np.array([[0, 1], [1, 1], [0, 0], [0, 0]], np.float32))
    assert split.images.shape == (0, 24, 32, 3)
