"""Fits linear layers to what frozen encoders say, and learns how to join the two sides. For hundreds of rows.

1. Features of each distinct picture and text, once. Where the image encoder is guided and the rows have sequences, its
   guide is fitted to what moves (`export.training.guide`).
2. Each side: standardised features, a linear layer with an L2 penalty, whose strength is chosen by the loss on inner
   parts of the training rows (whole groups), each judged by a layer that did not see it.
3. Those same judgements teach how to join the sides (Wolpert 1992, stacked generalization); guides, means and
   deviations are those of the rows that were not left out.
4. The sides are fitted again on all rows, and everything is folded into the `decision` head: one linear layer a side.

The judgements of rows by layers that did not see them also serve calibration, as in cross_val_predict of scikit-learn:
no rows have to be set aside for it.

Shapes: `n` rows, `m` pictures, `v` distinct texts, `d` features, `L` labels, `k` inner parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn

from export.data import Split, Task
from export.models.encoders.pooling import Block
from export.models.fusions import DecisionHead
from export.models.model import FusionModel, ModelSpec
from export.training.config import ConfigError, Recipe, TrainConfig
from export.training.features import Side, image_side, text_side
from export.training.frozen import Keep
from export.training.losses import class_weights, row_losses
from stream_app.bundle.manifest import Presence, TextSpec
from stream_app.bundle.text import Tokenizer

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


def fit_probe(
    model: FusionModel,
    train: Split,
    words: tuple[Tokenizer, TextSpec],
    *,
    config: TrainConfig,
    keep: Keep,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], Inner]:
    """Fit in place.

    Args:
        model: With a `decision` head of width 0; its head changes, and the guide of its image encoder.
        train: n rows, all that may be learned from.
        words: The bundle's tokenizer and its bounds.
        config: The recipe counts, and the seed, which decides the inner parts.
        keep: Where to keep what the encoders give.
        say: Told one line after each step.

    Returns:
        How it went, for `state.json`; and judgements of every row by layers that did not see its part.

    Raises:
        ConfigError: The model is none that a probe can fit, or the rows have too few groups.
    """
    head = _head_of(model)
    recipe = config.recipe
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    model.eval()
    part_of = _inner_parts(train, recipe.inner_folds, config.seed)
    with torch.no_grad():
        image, is_guided = image_side(model, train, part_of, keep)
        text = text_side(model, train, words, int(part_of.max()) + 1, keep)
    say(
        f"encoded {len(image.features[0])} pictures{' where things move' if is_guided else ''} and "
        f"{len(text.features[0])} texts"
    )
    fitted: dict[str, tuple[Tensor, float]] = {}
    for name, side, layer in (("image", image, head.classify_image), ("text", text, head.classify_text)):
        inner, linear, strength = _fit_side(side, train.truth, part_of, recipe, model.spec.task)
        fitted[name] = inner, strength
        _put(layer, linear)
    rows = np.flatnonzero((image.place >= 0) & (text.place >= 0))
    loss = float("nan")
    if len(rows):
        truth = torch.from_numpy(train.truth[rows])
        loss = _fit_join(head, fitted["image"][0][rows], fitted["text"][0][rows], truth, recipe, model.spec.task)
    told = {
        "is_guided": is_guided,
        "image_strength": fitted["image"][1],
        "text_strength": fitted["text"][1],
        "inner_loss": round(loss, 6),
    }
    return told, Inner(fitted["image"][0], fitted["text"][0])


@dataclass(frozen=True, slots=True)
class Inner:
    """Judgements by layers that did not see a row's part: those to calibrate on and to choose thresholds by.

    Attributes:
        image: float32 [n, L], what each row's picture says; 0 without one.
        text: float32 [n, L], what its text says.
    """

    image: Tensor
    text: Tensor


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
    found: dict[Presence, npt.NDArray[np.float32]] = {}
    for presence, flags in {"both": (seen, read), "image": (seen, none), "text": (none, read)}.items():
        with torch.no_grad():
            logits = head.judge(image, text, *flags).numpy()
        found[presence] = np.where((flags[0] + flags[1]).numpy()[:, None] > 0, logits, np.nan)  # type: ignore[index]
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


def _inner_parts(train: Split, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Return int64 [n], the inner part of each row; whole groups, labels alike."""
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
    side: Side, truth: npt.NDArray[np.float32], part_of: npt.NDArray[np.int64], recipe: Recipe, task: Task
) -> tuple[Tensor, _Linear, float]:
    """Return judgements of each row by a layer that did not see its part, float32 [n, L]; the layer; its strength."""
    has = side.place >= 0
    inner = torch.zeros(len(recipe.strengths), *truth.shape)
    for part in np.unique(part_of):
        seen, left = np.flatnonzero(has & (part_of != part)), np.flatnonzero(has & (part_of == part))
        features = side.features[part]
        if len(seen) and len(left):
            fits = _fit_linears(features[side.place[seen]], truth[seen], side.blocks, recipe, task)
            inner[:, left] = torch.stack([fit(features[side.place[left]]) for fit in fits])
    rows = np.flatnonzero(has)
    if not len(rows):
        length = sum(block.length for block in side.blocks)
        zeros = torch.zeros(truth.shape[1], length), torch.zeros(truth.shape[1])
        return inner[0], _Linear(*zeros), recipe.strengths[0]
    target = torch.from_numpy(truth[rows])
    losses = [float(row_losses(one[rows], target, task=task).mean()) for one in inner]
    best = int(np.argmin(losses))
    chosen = _fit_linears(side.features[-1][side.place[rows]], truth[rows], side.blocks, recipe, task, only=best)
    return inner[best], chosen[0], recipe.strengths[best]


def _fit_linears(
    features: Tensor,
    truth: npt.NDArray[np.float32],
    blocks: Sequence[Block],
    recipe: Recipe,
    task: Task,
    *,
    only: int | None = None,
) -> list[_Linear]:
    """Fit a linear layer for each strength, from the strongest penalty to the weakest, each beginning at the last."""
    mean, scale = features.mean(0), _scales(features, blocks)
    inputs, target = (features - mean) * scale, torch.from_numpy(truth)
    layer = nn.Linear(inputs.shape[1], truth.shape[1])
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    weights = class_weights(truth, task) if recipe.class_weights else None
    found = []
    for strength in recipe.strengths if only is None else (recipe.strengths[only],):
        penalty = 0.5 / (strength * len(inputs))

        def loss(penalty: float = penalty) -> Tensor:
            losses = row_losses(layer(inputs), target, task=task, weights=weights)
            # A label without rows would pull its bias to minus infinity.
            return losses.mean() + penalty * layer.weight.square().sum() + 1e-6 * layer.bias.square().sum()

        _descend(list(layer.parameters()), loss)
        weight = layer.weight.detach() * scale
        found.append(_Linear(weight, layer.bias.detach() - weight @ mean))
    return found


def _scales(features: Tensor, blocks: Sequence[Block]) -> Tensor:
    """Return what features are multiplied by, so that they are alike and each block has a mean square of its weight."""
    found = []
    for part, block in zip(torch.split(features, [one.length for one in blocks], 1), blocks, strict=True):
        deviation = part.std(0, correction=0)
        # What hardly ever changes in training must not decide when it does change.
        least = _LEAST_DEVIATION * deviation.square().mean().sqrt() + 1e-6
        found.append((block.weight / block.length) ** 0.5 / torch.maximum(deviation, least))
    return torch.cat(found)


def _fit_join(head: DecisionHead, image: Tensor, words: Tensor, truth: Tensor, recipe: Recipe, task: Task) -> float:
    """Fit how the sides are joined to their judgements of rows that neither had seen; return the loss of a row."""
    own = [weight for name, weight in head.named_parameters() if not name.startswith("classify")]
    start = [weight.detach().clone() for weight in own]
    weights = class_weights(truth.numpy(), task) if recipe.class_weights else None

    def loss() -> Tensor:
        pull = sum(((one - other).square().sum() for one, other in zip(own, start, strict=True)), torch.zeros(()))
        return row_losses(head.join(image, words), truth, task=task, weights=weights).mean() + _PULL * pull

    if own:
        _descend(own, loss)
    with torch.no_grad():
        return float(row_losses(head.join(image, words), truth, task=task).mean())


def _descend(parameters: list[nn.Parameter], loss: Callable[[], Tensor]) -> None:
    """Minimise a smooth loss over all rows at once (L-BFGS)."""
    optimizer = torch.optim.LBFGS(parameters, max_iter=300, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        found = loss()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(step)  # type: ignore[no-untyped-call]


def _put(layer: nn.Module, linear: _Linear) -> None:
    if not isinstance(layer, nn.Linear):
        raise ConfigError(f"fusion.width: expected 0 for a probe, found a {type(layer).__name__}")
    with torch.no_grad():
        layer.weight.copy_(linear.weight)
        layer.bias.copy_(linear.bias)
