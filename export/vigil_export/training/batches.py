"""Groups rows into batches. In: a split. Out: tensors in which each picture and each text occurs once.

Rows that share a picture come in one batch, so that its encoder runs once for all of them; so does the text encoder
for rows of equal texts.
Shapes: `b` rows, `u` distinct pictures, `v` distinct texts, `h`, `w` picture, `t` tokens, `L` labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import Tokenizer, pad_tokens, token_bucket
from vigil_export.data import NO_IMAGE, Split
from vigil_export.data.preparing.augment import AugmentSpec, augment, names_side
from vigil_export.data.preparing.augment_text import TextChanges
from vigil_export.models.model import FusionModel
from vigil_export.training.frozen import Keep, Kept, keep_images, keep_texts


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as tensors.

    Attributes:
        images: uint8 [u, h, w, 3]; one black picture where no row has one. Or float32 [u, ...], what a frozen encoder
            gathered from them.
        image_of: int64 [b], within 0 and u - 1; 0 where the row has none.
        tokens: int64 [v, t]; no text is one padding token. Or float32 [v, t, c], what a frozen encoder gathered.
        length: int64 [v].
        text_of: int64 [b], within 0 and v - 1.
        has_image: float32 [b], 0 or 1.
        has_text: float32 [b], 0 or 1.
        truth: float32 [b, L].
        rows: int64 [b], the places of the rows within the split.
    """

    images: Tensor
    image_of: Tensor
    tokens: Tensor
    length: Tensor
    text_of: Tensor
    has_image: Tensor
    has_text: Tensor
    truth: Tensor
    rows: npt.NDArray[np.int64]

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on a device."""
        moved = {one.name: getattr(self, one.name).to(device) for one in fields(self) if one.name != "rows"}
        return replace(self, **moved)


class Batches:
    """The batches of a split."""

    def __init__(self, split: Split, tokenizer: Tokenizer, text: TextSpec, *, batch: int) -> None:
        """Read every distinct text once.

        Args:
            split: The rows.
            tokenizer: The bundle's.
            text: Its bounds and padding.
            batch: Rows per batch at most.
        """
        self._split, self._text, self._batch = split, text, batch
        number = {text: place for place, text in enumerate(dict.fromkeys(split.texts))}
        self._texts = tuple(number)
        self._ids = [tokenizer.encode(text) for text in number]
        self._text_of = np.fromiter((number[text] for text in split.texts), np.int64, len(split))
        self._has_text = split.has_text
        self._parts = _parts(split.image_of, batch)
        self._seen: Kept | None = None
        self._read: Kept | None = None

    def keep(
        self, model: FusionModel, keep: Keep, *, has_changes: bool = False, has_text_changes: bool = False
    ) -> Self:
        """Run the model's frozen encoders once, and give what they gather instead of pictures and tokens.

        Args:
            model: Whose batches these are.
            keep: Where, and how much.
            has_changes: Pictures will be changed; they go through their encoder every time then.
            has_text_changes: Likewise texts.

        Raises:
            DataError: The disk is full, or the like.
        """
        self._seen = None if has_changes else keep_images(model, self._split, keep)
        most = self._text.max_tokens
        self._read = None if has_text_changes else keep_texts(model, self._ids, keep, max_tokens=most)
        return self

    def in_order(self) -> Iterator[Batch]:
        """Give every row once; equal splits, equal batches."""
        return (self._make(rows) for rows in _packed(self._parts, self._batch))

    def shuffled(
        self, rng: np.random.Generator, changes: AugmentSpec | None, words: TextChanges | None = None
    ) -> Iterator[Batch]:
        """Give every row once, in an order that `rng` decides.

        Args:
            rng: Of the order and of the changes.
            changes: How pictures are changed, if at all.
            words: How texts are changed, if at all.
        """
        parts = _packed(self._shuffled_parts(rng), self._batch)
        return (self._make(rows, rng, changes, words) for rows in parts)

    def count(self, rng: np.random.Generator | None = None) -> int:
        """Return how many batches `shuffled` gives with a generator in the state of `rng`; without one, `in_order`."""
        return sum(1 for _ in _packed(self._parts if rng is None else self._shuffled_parts(rng), self._batch))

    def _shuffled_parts(self, rng: np.random.Generator) -> list[npt.NDArray[np.int64]]:
        return [self._parts[place] for place in rng.permutation(len(self._parts))]

    def _make(
        self,
        rows: npt.NDArray[np.int64],
        rng: np.random.Generator | None = None,
        changes: AugmentSpec | None = None,
        words: TextChanges | None = None,
    ) -> Batch:
        split = self._split
        pictures, image_of = np.unique(split.image_of[rows], return_inverse=True)
        has_image = split.image_of[rows] != NO_IMAGE
        if pictures[0] == NO_IMAGE:
            pictures, image_of = pictures[1:], np.maximum(image_of - 1, 0)
        images = self._images_of(pictures)
        if changes is not None and rng is not None:
            may_flip = np.ones(len(images), np.bool_)
            for row, place in zip(rows, image_of, strict=True):
                may_flip[place] &= not names_side(split.texts[row])
            images = augment(images, spec=changes, rng=rng, may_flip=may_flip)
        texts, text_of = np.unique(self._text_of[rows], return_inverse=True)
        ids = [self._ids[text] for text in texts]
        if words is not None and rng is not None:
            said = [place for place, text in enumerate(texts) if self._texts[text]]
            for place, read in zip(said, words.read([self._texts[texts[place]] for place in said], rng), strict=True):
                ids[place] = read
        bucket = token_bucket(max(map(len, ids)), self._text.max_tokens)
        tokens, length = pad_tokens(ids, pad_id=self._text.pad_id, padded_length=bucket)
        gathered = tokens if self._read is None else self._read.take(texts)[:, :bucket]
        return Batch(
            images=torch.from_numpy(images),
            image_of=torch.from_numpy(image_of.astype(np.int64)),
            tokens=torch.from_numpy(gathered),
            length=torch.from_numpy(length),
            text_of=torch.from_numpy(text_of.astype(np.int64)),
            has_image=torch.from_numpy(has_image.astype(np.float32)),
            has_text=torch.from_numpy(self._has_text[rows].astype(np.float32)),
            truth=torch.from_numpy(split.truth[rows]),
            rows=rows,
        )

    def _images_of(self, pictures: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        if not len(pictures):
            source = self._split.images if self._seen is None else self._seen.arrays
            return np.zeros((1, *source.shape[1:]), source.dtype)
        return np.array(self._split.images[pictures]) if self._seen is None else self._seen.take(pictures)


def _parts(image_of: npt.NDArray[np.int64], batch: int) -> list[npt.NDArray[np.int64]]:
    """Return rows that stay together: those of one picture, at most a batch of them; a row without one is alone."""
    order = np.argsort(image_of, kind="stable")
    bounds = np.flatnonzero(np.diff(image_of[order])) + 1
    parts: list[npt.NDArray[np.int64]] = []
    for rows in np.split(order, bounds):
        step = 1 if len(rows) and image_of[rows[0]] == NO_IMAGE else batch
        parts += [rows[start : start + step] for start in range(0, len(rows), step)]
    return parts


def _packed(parts: Sequence[npt.NDArray[np.int64]], batch: int) -> Iterator[npt.NDArray[np.int64]]:
    """Put parts together until the next one would not fit."""
    waiting: list[npt.NDArray[np.int64]] = []
    count = 0
    for part in parts:
        if waiting and count + len(part) > batch:
            yield np.concatenate(waiting)
            waiting, count = [], 0
        waiting.append(part)
        count += len(part)
    if waiting:
        yield np.concatenate(waiting)
