"""Loads a finished run. In: a run folder. Out: its model, tokenizer and data, as training left them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file

from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import Tokenizer
from vigil_export.data import Purpose, Split, SplitName
from vigil_export.models.model import FusionModel, ModelSpec, build_model
from vigil_export.training.config import TrainConfig, read_config
from vigil_export.training.rows import open_rows, open_splits, require_same_rows
from vigil_export.training.run import RunError, RunFolder


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
            f"{path}: expected a file of a finished run, found one that is truncated or does not fit ({error}); "
            "restore it from a copy, or train again"
        ) from error


def write_model(path: Path, file: ModelFile) -> None:
    """Write `model.json`."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(file, order="deterministic"), indent=2) + b"\n")
