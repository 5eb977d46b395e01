"""Loads a finished run. Goes in: a run folder. Goes out: its model, tokenizer and data, as training left them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file

from export.data import Dataset, Row, Split, SplitName
from export.data.preparing.access import Purpose, Splits
from export.models.model import FusionModel, ModelSpec, build_model
from export.training.config import TrainConfig, open_rows, read_config
from export.training.frozen import Keep
from export.training.run import RunError, RunFolder, read_json
from stream_app.bundle.manifest import ImageSpec, TextSpec
from stream_app.bundle.text import Tokenizer


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of `model.json`."""

    spec: ModelSpec
    text: TextSpec


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A run.

    Attributes:
        model: The trained model, in evaluation.
        tokenizer: The bytes of tokenizer.json.
        text: Bounds and padding of texts.
        config: What was asked for.
        folder: Where it lies.
    """

    model: FusionModel
    tokenizer: bytes
    text: TextSpec
    config: TrainConfig
    folder: RunFolder

    def open(self, name: SplitName, *, purpose: Purpose) -> Split:
        """Read a split of the data that the run was trained on.

        Raises:
            RunError: The data is not what it was.
            DataError: It cannot be read.
            TestSplitError: The test split was asked for to learn from it.
        """
        dataset = open_rows(self.config)
        require_same_rows(dataset, self.folder)
        return open_splits(self.config, dataset, self.folder).open(name, purpose=purpose)


def open_splits(config: TrainConfig, dataset: Dataset, run: RunFolder) -> Splits:
    """Return the splits of a data set with pictures prepared for the run's model; they are kept."""
    image = ImageSpec(height=config.image.height, width=config.image.width)
    return Splits(dataset, image, cache=cache_of(config, run))


def cache_of(config: TrainConfig, run: RunFolder) -> Path:
    """Return the folder where pictures, and what frozen encoders give for them, are kept."""
    return Path(config.data.cache) if config.data.cache else run.cache


def keep_of(config: TrainConfig, run: RunFolder) -> Keep:
    """Return where a run keeps what frozen encoders give, and how much."""
    return Keep(cache_of(config, run), int(config.data.kept_gib * 2**30))


def rows_sha256(dataset: Dataset) -> str:
    """Return the SHA-256 of what the rows say; folders do not count, nor does what lies in the pictures' files."""
    digest = hashlib.sha256(json.dumps([dataset.task, dataset.labels, dataset.negative]).encode())
    for row in dataset.rows:
        digest.update(json.dumps(_said(row), ensure_ascii=False).encode())
    return digest.hexdigest()


def content_sha256(dataset: Dataset) -> str:
    """Return the SHA-256 of what the rows say wherever they lie: neither names, order nor splits of rows count."""
    # A group that was made up is called by where its picture lies.
    rows = (row if row.is_group_named else replace(row, group="") for row in dataset.rows)
    said = sorted(json.dumps(_said(row)[1:-1], ensure_ascii=False) for row in rows)
    about = [dataset.task, dataset.labels, dataset.negative, said]
    return hashlib.sha256(json.dumps(about, ensure_ascii=False).encode()).hexdigest()


def _said(row: Row) -> list[object]:
    image = None if row.image is None else row.image.name
    return [row.id, image, row.text, row.labels, row.group, row.sequence, row.lang, row.split]


def require_same_rows(dataset: Dataset, run: RunFolder) -> None:
    """See that a data set has the rows that a run began with.

    Raises:
        RunError: They are others, or the run does not say which it has.
    """
    expected, found = str(read_json(run.dataset).get("sha256")), rows_sha256(dataset)
    if expected != found:
        raise RunError(
            f"{run.path}: expected the rows of the training (SHA-256 {expected[:12]}), found others ({found[:12]}): "
            "put the data set back as it was, or train again"
        )


def load_run(run: RunFolder) -> LoadedRun:
    """Load a run.

    Raises:
        RunError: A file is missing or does not fit.
    """
    with _named(run.model):
        file = msgspec.json.decode(run.model.read_bytes(), type=ModelFile)
        model = build_model(file.spec, with_weights=False)
    with _named(run.tokenizer):
        tokenizer = run.tokenizer.read_bytes()
        Tokenizer(tokenizer, file.text)
    with _named(run.weights):
        model.load_state_dict(load_file(run.weights))
    with _named(run.config):
        config = read_config(run.config)
    return LoadedRun(model=model.eval(), tokenizer=tokenizer, text=file.text, config=config, folder=run)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file of a run that cannot be read."""
    try:
        yield
    except FileNotFoundError as error:
        raise RunError(
            f"{path}: expected a finished run, found no such file; train it, or resume its training"
        ) from error
    except (OSError, msgspec.MsgspecError, SafetensorError, RuntimeError, ValueError) as error:
        raise RunError(
            f"{path}: expected a file of a finished run, found one that is cut short or does not fit ({error}); put it "
            "back from a copy, or train again"
        ) from error


def write_model(path: Path, file: ModelFile) -> None:
    """Write `model.json`."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(file, order="deterministic"), indent=2) + b"\n")
