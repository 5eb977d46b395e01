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
from export.models.encoders import SpecError, TwoPartEncoder
from export.models.encoders.pooling import Block, GuidedEnd, StatisticsEnd
from export.models.model import FusionModel
from export.training.frozen import Keep, Kept, keep_images, keep_texts
from export.training.guide import Guides, movements
from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import Tokenizer, pad_tokens, token_bucket

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


def image_side(model: FusionModel, train: Split, part_of: npt.NDArray[np.int64], keep: Keep) -> tuple[Side, bool]:
    """Encode every picture of the rows; fit the guide first, where there is one and something to fit it to.

    Args:
        model: The guide of its image encoder changes.
        train: n rows.
        part_of: int64 [n].
        keep: Where to keep what the backbone gives.

    Returns:
        The features, and whether they are guided.

    Raises:
        SpecError: The image encoder has nothing pretrained.
    """
    pictures, place = np.unique(train.image_of, return_inverse=True)
    place = place.ravel().astype(np.int64)
    if len(pictures) and pictures[0] == NO_IMAGE:
        pictures, place = pictures[1:], place - 1
    parts = int(part_of.max()) + 1
    encoder = model.image
    if not isinstance(encoder, TwoPartEncoder):
        raise SpecError(f"image.kind: expected a pretrained backbone for a probe, found {model.spec.image.kind}")
    end = getattr(encoder, "end", None)
    gathered = _Gathered(encoder, train, keep_images(model, train, keep))
    if isinstance(end, GuidedEnd):
        moved = movements(train, end.size)
        if moved:
            belongs: dict[int, set[int]] = {}
            for picture, part in zip(train.image_of.tolist(), part_of.tolist(), strict=True):
                belongs.setdefault(picture, set()).add(part)
            guides = _teach(end, gathered, moved, belongs, parts)
            return Side(_guided(end, gathered, pictures, guides), place, end.blocks), True
    found = torch.cat([encoder.finish(some) for _, some in gathered.of(pictures)] or [torch.zeros(0, 1)])
    blocks = end.blocks if isinstance(end, StatisticsEnd | GuidedEnd) else (Block(found.shape[1], 1.0),)
    return Side([found] * (parts + 1), place, blocks), False


@dataclass(frozen=True, slots=True)
class _Gathered:
    """What the encoder gathers from pictures, from where it is kept or anew."""

    encoder: TwoPartEncoder
    train: Split
    kept: Kept | None

    def of(self, pictures: npt.NDArray[np.int64]) -> Iterator[tuple[list[int], Tensor]]:
        """Give some pictures' at a time: which they are, float32 [b, ...]."""
        for start in range(0, len(pictures), _PICTURES):
            chosen = pictures[start : start + _PICTURES]
            if self.kept is None:
                found = self.encoder.gather(torch.from_numpy(np.array(self.train.images[chosen])))
            else:
                found = torch.from_numpy(self.kept.take(chosen))
            yield chosen.tolist(), found


def teach_guide(model: FusionModel, train: Split, keep: Keep) -> bool:
    """Fit the guide of a model's image encoder to what moved between the pictures of sequences.

    Args:
        model: Where it has a guide, that changes; over a frozen backbone it then learns no further.
        train: The rows.
        keep: Where to keep what the backbone gives.

    Returns:
        Whether there was a guide that the model looks through, and something to teach it.
    """
    encoder = model.image
    end = getattr(encoder, "end", None)
    if not isinstance(encoder, TwoPartEncoder) or not isinstance(end, GuidedEnd) or model.head.LOOKS_AT == "text":
        return False
    moved = movements(train, end.size)
    if not moved:
        return False
    was_training = encoder.training
    encoder.eval()
    with torch.no_grad():
        _teach(end, _Gathered(encoder, train, keep_images(model, train, keep)), moved, {}, 0)
    encoder.train(was_training)
    if encoder.is_frozen:
        end.guide.requires_grad_(False)  # noqa: FBT003 - the signature is PyTorch's
    return True


def _teach(
    end: GuidedEnd,
    gathered: _Gathered,
    moved: dict[int, npt.NDArray[np.float32]],
    belongs: dict[int, set[int]],
    parts: int,
) -> Tensor:
    """Fit guides without each part and without nothing, float32 [k + 1, c + 1], and keep the last."""
    guides = Guides(parts, end.guide.in_features)
    for chosen, cells in gathered.of(np.array(sorted(moved), np.int64)):
        target = torch.from_numpy(np.stack([moved[picture] for picture in chosen]))
        guides.add(cells, target, [frozenset(belongs.get(picture, ())) for picture in chosen])
    solved = guides.solve()
    end.guide.weight.copy_(solved[-1:, :-1])
    end.guide.bias.copy_(solved[-1, -1:])
    return solved


def _guided(end: GuidedEnd, gathered: _Gathered, pictures: npt.NDArray[np.int64], guides: Tensor) -> list[Tensor]:
    """Pool every picture with each of the guides."""
    found: list[list[Tensor]] = [[] for _ in guides]
    for _, cells in gathered.of(pictures):
        guidance = cells @ guides[:, :-1].T + guides[:, -1]  # [b, s, k + 1]
        for part, kept in enumerate(found):
            kept.append(end.attend(cells, guidance[:, :, part]))
    return [torch.cat(kept) for kept in found]


def text_side(model: FusionModel, train: Split, words: tuple[Tokenizer, TextSpec], parts: int, keep: Keep) -> Side:
    """Encode every text of the rows.

    Args:
        model: Its text encoder is frozen.
        train: n rows.
        words: The tokenizer and its bounds.
        parts: How many inner parts there are.
        keep: Where to keep what the encoder gives.
    """
    tokenizer, text = words
    # By length, so that texts of a batch need little padding.
    distinct = sorted({one for one in train.texts if one}, key=lambda one: (len(one), one))
    number = {one: at for at, one in enumerate(distinct)}
    ids = [tokenizer.encode(one) for one in distinct]
    kept = keep_texts(model, ids, keep, max_tokens=text.max_tokens)
    found = []
    for start in range(0, len(distinct), _TEXTS):
        some = ids[start : start + _TEXTS]
        bucket = token_bucket(max(map(len, some)), text.max_tokens)
        tokens, length = pad_tokens(some, pad_id=text.pad_id, padded_length=bucket)
        read = tokens if kept is None else kept.take(np.arange(start, start + len(some)))[:, :bucket]
        found.append(model.encode_texts(torch.from_numpy(read), torch.from_numpy(length)))
    features = torch.cat(found or [torch.zeros(0, 1)])
    place = np.array([number.get(one, -1) for one in train.texts], np.int64)
    return Side([features] * (parts + 1), place, (Block(features.shape[1], 1.0),))
