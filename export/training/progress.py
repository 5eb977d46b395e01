"""The bar of a training. Goes in: how many batches each epoch has. Goes out: lines on standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm


class Bar(TQDMProgressBar):
    """Lightning's bar with the totals that it cannot know, since an epoch's batches depend on its order."""

    def __init__(self, batches: Sequence[int], judged: int) -> None:
        """Take the totals.

        Args:
            batches: Of each epoch.
            judged: Batches of the validation rows.
        """
        super().__init__()
        self._batches, self._judged = batches, judged

    @property
    def total_train_batches(self) -> int:
        """Of the epoch that is learned."""
        return self._batches[self.trainer.current_epoch]

    @property
    def total_val_batches_current_dataloader(self) -> int:
        """Of the validation rows."""
        return self._judged

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401 - as Lightning calls it
        """Begin the epoch's line; epochs count from 1, as messages count them."""
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1} of {len(self._batches)}")

    def init_train_tqdm(self) -> Tqdm:
        """Return the bar of epochs."""
        return self._bar(self.train_description, position=0, leave=True)

    def init_validation_tqdm(self) -> Tqdm:
        """Return the bar of validation, below that of epochs while it runs."""
        return self._bar(self.validation_description, position=1, leave=False)

    def _bar(self, description: str, *, position: int, leave: bool) -> Tqdm:
        return Tqdm(
            desc=description,
            position=position,
            disable=self.is_disabled,
            leave=leave,
            dynamic_ncols=True,
            file=sys.stderr,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )
