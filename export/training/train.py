"""Trains a model on a split. Goes in: a model, rows, a tokenizer. Goes out: the model with its weights.

Modality dropout without chance: every batch is scored with both sides, with the text left out and with the picture left
out, so that one model serves pairs, lone pictures and lone texts. The encoders run once for all three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from export.data import Split
from export.model import FusionModel
from stream_app.bundle.manifest import PRESENCES, Presence
from stream_app.bundle.text import Tokenizer, pad_tokens


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: Passes over the rows.
        batch: Rows per step.
        peak_rate: Highest learning rate of the one-cycle schedule (Smith 2018, arXiv:1803.09820).
        weight_decay: Of AdamW.
        word_noise: Half of the training texts lose a tenth of their tokens, the others up to this share: half of
            these tokens are left out, half replaced by any. A text that is half noise teaches to trust the picture
            where the words are strange.
        image_alone_weight: Weight of the loss with the text left out; the loss with both has weight 1. Without it the
            text, which is learned within an epoch, leaves the image encoder next to nothing to learn from.
        text_alone_weight: Weight of the loss with the picture left out.
        uses_bf16: Compute the image encoder in bfloat16: twice as fast on a processor that has it, slower on others.
        seed: Decides weights, order, dropout and mirroring.
    """

    epochs: int = 7
    batch: int = 64
    peak_rate: float = 4e-3
    weight_decay: float = 0.02
    word_noise: float = 0.7
    image_alone_weight: float = 0.8
    text_alone_weight: float = 0.3
    uses_bf16: bool = False
    seed: int = 0


Progress = Callable[[int, float], None]
"""Called after each epoch with its number from 1 and the mean loss."""

Read = Callable[[int], list[tuple[int, ...]]]
"""Epoch -> the token ids of every row's text in that epoch; other words for the same may come each time."""


def train(model: FusionModel, split: Split, *, recipe: Recipe, read: Read, progress: Progress) -> FusionModel:
    """Train in place.

    Args:
        model: The model; its weights change.
        split: Training rows.
        recipe: How.
        read: Gives the token ids of an epoch.
        progress: Is told after each epoch.

    Returns:
        The model, ready for evaluation.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng([recipe.seed, 81])
    model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.peak_rate, weight_decay=recipe.weight_decay)
    steps = (len(split) // recipe.batch) * recipe.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak_rate, total_steps=max(steps, 2))
    for epoch in range(recipe.epochs):
        rows = read(epoch)
        order = rng.permutation(len(split))
        total = 0.0
        starts = range(0, len(order) - recipe.batch + 1, recipe.batch)
        for start in starts:
            chosen = order[start : start + recipe.batch]
            loss = _loss(model, split, rows, chosen, recipe=recipe, rng=rng)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        progress(epoch + 1, total / max(1, len(starts)))
    return model.eval()


def _loss(
    model: FusionModel,
    split: Split,
    rows: list[tuple[int, ...]],
    chosen: npt.NDArray[np.int64],
    *,
    recipe: Recipe,
    rng: np.random.Generator,
) -> Tensor:
    images = split.images[split.image_of[chosen]]
    if rng.random() < 0.5:
        images = images[:, :, ::-1]  # what happens does not depend on left and right
    noisy = [_noisy(rows[row], recipe.word_noise, rng, vocabulary=model.spec.text.vocabulary) for row in chosen]
    tokens, length = pad_tokens(noisy, pad_id=0)
    truth = torch.from_numpy(split.truth[chosen])
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.uses_bf16):
        seen = model.image(_brightened(images, rng))
    seen = seen.float()
    read = model.text(torch.from_numpy(tokens), torch.from_numpy(length))
    yes, no = torch.ones(len(chosen)), torch.zeros(len(chosen))
    both, image_alone, text_alone = (
        binary_cross_entropy_with_logits(model.head(seen, read, image, text), truth)
        for image, text in ((yes, yes), (yes, no), (no, yes))
    )
    return both + recipe.image_alone_weight * image_alone + recipe.text_alone_weight * text_alone


def _noisy(row: tuple[int, ...], most: float, rng: np.random.Generator, *, vocabulary: int) -> tuple[int, ...]:
    rate = 0.1 if rng.random() < 0.5 else rng.uniform(0, most)
    draws, strange = rng.random(len(row)), rng.integers(1, vocabulary, len(row))
    kept = tuple(
        int(other) if draw < rate / 2 else token
        for token, other, draw in zip(row, strange, draws, strict=True)
        if draw < rate / 2 or draw >= rate
    )
    return kept or row


def _brightened(images: npt.NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
    gain = rng.uniform(0.8, 1.25, (len(images), 1, 1, 1)).astype(np.float32)
    return torch.from_numpy(np.clip(images * gain, 0, 255).astype(np.uint8))


def score(
    model: FusionModel, split: Split, tokenizer: Tokenizer, *, batch: int = 128
) -> dict[Presence, npt.NDArray[np.float32]]:
    """Compute the raw logits of a split for each presence.

    Args:
        model: A trained model.
        split: Rows.
        tokenizer: The bundle's tokenizer.
        batch: Rows at once.

    Returns:
        `both`, `image` and `text` -> float32 [n, L].
    """
    found: dict[Presence, list[npt.NDArray[np.float32]]] = {presence: [] for presence in PRESENCES}
    with torch.inference_mode():
        for start in range(0, len(split), batch):
            seen = model.image(torch.from_numpy(split.images[split.image_of[start : start + batch]]))
            tokens, length = tokenizer.encode_batch(split.texts[start : start + batch])
            read = model.text(torch.from_numpy(tokens), torch.from_numpy(length))
            yes, no = torch.ones(len(seen)), torch.zeros(len(seen))
            for presence, flags in zip(PRESENCES, ((yes, yes), (yes, no), (no, yes)), strict=True):
                found[presence].append(model.head(seen, read, *flags).numpy())
    return {presence: np.concatenate(parts) for presence, parts in found.items()}
