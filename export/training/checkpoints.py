"""Checkpoints of a training, written whole and read back. Goes in: what Lightning keeps. Goes out: files, and it."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from export.training.run import RunError, RunFolder, broken
from stream_app.files import write_whole

BEST, LAST = "best", "last"
"""Names of the two that a training keeps: of the lowest loss on validation rows, and of the epoch that ended last."""


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's way of keeping checkpoints, but for writing them: a full disk leaves the one that lay there."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ANN401 - as Lightning calls it
        """Write it.

        Raises:
            OSError: The disk is full, or the place cannot be written.
        """
        if storage_options is not None:
            raise TypeError(f"storage_options: expected None, found {storage_options!r}")
        data = io.BytesIO()
        torch.save(checkpoint, data)
        write_whole(Path(path), data.getvalue())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what Lightning saved.

    Raises:
        RunError: It is not whole.
        OSError: It cannot be read.
    """
    data = path.read_bytes()
    try:
        # Of what was cut at some lengths PyTorch says that an argument is invalid.
        content: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        best = path.with_name(f"{BEST}.ckpt")
        copied = f"copy {best} over it to go on from the best epoch, " if path != best and best.is_file() else ""
        raise RunError(
            f"{path}: expected a whole checkpoint, found {broken(data)}; {copied}remove the folder "
            f"{path.parent} to go on from the first epoch, or train anew under another name"
        ) from error
    return content


def first_epoch(run: RunFolder) -> tuple[int, Path | None]:
    """Return with which epoch a training goes on, and from which file; 0 and none at its beginning.

    Raises:
        RunError: A checkpoint is not whole: said now, and not when the last epoch is through.
    """
    last, best = (run.checkpoints / f"{name}.ckpt" for name in (LAST, BEST))
    if not last.is_file():
        return 0, None
    first = int(read_checkpoint(last)["epoch"]) + 1
    if best.is_file():
        read_checkpoint(best)
    return first, last
