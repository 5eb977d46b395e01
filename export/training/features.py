"""What frozen encoders say of training rows, for a probe. Goes in: a model and rows. Goes out: features of each side.

Shapes: `n` rows, `u` distinct pictures or texts, `d` features, `s` cells, `k` inner parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from export.data import NO_IMAGE, Split
from export.encoders.pooling import Block, GuidedEnd, StatisticsEnd
from export.encoders.timm_backbone import TimmEncoder
from export.model import FusionModel
from export.training.guide import Guides, movements
from stream_app.bundle.text import Tokenizer

_PICTURES = 8  # at a time; on two cores a backbone took twice as long for each of 64
_TEXTS = 64


@dataclass(frozen=True, slots=True)
class Side:
    """One side's features.

    Attributes:
        features: k + 1 of float32 [u, d]: as they are without each part, and without nothing.
        place: int64 [n], the row's features among the u; -1 where it has none.
        blocks: What weighs together.
    """

    features: Sequence[Tensor]
    place: npt.NDArray[np.int64]
    blocks: tuple[Block, ...]


def image_side(model: FusionModel, train: Split, part_of: npt.NDArray[np.int64]) -> tuple[Side, bool]:
    """Encode every picture of the rows; fit the guide first, where there is one and something to fit it to.

    Args:
        model: The guide of its image encoder changes.
        train: n rows.
        part_of: int64 [n].

    Returns:
        The features, and whether they are guided.
    """
    pictures, place = np.unique(train.image_of, return_inverse=True)
    place = place.ravel().astype(np.int64)
    if len(pictures) and pictures[0] == NO_IMAGE:
        pictures, place = pictures[1:], place - 1
    parts = int(part_of.max()) + 1
    end = getattr(model.image, "end", None)
    if isinstance(model.image, TimmEncoder) and isinstance(end, GuidedEnd):
        moved = movements(train, end.size)
        if moved:
            belongs: dict[int, set[int]] = {}
            for picture, part in zip(train.image_of.tolist(), part_of.tolist(), strict=True):
                belongs.setdefault(picture, set()).add(part)
            features = _guided(model.image, end, train, pictures, moved, belongs, parts)
            return Side(features, place, end.blocks), True
    found = torch.cat([model.encode_images(images) for _, images in _chunks(train, pictures)] or [torch.zeros(0, 1)])
    blocks = end.blocks if isinstance(end, StatisticsEnd | GuidedEnd) else (Block(found.shape[1], 1.0),)
    return Side([found] * (parts + 1), place, blocks), False


def _chunks(train: Split, pictures: npt.NDArray[np.int64]) -> Iterator[tuple[list[int], Tensor]]:
    for start in range(0, len(pictures), _PICTURES):
        chosen = pictures[start : start + _PICTURES]
        yield chosen.tolist(), torch.from_numpy(np.array(train.images[chosen]))


def _guided(
    encoder: TimmEncoder,
    end: GuidedEnd,
    train: Split,
    pictures: npt.NDArray[np.int64],
    moved: dict[int, npt.NDArray[np.float32]],
    belongs: dict[int, set[int]],
    parts: int,
) -> list[Tensor]:
    """Fit guides without each part and without nothing, keep the last, and pool every picture with each of them.

    The backbone runs twice: maps of all pictures would be hundreds of kilobytes each.
    """
    guides = Guides(parts, end.guide.in_features)
    taught = np.array([picture for picture in pictures.tolist() if picture in moved], np.int64)
    for chosen, images in _chunks(train, taught):
        target = torch.from_numpy(np.stack([moved[picture] for picture in chosen]))
        guides.add(end.cells(encoder.maps(images)), target, [frozenset(belongs[picture]) for picture in chosen])
    solved = guides.solve()
    end.guide.weight.copy_(solved[-1:, :-1])
    end.guide.bias.copy_(solved[-1, -1:])
    found: list[list[Tensor]] = [[] for _ in range(parts + 1)]
    for _, images in _chunks(train, pictures):
        cells = end.cells(encoder.maps(images))
        guidance = cells @ solved[:, :-1].T + solved[:, -1]  # [b, s, k + 1]
        for part, kept in enumerate(found):
            kept.append(end.attend(cells, guidance[:, :, part]))
    return [torch.cat(kept) for kept in found]


def text_side(model: FusionModel, train: Split, tokenizer: Tokenizer, parts: int) -> Side:
    """Encode every text of the rows; arguments as in `image_side`, and the number of inner parts."""
    # By length, so that texts of a batch need little padding.
    distinct = sorted({words for words in train.texts if words}, key=lambda words: (len(words), words))
    number = {words: at for at, words in enumerate(distinct)}
    found = []
    for start in range(0, len(distinct), _TEXTS):
        tokens, length = tokenizer.encode_batch(distinct[start : start + _TEXTS])
        found.append(model.encode_texts(torch.from_numpy(tokens), torch.from_numpy(length)))
    features = torch.cat(found or [torch.zeros(0, 1)])
    place = np.array([number.get(words, -1) for words in train.texts], np.int64)
    return Side([features] * (parts + 1), place, (Block(features.shape[1], 1.0),))
