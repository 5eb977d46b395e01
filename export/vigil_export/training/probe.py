"""Fits linear layers to what frozen encoders say, and learns how to join the two sides. For hundreds of rows.

1. Features of each row's picture and text, through the encoders as they are.
2. Each side: standardised features, a linear layer with an L2 penalty, whose strength is chosen by the loss on inner
   folds of the training rows (whole groups), each judged by a layer that did not see it.
3. Those same judgements teach how to join the sides (Wolpert 1992, stacked generalization).
4. The sides are fitted again on all rows, and everything is folded into the `decision` head: one linear layer a side.

The judgements of rows by layers that did not see them also serve calibration, as in cross_val_predict of scikit-learn:
no rows have to be set aside for it.

Shapes: `n` rows, `d` features, `L` labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from stream_app.bundle.manifest import Presence
from vigil_export.data import Split, Task
from vigil_export.models.fusions import DecisionHead
from vigil_export.models.model import FusionModel, ModelSpec
from vigil_export.training.batches import Batches
from vigil_export.training.config import ConfigError, Recipe, TrainConfig
from vigil_export.training.losses import class_weights, descend, row_losses
from vigil_export.training.predict import encoded
from vigil_export.training.run import Say

_LEAST_DEVIATION = 0.03
_PULL = 1e-3
"""How strongly the joining stays where it begins, against the mean loss of a row."""


@dataclass(frozen=True, slots=True)
class _Linear:
    """float32 [L, d] and [L]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        return features @ self.weight.T + self.bias


@dataclass(frozen=True, slots=True)
class Inner:
    """Judgements by layers that did not see a row's part: those to calibrate on and to choose thresholds by.

    Attributes:
        image: float32 [n, L], what each row's picture says; 0 without one.
        text: float32 [n, L], what its text says.
    """

    image: Tensor
    text: Tensor


def fit_probe(
    model: FusionModel, train: Split, batches: Batches, *, config: TrainConfig, say: Say
) -> tuple[dict[str, Any], Inner]:
    """Fit in place.

    Args:
        model: With a `decision` head of width 0; its head changes.
        train: n rows, all that may be learned from.
        batches: Of these rows.
        config: The recipe counts, and the seed, which decides the inner parts.
        say: Told one line.

    Returns:
        How it went, for `state.json`; and judgements of every row by layers that did not see its part.

    Raises:
        ConfigError: The model is none that a probe can fit, or the rows have too few groups.
    """
    head, recipe, task = _head_of(model), config.recipe, model.spec.task
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    part_of = _inner_parts(train, recipe.inner_folds, config.seed)
    features = _features(model, batches, len(train))
    say(f"encoded the pictures of {int(train.has_image.sum())} rows and the texts of {int(train.has_text.sum())}")
    sides, strengths = {}, {}
    both = ("image", train.has_image, head.classify_image), ("text", train.has_text, head.classify_text)
    for name, has, layer in both:
        sides[name], linear, strengths[name] = _fit_side(features[name], has, train.truth, part_of, recipe, task)
        layer.load_state_dict({"weight": linear.weight, "bias": linear.bias})
    inner = Inner(**sides)
    rows = np.flatnonzero(train.has_image & train.has_text)
    loss = float("nan")
    if len(rows):
        loss = _fit_join(head, inner.image[rows], inner.text[rows], torch.from_numpy(train.truth[rows]), recipe, task)
    told = {f"{name}_strength": strength for name, strength in strengths.items()}
    return told | {"inner_loss": round(loss, 6)}, inner


def judge_inner(
    model: FusionModel,
    inner: Inner,
    split: Split,
    *,
    pictures: npt.NDArray[np.int64] | slice = slice(None),
    texts: npt.NDArray[np.int64] | slice = slice(None),
) -> dict[Presence, npt.NDArray[np.float32]]:
    """Join judgements of the sides; of the joining itself each row was a part, but that has a handful of weights.

    Args:
        model: A fitted probe.
        inner: Of `fit_probe`.
        split: k rows: those of `fit_probe`, or pairs of their texts and pictures.
        pictures: int64 [k], which row of `inner` each picture is of.
        texts: int64 [k], which row each text is of.

    Returns:
        Raw logits, float32 [k, L] for each presence, NaN where the row lacks the only side.
    """
    head, image, text = _head_of(model), inner.image[pictures], inner.text[texts]
    seen, read = (torch.from_numpy(flags.astype(np.float32)) for flags in (split.has_image, split.has_text))
    none = torch.zeros(len(split))
    views: dict[Presence, tuple[Tensor, Tensor]] = {"both": (seen, read), "image": (seen, none), "text": (none, read)}
    found: dict[Presence, npt.NDArray[np.float32]] = {}
    for presence, flags in views.items():
        with torch.no_grad():
            logits = head.judge(image, text, *flags).numpy()
        found[presence] = np.where((flags[0] + flags[1]).numpy()[:, None] > 0, logits, np.nan)
    return found


def _head_of(model: FusionModel) -> DecisionHead:
    fusion = model.spec.fusion
    if not isinstance(model.head, DecisionHead) or fusion.width:
        found = f"{fusion.kind}, width {fusion.width}"
        raise ConfigError(f"fusion: expected decision with width 0 for a probe, found {found}")
    _check_encoders(model.spec)
    return model.head


def _check_encoders(spec: ModelSpec) -> None:
    """Refuse features that nobody trained: a probe would find next to nothing in them."""
    image, text = spec.image, spec.text
    has_weights = {"image": image.weights != "random", "text": bool(text.pretrained or text.vectors)}
    for name, features in (("image", image.features), ("text", text.features)):
        if features or not has_weights[name]:
            found = f"features {features}" if features else "random weights"
            raise ConfigError(f"{name}: expected a pretrained encoder with features 0 for a probe, found {found}")


def _features(model: FusionModel, batches: Batches, count: int) -> dict[str, Tensor]:
    """Return what both encoders say of each row, float32 [n, d]; of a side that a row lacks, anything."""
    found = {"image": torch.empty(count, *model.image.shape), "text": torch.empty(count, *model.text.shape)}
    for batch, seen, read in encoded(model, batches):
        found["image"][batch.rows], found["text"][batch.rows] = seen.cpu(), read.cpu()
    return found


def _inner_parts(train: Split, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Return int64 [n], the inner fold of each row; whole groups, labels spread evenly."""
    groups = len(np.unique(train.groups))
    if groups < 2:
        raise ConfigError(f"recipe.inner_folds: expected training rows of at least 2 groups, found {groups}")
    _, kind = np.unique(train.truth, axis=0, return_inverse=True)
    parts = np.zeros(len(train), np.int64)
    divide = StratifiedGroupKFold(min(folds, groups), shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(divide.split(np.zeros(len(train)), kind.ravel(), train.groups)):
        parts[rows] = number
    return parts


def _fit_side(
    features: Tensor,
    has: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.float32],
    part_of: npt.NDArray[np.int64],
    recipe: Recipe,
    task: Task,
) -> tuple[Tensor, _Linear, float]:
    """Return judgements of each row by a layer that did not see its fold, float32 [n, L]; the layer; its strength."""
    inner = torch.zeros(len(recipe.strengths), *truth.shape)
    if not has.any():
        return inner[0], _Linear(torch.zeros(truth.shape[1], features.shape[1]), inner[0, 0]), recipe.strengths[0]
    for part in np.unique(part_of):
        seen, left = has & (part_of != part), has & (part_of == part)
        if seen.any() and left.any():
            fits = _fit_linears(features[seen], truth[seen], recipe.strengths, recipe, task)
            inner[:, left] = torch.stack([fit(features[left]) for fit in fits])
    target = torch.from_numpy(truth[has])
    best = int(np.argmin([float(row_losses(one[has], target, task=task).mean()) for one in inner]))
    strength = recipe.strengths[best]
    return inner[best], _fit_linears(features[has], truth[has], (strength,), recipe, task)[0], strength


def _fit_linears(
    features: Tensor, truth: npt.NDArray[np.float32], strengths: tuple[float, ...], recipe: Recipe, task: Task
) -> list[_Linear]:
    """Fit a linear layer for each strength, from the strongest penalty to the weakest, each beginning at the last."""
    mean, scale = features.mean(0), _scales(features)
    inputs, target = (features - mean) * scale, torch.from_numpy(truth)
    weight = torch.zeros(truth.shape[1], inputs.shape[1], requires_grad=True)
    bias = torch.zeros(truth.shape[1], requires_grad=True)
    weights = class_weights(truth, task) if recipe.class_weights else None
    found = []
    for strength in strengths:
        penalty = 0.5 / (strength * len(inputs))

        def loss(penalty: float = penalty) -> Tensor:
            losses = row_losses(inputs @ weight.T + bias, target, task=task, weights=weights)
            # A label without rows would pull its bias to minus infinity.
            return losses.mean() + penalty * weight.square().sum() + 1e-6 * bias.square().sum()

        descend([weight, bias], loss)
        scaled = weight.detach() * scale
        found.append(_Linear(scaled, bias.detach() - scaled @ mean))
    return found


def _scales(features: Tensor) -> Tensor:
    """Return what features are multiplied by, so that they are alike and a row's mean square is 1."""
    deviation = features.std(0, correction=0)
    # What hardly ever changes in training must not decide when it does change.
    least = _LEAST_DEVIATION * deviation.square().mean().sqrt() + 1e-6
    scales: Tensor = features.shape[1] ** -0.5 / torch.maximum(deviation, least)
    return scales


def _fit_join(head: DecisionHead, image: Tensor, words: Tensor, truth: Tensor, recipe: Recipe, task: Task) -> float:
    """Fit how the sides are joined to their judgements of rows that neither had seen; return the loss of a row."""
    own = [weight for name, weight in head.named_parameters() if not name.startswith("classify")]
    start = [weight.detach().clone() for weight in own]
    weights = class_weights(truth.numpy(), task) if recipe.class_weights else None

    def loss() -> Tensor:
        pull = sum(((one - other).square().sum() for one, other in zip(own, start, strict=True)), torch.zeros(()))
        return row_losses(head.join(image, words), truth, task=task, weights=weights).mean() + _PULL * pull

    if own:
        descend(own, loss)
    with torch.no_grad():
        return float(row_losses(head.join(image, words), truth, task=task).mean())
