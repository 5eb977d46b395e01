"""The rows of a run, as its configuration asks for them. In: a configuration. Out: a data set, its splits, its hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from stream_app.bundle.manifest import ImageSpec
from vigil_export.data import Dataset, Row, SplitName
from vigil_export.data.checking.sides import missing_sides
from vigil_export.data.dividing.partition import folds, split
from vigil_export.data.preparing.access import Splits
from vigil_export.data.reading.read import open_dataset
from vigil_export.training.config import ConfigError, DataConfig, TrainConfig
from vigil_export.training.frozen import Keep
from vigil_export.training.run import RunError, RunFolder, read_json


def open_rows(config: TrainConfig) -> Dataset:
    """Read the data set; where it has no validation rows, take some from training by whole groups.

    Raises:
        DataError: As `open_dataset`, `split` and `folds`.
    """
    data = config.data
    if data.folds and not data.uses_all_rows:
        return open_folds(config)[data.fold % data.folds]
    dataset = open_dataset(Path(data.path), data)
    names = {row.split for row in dataset.rows}
    lacks_validation = "train" in names and "validation" not in names and bool(data.validation_share)
    if not data.uses_all_rows and not lacks_validation:
        return dataset
    share = _validation_share(data)
    keep: tuple[SplitName, ...] = () if data.uses_all_rows else ("test",)
    return split(dataset, {"train": 1 - share, "validation": share}, seed=config.seed, keep=keep)


def open_folds(config: TrainConfig) -> tuple[Dataset, ...]:
    """Read the data set once per fold of a cross-validation, the fold being its test split.

    Raises:
        DataError: As `open_dataset` and `folds`.
    """
    data = config.data
    dataset, share = open_dataset(Path(data.path), data), _validation_share(data)
    return folds(dataset, data.folds, seed=config.seed, column=data.fold_column, validation_share=share)


def require_sides(dataset: Dataset, config: TrainConfig) -> None:
    """Require that some row has each side that the fusion uses.

    Raises:
        ConfigError: None has one.
    """
    for missing in missing_sides(dataset.rows):
        other = "image_only" if missing.side == "text" else "text_only"
        if config.fusion.kind != other:
            raise ConfigError(
                f"{config.data.path}: {len(dataset)} {missing.words}; otherwise train the other side alone: "
                f"--fusion {other}"
            )


def _validation_share(data: DataConfig) -> float:
    """Return the share; calibration needs some rows, so none is the default."""
    return data.validation_share or DataConfig(path="").validation_share


def open_splits(config: TrainConfig, dataset: Dataset, run: RunFolder) -> Splits:
    """Return the splits of a data set with pictures prepared for the run's model; they are kept."""
    image = ImageSpec(height=config.image.height, width=config.image.width)
    return Splits(dataset, image, cache_of(config, run))


def cache_of(config: TrainConfig, run: RunFolder) -> Path:
    """Return the folder where pictures, and the output of frozen encoders for them, are kept."""
    return Path(config.data.cache) if config.data.cache else run.cache


def keep_of(config: TrainConfig, run: RunFolder) -> Keep:
    """Return where a run keeps the output of frozen encoders, and how much."""
    return Keep(cache_of(config, run), int(config.data.kept_gib * 2**30))


def rows_sha256(dataset: Dataset) -> str:
    """Return the SHA-256 of what the rows say; folders do not count, nor does what lies in the pictures' files."""
    digest = hashlib.sha256(json.dumps([dataset.task, dataset.labels, dataset.negative]).encode())
    for row in dataset.rows:
        digest.update(json.dumps(_said(row), ensure_ascii=False).encode())
    return digest.hexdigest()


def content_sha256(dataset: Dataset) -> str:
    """Return the SHA-256 of what the rows say, wherever they are: neither names, order nor splits of rows count."""
    # A group that was made up is called by where its picture lies.
    rows = (row if row.is_group_named else replace(row, group="") for row in dataset.rows)
    said = sorted(json.dumps(_said(row)[1:-1], ensure_ascii=False) for row in rows)
    about = [dataset.task, dataset.labels, dataset.negative, said]
    return hashlib.sha256(json.dumps(about, ensure_ascii=False).encode()).hexdigest()


def _said(row: Row) -> list[object]:
    image = None if row.image is None else row.image.name
    return [row.id, image, row.text, row.labels, row.group, row.sequence, row.lang, row.split]


def require_same_rows(dataset: Dataset, run: RunFolder) -> None:
    """Require that a data set has the rows that a run started with.

    Raises:
        RunError: They are others, or the run does not say which it has.
    """
    expected, found = str(read_json(run.dataset).get("sha256")), rows_sha256(dataset)
    if expected != found:
        raise RunError(
            f"{run.path}: expected the rows of the training (SHA-256 {expected[:12]}), found others ({found[:12]}): "
            "restore the data set, or train again"
        )
