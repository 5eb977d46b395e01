"""One training step and one look at validation, as PyTorch Lightning asks for them. It must not know files or splits.

Modality dropout without chance: every batch is scored with what its rows have, with the text left out and with the
picture left out, so that one model serves pairs, lone pictures and lone texts. The encoders run once for all three.
"""

from __future__ import annotations

import pytorch_lightning as lightning
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy, MultilabelExactMatch

from export.models.model import FusionModel, ModelSpec
from export.training.batches import Batch
from export.training.config import Recipe
from export.training.losses import row_losses

ADVICE = (
    "try a lower recipe.rate, recipe.clip above 0, or precision 32, in another folder: a run keeps its configuration"
)
"""Of trainings that diverge."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to do."""


class Fusion(lightning.LightningModule):
    """A model with its loss, optimizer and schedule."""

    def __init__(self, model: FusionModel, recipe: Recipe, *, seed: int, steps: int, weights: Tensor | None) -> None:
        """Take a model.

        Args:
            model: Its weights change.
            recipe: How.
            seed: With the epoch it decides dropout, so that a training that was resumed goes on as it would have.
            steps: Of the whole training.
            weights: Of the classes, float32 [L].
        """
        super().__init__()
        self.model = model
        self._recipe, self._seed, self._steps = recipe, seed, steps
        self.register_buffer("class_weights", weights, persistent=False)
        self._right = _accuracy(model.spec)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's randomness, and thaw what its turn is."""
        torch.manual_seed(self._seed * 1_000_003 + self.current_epoch)
        for encoder, spec in ((self.model.image, self.model.spec.image), (self.model.text, self.model.spec.text)):
            if spec.trainable == "staged":
                encoder.thaw(self.current_epoch // self._recipe.thaw_every)

    def training_step(self, batch: Batch, _number: int) -> Tensor:
        """Return the loss of a batch.

        Raises:
            TrainingError: It is not finite.
        """
        both, others = self._losses(batch)
        loss = both + others
        if not torch.isfinite(loss):
            raise TrainingError(
                f"epoch {self.current_epoch + 1}: expected a finite loss, found {loss.item()}; {ADVICE}"
            )
        self.log("train_loss", both, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch.rows))
        return loss

    def validation_step(self, batch: Batch, _number: int) -> None:
        """Note the plain loss of a validation batch and its right decisions, with what its rows have."""
        logits = self._logits(batch, batch.has_image, batch.has_text)
        task = self.model.spec.task
        loss = row_losses(logits, batch.truth, task=task).mean()
        self.log("val_loss", loss, on_epoch=True, prog_bar=True, batch_size=len(batch.rows))
        # Decisions, not logits: those of a batch may all lie in [0, 1], and torchmetrics then takes them for chances.
        if task == "multiclass":
            self._right.update(logits.argmax(1), batch.truth.argmax(1))
        else:
            says, truth = (logits >= 0).long(), (batch.truth > 0.5).long()
            self._right.update(*((says[:, 0], truth[:, 0]) if task == "binary" else (says, truth)))
        self.log("val_accuracy", self._right, on_epoch=True, prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW with the schedule of the recipe, stepped with every batch."""
        recipe = self._recipe
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
        steps = max(self._steps, 2)
        schedule: torch.optim.lr_scheduler.LRScheduler
        if recipe.schedule == "one-cycle":
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
        else:
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _loader: int) -> Batch:
        """Move the tensors of a batch."""
        names = ("images", "image_of", "tokens", "length", "text_of", "has_image", "has_text", "truth")
        return Batch(rows=batch.rows, **{name: getattr(batch, name).to(device) for name in names})

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss with what the rows have, and the weighed sum of those with a side left out."""
        features, recipe = self._encode(batch), self._recipe
        none = torch.zeros_like(batch.has_image)
        with_both = batch.has_image * batch.has_text
        both = self._loss(batch, features, (batch.has_image, batch.has_text), torch.ones_like(none))
        others = torch.zeros_like(both)
        views = ((recipe.image_alone_weight, (with_both, none)), (recipe.text_alone_weight, (none, with_both)))
        for weight, sides in views:
            if weight:
                others = others + weight * self._loss(batch, features, sides, with_both)
        return both, others

    def _loss(
        self, batch: Batch, features: tuple[Tensor, Tensor], sides: tuple[Tensor, Tensor], counts: Tensor
    ) -> Tensor:
        losses = row_losses(
            self.model.head(*features, *sides),
            batch.truth,
            task=self.model.spec.task,
            weights=self.class_weights,  # type: ignore[arg-type]
            gamma=self._recipe.focal_gamma if self._recipe.loss == "focal" else 0.0,
        )
        return (losses * counts).sum() / counts.sum().clamp(min=1)

    def _logits(self, batch: Batch, image: Tensor, text: Tensor) -> Tensor:
        return self.model.head(*self._encode(batch), image, text)  # type: ignore[no-any-return]

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        seen = self.model.encode_images(batch.images)[batch.image_of]
        return seen, self.model.encode_texts(batch.tokens, batch.length)[batch.text_of]


def _accuracy(spec: ModelSpec) -> Metric:
    """Return the share of right decisions, as `export.evaluation.metrics` defines them."""
    if spec.task == "multiclass":
        return MulticlassAccuracy(len(spec.labels), average="micro")
    return BinaryAccuracy() if spec.task == "binary" else MultilabelExactMatch(len(spec.labels))
