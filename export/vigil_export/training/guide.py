"""Teaches the guide of a `GuidedEnd` where things move, without labels. In: pictures in sequences. Out: its weights.

What moved is known from the pictures of a sequence, in the order of their rows; by a ridge regression the guide learns
to tell it from one picture.
Shapes: `b` batch, `s` cells, `c` channels.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch

from vigil_export.data import NO_IMAGE, Split
from vigil_export.models.encoders.pooling import GuidedEnd
from vigil_export.models.encoders.timm_backbone import TimmEncoder
from vigil_export.models.model import FusionModel
from vigil_export.training.frozen import Keep, keep_images

_PENALTY = 1000.0
_BLUR = 1.5
_LEAST_MOTION = 0.5  # of 255; below is noise of the sensor
_PICTURES = 8  # at a time; on two cores a backbone took twice as long for each of 64


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
    if not isinstance(encoder, TimmEncoder) or not isinstance(encoder.end, GuidedEnd) or model.head.LOOKS_AT == "text":
        return False
    moved = movements(train, encoder.end.size)
    if not moved:
        return False
    was_training, kept = encoder.training, keep_images(model, train, keep)
    encoder.eval()
    guide = encoder.end.guide
    inputs = torch.zeros(guide.in_features + 1, guide.in_features + 1, dtype=torch.float64)
    outputs = torch.zeros(guide.in_features + 1, dtype=torch.float64)
    pictures = np.array(sorted(moved), np.int64)
    with torch.no_grad():
        for some in np.split(pictures, range(_PICTURES, len(pictures), _PICTURES)):
            if kept is None:
                cells = encoder.gather(torch.from_numpy(np.array(train.images[some])))  # [b, s, c]
            else:
                cells = torch.from_numpy(kept.take(some))
            rows = torch.cat((cells.flatten(0, 1), torch.ones(cells[:, :, 0].numel(), 1)), 1)  # [b s, c + 1]
            inputs += rows.T @ rows
            outputs += rows.T @ torch.from_numpy(np.concatenate([moved[picture] for picture in some]))
        solved = torch.linalg.solve(inputs + _PENALTY * torch.eye(len(inputs), dtype=torch.float64), outputs)
        guide.weight.copy_(solved[None, :-1])
        guide.bias.copy_(solved[-1:])
    encoder.train(was_training)
    if encoder.is_frozen:
        guide.requires_grad_(False)  # noqa: FBT003 - the signature is PyTorch's
    return True


def movements(split: Split, size: tuple[int, int]) -> dict[int, npt.NDArray[np.float32]]:
    """Say how much moved in each cell of each picture that has a neighbour in its sequence.

    Args:
        split: The rows.
        size: Rows and columns of cells.

    Returns:
        Place of the picture -> float32 [s]: log of the mean absolute difference of grey values to the two nearest
        pictures of its sequence, whichever differs less at a pixel: what is here and in neither of them counts, what
        one of them uncovers does not.
    """
    found: dict[int, npt.NDArray[np.float32]] = {}
    for places in _sequences(split):
        greys = [_grey(split.images[place]) for place in places]
        for number, place in enumerate(places):
            # Of the first and the last picture these lie on one side.
            first = min(max(0, number - 1), max(0, len(greys) - 3))
            near = [other for other in range(first, min(first + 3, len(greys))) if other != number]
            least = np.min([np.abs(greys[number] - greys[other]) for other in near], axis=0)
            moved = cv2.resize(least, size[::-1], interpolation=cv2.INTER_AREA)
            found.setdefault(place, np.log(moved.astype(np.float32) + _LEAST_MOTION).ravel())
    return found


def _sequences(split: Split) -> list[list[int]]:
    """Return the distinct pictures of each sequence that has at least two."""
    pictures: dict[int, dict[int, None]] = {}
    for sequence, place in zip(split.sequences.tolist(), split.image_of.tolist(), strict=True):
        if sequence >= 0 and place != NO_IMAGE:
            pictures.setdefault(sequence, {})[place] = None
    return [list(places) for places in pictures.values() if len(places) > 1]


def _grey(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), _BLUR), np.float32)
