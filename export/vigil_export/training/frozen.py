"""Runs frozen encoders once for every picture and text, and keeps their output. In: a model, rows. Out: arrays.

A frozen backbone gives the same for a picture in every epoch, for every fold of a cross-validation and for every fusion
over it. What its encoder `gather`s lies in stores beside the prepared pictures, under a hash of the weights; one at a
time, so that it does not depend on what was asked for before, to the last bit.
Shapes: `m` pictures of a split, `v` texts, `t` tokens, `c` channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vigil_export.data import NO_IMAGE, Split
from vigil_export.data.preparing.store import ArrayStore
from vigil_export.models.encoders import Encoder, TwoPartEncoder
from vigil_export.models.model import FusionModel

# Part of a store's name: to be counted up when the same weights would give something else.
_VERSION = 1
_WAITING_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Keep:
    """Where to keep the output of frozen encoders, and how much of it.

    Attributes:
        cache: Folder of all stores.
        limit: Bytes that one side of a split may take; where it would be more, the encoder runs in every epoch.
    """

    cache: Path
    limit: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What a frozen encoder gathered.

    Attributes:
        arrays: float32 [k, ...], a memory map.
        place_of: int64: picture of the split, or number of the text -> its place among the k; -1 where it was not asked
            for.
    """

    arrays: npt.NDArray[np.float32]
    place_of: npt.NDArray[np.int64]

    def take(self, wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return what was gathered of these pictures or texts, as an array of its own."""
        return np.array(self.arrays[self.place_of[wanted]])


def keep_images(model: FusionModel, split: Split, keep: Keep) -> Kept | None:
    """Run a frozen image encoder over the pictures of a split, but for those that were kept before.

    Args:
        model: In evaluation or training; only its pretrained part counts.
        split: Its pictures.
        keep: Where, and how much.

    Returns:
        What the encoder gathered; None where it learns, or where there would be too much of it.

    Raises:
        DataError: The folder cannot be written, or the disk is full.
    """
    encoder = model.image
    # Fast for convolutions; and always the same layout, since another one gives other last bits.
    encoder.to(memory_format=torch.channels_last)
    if not isinstance(encoder, TwoPartEncoder):
        return None
    places = np.unique(split.image_of[split.image_of != NO_IMAGE])

    def gather(place: int) -> Tensor:
        picture = torch.from_numpy(np.array(split.images[place : place + 1]))
        return encoder.gather(picture.to(_device_of(model)))[0]

    keys = {int(place): hashlib.sha256(split.images[place].tobytes()).hexdigest() for place in places}
    return _keep(encoder, "pictures", keys, gather, keep, count=len(split.images))


def keep_texts(model: FusionModel, texts: Sequence[Sequence[int]], keep: Keep, *, max_tokens: int) -> Kept | None:
    """Run a frozen text encoder over texts; as `keep_images`.

    Args:
        model: As there.
        texts: v lists of token ids.
        keep: As there.
        max_tokens: Bound of a text; what was gathered is padded to it with 0.
    """
    encoder = model.text
    if not isinstance(encoder, TwoPartEncoder):
        return None

    def gather(number: int) -> Tensor:
        tokens = torch.tensor([texts[number]], device=_device_of(model))
        states = encoder.gather(tokens, torch.tensor([tokens.shape[1]], device=tokens.device))[0]
        return torch.nn.functional.pad(states, (0, 0, 0, max_tokens - len(states)))

    keys = {number: hashlib.sha256(repr(tuple(ids)).encode()).hexdigest() for number, ids in enumerate(texts)}
    return _keep(encoder, f"texts-{max_tokens}", keys, gather, keep, count=len(texts))


def _keep(
    encoder: TwoPartEncoder,
    name: str,
    keys: dict[int, str],
    gather: Callable[[int], Tensor],
    keep: Keep,
    *,
    count: int,
) -> Kept | None:
    if not encoder.is_frozen or not keys:
        return None
    was_training = encoder.training
    encoder.eval()
    with torch.inference_mode():
        sample = gather(next(iter(keys)))
        if sample.nbytes * len(keys) > keep.limit:
            encoder.train(was_training)
            return None
        folder = keep.cache / f"{name}-{_digest(encoder, sample)}-v{_VERSION}"
        store = ArrayStore(folder, tuple(sample.shape), np.float32)
        with store.writing() as known:
            new = {key: number for number, key in keys.items() if key not in known}
            most = max(1, _WAITING_BYTES // max(1, sample.nbytes))
            for at in range(0, len(new), most):
                some = dict(list(new.items())[at : at + most])
                store.add(list(some), np.stack([gather(number).float().cpu().numpy() for number in some.values()]))
                known |= {key: len(known) + place for place, key in enumerate(some)}
    encoder.train(was_training)
    place_of = np.full(count, -1, np.int64)
    place_of[list(keys)] = [known[key] for key in keys.values()]
    return Kept(store.read(), place_of)


def _digest(encoder: Encoder, sample: Tensor) -> str:
    """Return a name for what decides the output: class and form of the encoder, weights that are pretrained, shape."""
    kind = type(encoder).__name__, getattr(encoder, "taken", ()), encoder.form, tuple(sample.shape)
    digest = hashlib.sha256(repr(kind).encode())
    for name, value in encoder.state_dict().items():
        if not name.startswith("end."):
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _device_of(model: FusionModel) -> torch.device:
    return next(model.parameters()).device
