"""Trains a model by gradient descent. In: a model, rows, a recipe. Out: its best weights, checkpoints, a log.

Epoch after epoch: learn from the training rows, judge the validation rows, record the progress.
`checkpoints/last.ckpt` holds all that the next epoch depends on, so that a killed training, once resumed, reaches
the weights that it would have had; `best.ckpt` is the same of the epoch with the lowest validation loss.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import Tokenizer
from stream_app.files import FULL, write_whole
from vigil_export.data import Split
from vigil_export.data.preparing.augment import AugmentSpec
from vigil_export.data.preparing.augment_text import TextAugmentSpec, TextChanges
from vigil_export.data.rows import Progress
from vigil_export.models.model import FusionModel
from vigil_export.training.batches import Batch, Batches
from vigil_export.training.config import ConfigError, Recipe, TrainConfig
from vigil_export.training.frozen import Keep
from vigil_export.training.losses import batch_losses, class_weights, count_right, encode, row_losses
from vigil_export.training.run import ADVICE, RunFolder, Say, TrainingError
from vigil_export.training.standing import Standing, read_checkpoint

_PRECISIONS = {"32": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def require_precision(recipe: Recipe) -> None:
    """Require that the device can compute as the recipe says.

    Raises:
        ConfigError: It cannot.
    """
    if recipe.method == "gradient" and recipe.precision == "16-mixed" and _device().type == "cpu":
        raise ConfigError(
            "recipe.precision: expected 32 or bf16-mixed on a CPU, found 16-mixed: choose one of these, or train where "
            "PyTorch finds a GPU"
        )


def train_by_gradient(
    config: TrainConfig,
    run: RunFolder,
    model: FusionModel,
    rows: tuple[Split, Split, Tokenizer, TextSpec],
    keep: Keep,
    *,
    say: Say,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train in place, or continue from the run's last checkpoint.

    Args:
        config: The recipe.
        run: Where checkpoints and the log go.
        model: Ends with the weights of the epoch with the lowest validation loss, on the CPU.
        rows: Training and validation rows, the tokenizer and its bounds.
        keep: Where to keep what frozen encoders give.
        say: Told one line after each epoch.
        progress: Told how many batches of the training are done.

    Returns:
        How it went, for `state.json`.

    Raises:
        ConfigError: The changes of texts do not fit the tokenizer.
        RunError: A checkpoint is not whole.
        TrainingError: The loss is no number, or the memory is too small.
        OSError: The disk is full.
    """
    recipe = config.recipe
    best, last = (run.checkpoints / f"{name}.ckpt" for name in ("best", "last"))
    begun = {path: read_checkpoint(path) for path in (last, best) if last.is_file() and path.is_file()}
    with _said_clearly():
        training = _Training(config, run, model, rows, keep, progress)
        training.restore(begun.get(last))
        standing = training.standing
        while not standing.is_over(recipe.epochs, recipe.patience):
            is_best = standing.note(training.learn(), training.judge())
            content = training.content()
            for path in (best, last) if is_best else (last,):
                write_whole(path, content)
            standing.write(run.logs / "metrics.csv")
            say(f"epoch {standing.epoch} of {recipe.epochs}: {standing}")
    model.cpu().load_state_dict(read_checkpoint(best)["model"])
    return {
        "epochs": recipe.epochs,
        "epoch": standing.epoch,
        "best_epoch": standing.best_epoch,
        "val_loss": round(standing.best_loss, 6),
    }


class _Training:
    """The model with all that changes while it learns: optimizer, schedule, scale of gradients, standing."""

    def __init__(
        self,
        config: TrainConfig,
        run: RunFolder,
        model: FusionModel,
        rows: tuple[Split, Split, Tokenizer, TextSpec],
        keep: Keep,
        progress: Progress | None,
    ) -> None:
        train, validation, tokenizer, text = rows
        self.model, self.recipe, self.seed = model, config.recipe, config.seed
        self.device, self.standing, self.progress = _prepared(self.recipe), Standing(), progress
        model.to(memory_format=torch.channels_last)  # convolutions learn faster in it
        self.changes, self.words = _changes(self.recipe, run, text)
        self.batches = Batches(train, tokenizer, text, batch=self.recipe.batch).keep(
            model, keep, has_changes=self.changes is not None, has_text_changes=self.words is not None
        )
        self.validation = Batches(validation, tokenizer, text, batch=self.recipe.batch).keep(model, keep)
        self.weights = class_weights(train.truth, model.spec.task) if self.recipe.class_weights else None
        model.to(self.device)
        if self.weights is not None:
            self.weights = self.weights.to(self.device)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=self.recipe.rate, weight_decay=self.recipe.weight_decay
        )
        # How many batches an epoch has depends on its order; the schedule ends with the last of them.
        self.steps = [self.batches.count(self._rng(epoch)) for epoch in range(self.recipe.epochs)]
        self.schedule = _schedule(self.optimizer, self.recipe, max(2, sum(self.steps)))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.recipe.precision == "16-mixed")

    def learn(self) -> float:
        """Pass over the training rows once; return the mean loss with what they have."""
        epoch, total, rows = self.standing.epoch, 0.0, 0
        torch.manual_seed(self.seed * 1_000_003 + epoch)  # dropout, so that a resumed training goes on as it would have
        self.model.train()
        for encoder, spec in ((self.model.image, self.model.spec.image), (self.model.text, self.model.spec.text)):
            if spec.trainable == "staged":
                encoder.thaw(epoch // self.recipe.thaw_every)
        for number, batch in enumerate(self.batches.shuffled(self._rng(epoch), self.changes, self.words), start=1):
            total += self._step(batch.to(self.device)) * len(batch.rows)
            rows += len(batch.rows)
            if self.progress is not None:
                self.progress(sum(self.steps[:epoch]) + number, sum(self.steps))
        return total / rows

    def _step(self, batch: Batch) -> float:
        with self._arithmetic():
            both, others = batch_losses(self.model, batch, self.recipe, self.weights)
            loss = both + others
        if not torch.isfinite(loss):
            raise TrainingError(
                f"epoch {self.standing.epoch + 1}: expected a finite loss, found {loss.item()}; {ADVICE}"
            )
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        return float(both.detach())

    def judge(self) -> tuple[float, float]:
        """Return the mean plain loss of the validation rows with what they have, and the share that is right."""
        self.model.eval()
        loss, right, rows = 0.0, 0, 0
        task = self.model.spec.task
        with torch.no_grad():
            for one in self.validation.in_order():
                batch = one.to(self.device)
                with self._arithmetic():
                    logits = self.model.head(*encode(self.model, batch), batch.has_image, batch.has_text)
                    loss += float(row_losses(logits, batch.truth, task=task).sum())
                right += count_right(logits, batch.truth, task)
                rows += len(batch.rows)
        return loss / rows, right / rows

    def content(self) -> bytes:
        """Return all that the next epoch depends on."""
        parts = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule", "scaler")}
        written = io.BytesIO()
        torch.save({**parts, "standing": asdict(self.standing)}, written)
        return written.getvalue()

    def restore(self, checkpoint: dict[str, Any] | None) -> None:
        """Restore it; None: start afresh."""
        for name in ("model", "optimizer", "schedule", "scaler") if checkpoint else ():
            getattr(self, name).load_state_dict(checkpoint[name])  # type: ignore[index]
        if checkpoint:
            self.standing = Standing(**checkpoint["standing"])

    def _arithmetic(self) -> torch.autocast:
        precision = _PRECISIONS[self.recipe.precision]
        return torch.autocast(self.device.type, precision, enabled=precision != torch.float32)

    def _rng(self, epoch: int) -> np.random.Generator:
        """Return what decides order and changes: seed and number of the epoch, so that a resumed one is equal."""
        return np.random.default_rng([self.seed, epoch, 82])


def _device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _prepared(recipe: Recipe) -> torch.device:
    """Set what PyTorch sets for the whole process, and return the device."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    if recipe.is_deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA needs for it
    torch.use_deterministic_algorithms(recipe.is_deterministic)
    return _device()


def _schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)


def _changes(recipe: Recipe, run: RunFolder, text: TextSpec) -> tuple[AugmentSpec | None, TextChanges | None]:
    """Return how training pictures and texts are changed."""
    changes = recipe.augment if isinstance(recipe.augment, AugmentSpec) else None
    if not isinstance(recipe.augment_text, TextAugmentSpec):
        return changes, None
    try:
        return changes, TextChanges(recipe.augment_text, run.tokenizer.read_bytes(), text)
    except ValueError as error:
        raise ConfigError(f"recipe.augment_text.pieces: {error}; set it to 0") from error


@contextmanager
def _said_clearly() -> Iterator[None]:
    """Name the cause of what PyTorch and the system raise: no memory, no space."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        message = f"expected enough memory on the device, found {error}; try a smaller recipe.batch or bf16-mixed"
        raise TrainingError(message) from error
    except RuntimeError as error:
        if "primitive descriptor" not in str(error):
            raise
        message = f"expected a processor that runs the model in recipe.precision, found: {error}; use precision 32"
        raise TrainingError(message) from error
    except OSError as error:
        if error.errno in FULL:
            advice = "--resume continues from the last complete epoch"
            raise OSError(error.errno, f"{os.strerror(error.errno or 0)}; {advice}", error.filename) from error
        raise
