"""A split of a data set in the form that training and evaluation read. It must not know where the rows came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of a data set; all arrays have the same length n.

    Attributes:
        images: uint8 [n, h, w, 3], RGB, prepared as serving prepares them.
        texts: n texts.
        truth: float32 [n, L], 0 or 1.
        groups: int64 [n]; rows of a group are not independent (one camera), so intervals resample groups.
        facets: Name -> n values by which figures are broken down (kind of text, language, ...).
    """

    images: npt.NDArray[np.uint8]
    texts: tuple[str, ...]
    truth: npt.NDArray[np.float32]
    groups: npt.NDArray[np.int64]
    facets: dict[str, npt.NDArray[np.str_]]

    def __len__(self) -> int:
        """Return n."""
        return len(self.texts)
