"""How far a training by gradient descent has got. In: the result of each epoch. Out: its log, checkpoints read."""

from __future__ import annotations

import csv
import io
import math
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stream_app.files import write_whole
from vigil_export.training.run import RunError, broken

_COLUMNS = ("epoch", "train_loss", "val_loss", "val_accuracy")


@dataclass(slots=True)
class Standing:
    """How far a training has got.

    Attributes:
        epoch: Whole epochs behind it.
        best_epoch: The one with the lowest validation loss, counted from 1.
        best_loss: That loss.
        log: One line per epoch, as in `logs/metrics.csv`, which counts epochs from 0.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    log: list[dict[str, float]] = field(default_factory=list)

    def note(self, trained: float, judged: tuple[float, float]) -> bool:
        """Take one more epoch in; return whether it is the best so far."""
        loss, accuracy = judged
        self.log.append(dict(zip(_COLUMNS, (self.epoch, trained, loss, accuracy), strict=True)))
        self.epoch += 1
        is_best = loss < self.best_loss or self.best_epoch == 0
        if is_best:
            self.best_epoch, self.best_loss = self.epoch, loss if math.isfinite(loss) else math.inf
        return is_best

    def is_over(self, epochs: int, patience: int) -> bool:
        """Whether there are no more epochs, or the last `patience` of them (0: however many) brought nothing better."""
        return self.epoch >= epochs or (bool(patience) and self.epoch - self.best_epoch >= patience)

    def write(self, path: Path) -> None:
        """Write the log as CSV, whole or not at all."""
        written = io.StringIO()
        lines = csv.DictWriter(written, _COLUMNS, lineterminator="\n")
        lines.writeheader()
        lines.writerows(self.log)
        write_whole(path, written.getvalue().encode())

    def __str__(self) -> str:
        """Say how the last epoch went."""
        loss, judged, accuracy = (self.log[-1][name] for name in _COLUMNS[1:])
        return f"loss {loss:.4f}, on validation rows {judged:.4f}, accuracy {accuracy:.3f}"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        RunError: It is not whole: said before anything is trained.
        OSError: It cannot be read.
    """
    data = path.read_bytes()
    try:
        # For files cut at certain lengths PyTorch says that an argument is invalid.
        content: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        best = path.with_name("best.ckpt")
        copied = f"copy {best} over it to continue from the best epoch, " if path != best and best.is_file() else ""
        raise RunError(
            f"{path}: expected a whole checkpoint, found {broken(data)}; {copied}remove the folder "
            f"{path.parent} to start from the first epoch, or train again under another name"
        ) from error
    return content
