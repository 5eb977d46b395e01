"""Teaches the guide of a `GuidedEnd` where things move, without labels. Goes in: pictures in sequences, maps of them.

What moved is known from the pictures of a sequence, in the order of their rows; the guide learns to tell it from one.
A ridge regression per set of rows that is left out, all from the same sums.
Shapes: `m` pictures, `b` batch, `s` cells, `c` channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from export.data import NO_IMAGE, Split

_PENALTY = 1000.0
_BLUR = 1.5
_LEAST_MOTION = 0.5  # of 255; below is noise of the sensor


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


@dataclass(slots=True)
class Guides:
    """Sums of a ridge regression from cells to movement, for each part of the rows and for all.

    Attributes:
        parts: How many parts may be left out.
        inputs: float64 [parts + 1, c + 1, c + 1]; the last is of all pictures.
        outputs: float64 [parts + 1, c + 1].
    """

    parts: int
    channels: int
    inputs: Tensor = field(init=False)
    outputs: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        width = self.channels + 1
        self.inputs = torch.zeros(self.parts + 1, width, width, dtype=torch.float64)
        self.outputs = torch.zeros(self.parts + 1, width, dtype=torch.float64)

    def add(self, cells: Tensor, moved: Tensor, part_of: list[frozenset[int]]) -> None:
        """Take pictures in.

        Args:
            cells: float32 [b, s, c].
            moved: float32 [b, s].
            part_of: b sets of the parts that each picture belongs to.
        """
        alike: dict[frozenset[int], list[int]] = {}
        for place, parts in enumerate(part_of):
            alike.setdefault(parts, []).append(place)
        for parts, places in alike.items():
            rows = cells[places].flatten(0, 1)  # [b s, c]
            with_one = torch.cat((rows, torch.ones(len(rows), 1)), 1)
            square, product = with_one.T @ with_one, with_one.T @ moved[places].flatten()
            for part in (*parts, self.parts):
                self.inputs[part] += square
                self.outputs[part] += product

    def solve(self) -> Tensor:
        """Return the guides, float32 [parts + 1, c + 1], the last number the bias: without each part, and of all."""
        everything = self.inputs[-1], self.outputs[-1]
        ridge = _PENALTY * torch.eye(self.channels + 1, dtype=torch.float64)
        solved = [
            torch.linalg.solve(everything[0] - self.inputs[part] + ridge, everything[1] - self.outputs[part])
            for part in range(self.parts)
        ]
        solved.append(torch.linalg.solve(everything[0] + ridge, everything[1]))
        return torch.stack(solved).float()
