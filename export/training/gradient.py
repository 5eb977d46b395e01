"""Trains a model by gradient descent, with PyTorch Lightning. Goes in: a model and rows. Goes out: its best weights."""

from __future__ import annotations

import csv
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from torch.utils.data import DataLoader, IterableDataset

from export.data import Split
from export.data.preparing.augment import AugmentSpec
from export.data.preparing.augment_text import TextAugmentSpec, TextChanges
from export.files import FULL
from export.models.model import FusionModel
from export.training.batches import Batch, Batches
from export.training.checkpoints import BEST, LAST, WholeCheckpoints, first_epoch, read_checkpoint
from export.training.config import ConfigError, Recipe, TrainConfig
from export.training.frozen import Keep
from export.training.losses import class_weights
from export.training.module import Fusion, TrainingError
from export.training.progress import Bar
from export.training.run import RunFolder
from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import Tokenizer

_KEPT: dict[str, Any] = {"save_top_k": 1, "enable_version_counter": False, "save_on_train_epoch_end": True}
_Changes = tuple[AugmentSpec | None, TextChanges | None]
"""Of pictures and of texts."""


class _Epochs(IterableDataset[Batch]):
    """The batches of each epoch in turn; an epoch's order follows from seed and number, so a resumed one is equal."""

    def __init__(self, batches: Batches, seed: int, changes: _Changes, epoch: Callable[[], int]) -> None:
        self._batches, self._seed, self._changes, self._epoch = batches, seed, changes, epoch

    def __iter__(self) -> Iterator[Batch]:
        return self._batches.shuffled(_rng_of(self._seed, self._epoch()), *self._changes)


def _rng_of(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch, 82])


class _InOrder(IterableDataset[Batch]):
    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self._batches.in_order()


def require_precision(recipe: Recipe) -> None:
    """See that the device can compute as the recipe says; Lightning would take bf16 instead, and not say so.

    Raises:
        ConfigError: It cannot.
    """
    is_cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if recipe.method == "gradient" and recipe.precision == "16-mixed" and is_cpu:
        raise ConfigError(
            "recipe.precision: expected 32 or bf16-mixed on a CPU, found 16-mixed: choose one of them, or train where "
            "PyTorch finds a GPU"
        )


def train_by_gradient(
    config: TrainConfig,
    run: RunFolder,
    model: FusionModel,
    rows: tuple[Split, Split, Tokenizer, TextSpec],
    keep: Keep,
    *,
    shows_progress: bool,
) -> dict[str, Any]:
    """Train in place, or go on from the run's last checkpoint.

    Args:
        config: The recipe.
        run: Where checkpoints and logs go.
        model: Ends with the weights of the epoch with the lowest validation loss, on the CPU.
        rows: Training and validation rows, the tokenizer and its bounds.
        keep: Where to keep what frozen encoders give.
        shows_progress: Show a bar on standard error.

    Returns:
        How it went, for `state.json`.

    Raises:
        ConfigError: The changes of texts do not fit the tokenizer.
        TrainingError: The loss is no number, or the memory is too small.
        OSError: The disk is full.
        KeyboardInterrupt: It was interrupted.
    """
    model.to(memory_format=torch.channels_last)  # convolutions learn faster in it
    trainer = _train(config, run, model, rows, keep, shows_progress)
    # Where it lies now: after a resumption Lightning may remember a folder that has been moved since.
    best = read_checkpoint(run.checkpoints / f"{BEST}.ckpt")
    model.cpu().load_state_dict({name.removeprefix("model."): value for name, value in best["state_dict"].items()})
    return {
        "epochs": config.recipe.epochs,
        "epoch": trainer.current_epoch,
        "best_epoch": int(best["epoch"]) + 1,
        "val_loss": round(float(_best(trainer).best_model_score or float("nan")), 6),
    }


def _train(
    config: TrainConfig,
    run: RunFolder,
    model: FusionModel,
    rows: tuple[Split, Split, Tokenizer, TextSpec],
    keep: Keep,
    shows_progress: bool,  # noqa: FBT001
) -> lightning.Trainer:
    train, validation, tokenizer, text = rows
    recipe = config.recipe
    sizes = {"pad_id": text.pad_id, "max_tokens": text.max_tokens, "batch": recipe.batch}
    changes, words = _changes(config, run, text)
    batches = Batches(train, tokenizer, **sizes).keep(
        model, keep, has_changes=changes is not None, has_text_changes=words is not None
    )
    judged = Batches(validation, tokenizer, **sizes).keep(model, keep)
    weights = class_weights(train.truth, model.spec.task) if recipe.class_weights else None
    # How many batches an epoch has depends on its order; the schedule ends with the last of them.
    counts = [batches.count(_rng_of(config.seed, epoch)) for epoch in range(recipe.epochs)]
    module = Fusion(model, recipe, seed=config.seed, steps=sum(counts), weights=weights)
    trainer = _trainer(config, run, Bar(counts, judged.count()) if shows_progress else None)
    # Lightning asks for the first batches before it knows where it resumes.
    first, last = first_epoch(run)
    epochs = _Epochs(batches, config.seed, (changes, words), lambda: max(first, trainer.current_epoch))
    with warnings.catch_warnings(), _said_clearly():
        warnings.simplefilter("ignore")  # of Lightning's, on workers of data loaders, lengths of iterables, old logs
        _keep_log(trainer, run, first)
        trainer.fit(
            module,
            _loader(epochs),
            _loader(_InOrder(judged)),
            ckpt_path=None if last is None else str(last),
            weights_only=True,
        )
    if trainer.interrupted:
        raise KeyboardInterrupt
    return trainer


def _keep_log(trainer: lightning.Trainer, run: RunFolder, first: int) -> None:
    """Put what was logged of the epochs before `first` into the log that Lightning begins anew."""
    path = run.logs / "metrics.csv"
    if not path.is_file():
        return
    with path.open(newline="") as file:
        lines = [
            line for line in csv.DictReader(file) if line.get("epoch", "").isdigit() and int(line["epoch"]) < first
        ]
    logger = next(one for one in trainer.loggers if isinstance(one, CSVLogger))
    logger.experiment.metrics.extend({key: value for key, value in line.items() if value} for line in lines)
    logger.save()


def _changes(config: TrainConfig, run: RunFolder, text: TextSpec) -> _Changes:
    recipe = config.recipe
    changes = recipe.augment if isinstance(recipe.augment, AugmentSpec) else None
    if not isinstance(recipe.augment_text, TextAugmentSpec):
        return changes, None
    try:
        return changes, TextChanges(recipe.augment_text, run.tokenizer.read_bytes(), text)
    except ValueError as error:
        raise ConfigError(f"recipe.augment_text.pieces: {error}; set it to 0") from error


def _loader(batches: IterableDataset[Batch]) -> DataLoader[Batch]:
    # Without a generator of its own it draws from the one that decides dropout, resumed at another time than not.
    return DataLoader(batches, batch_size=None, generator=torch.Generator())


def _trainer(config: TrainConfig, run: RunFolder, bar: Bar | None) -> lightning.Trainer:
    recipe = config.recipe
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # it advertises
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    callbacks: list[Callback] = [
        # After validation, when the epoch counts as done: what resumes begins with the next one. Lightning's own
        # `save_last` would leave out every epoch that is not the best.
        ModelCheckpoint(run.checkpoints, BEST, monitor="val_loss", **_KEPT),
        ModelCheckpoint(run.checkpoints, LAST, **_KEPT),
    ]
    if recipe.patience:
        callbacks.append(EarlyStopping("val_loss", patience=recipe.patience))
    if bar is not None:
        callbacks.append(bar)
    loggers: list[Logger] = [
        CSVLogger(run.path, name="logs", version=""),
        TensorBoardLogger(run.path, name="logs", version=""),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lightning.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=recipe.epochs,
            precision=recipe.precision,
            gradient_clip_val=recipe.clip or None,
            deterministic=recipe.is_deterministic,
            callbacks=callbacks,
            plugins=[WholeCheckpoints()],
            logger=loggers,
            enable_progress_bar=bar is not None,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
        )


def _best(trainer: lightning.Trainer) -> ModelCheckpoint:
    return next(one for one in trainer.callbacks if isinstance(one, ModelCheckpoint) and one.monitor)  # type: ignore[attr-defined]


@contextmanager
def _said_clearly() -> Iterator[None]:
    """Say what lies behind what PyTorch and Lightning raise: no memory, no space, somebody who interrupts."""
    advice = "--resume goes on from the last whole epoch"
    try:
        yield
    except SystemExit:  # what Lightning makes of Ctrl-C and SIGTERM
        raise KeyboardInterrupt from None
    except torch.OutOfMemoryError as error:
        message = f"expected enough memory on the device, found {error}; try a smaller recipe.batch or bf16-mixed"
        raise TrainingError(message) from error
    except OSError as error:
        if error.errno in FULL:
            raise OSError(error.errno, f"{os.strerror(error.errno or 0)}; {advice}", error.filename) from error
        raise
