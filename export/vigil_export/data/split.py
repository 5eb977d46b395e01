"""A split of a data set in the form that training and evaluation read. It must not know where the rows came from.

Shapes: `n` rows, `m` pictures (several rows may share one), `h`, `w` of a picture, `L` labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

NO_IMAGE = -1


@dataclass(frozen=True, slots=True)
class Split:
    """Rows as arrays.

    Attributes:
        images: uint8 [m, h, w, 3], RGB, prepared as serving prepares them; may be a memory map.
        image_of: int64 [n], the row's picture within `images`; -1 where the row has none.
        texts: n texts; empty where the row has none.
        truth: float32 [n, L], 0 or 1.
        groups: int64 [n]; rows of a group are not independent (one camera), so intervals resample groups.
        sequences: int64 [n]; rows of one sequence show the same event; -1 where a row stands alone.
        ids: n names, unique, the same in every reading of the data set.
        facets: Name -> n values by which figures are broken down (kind of text, language, ...).
    """

    images: npt.NDArray[np.uint8]
    image_of: npt.NDArray[np.int64]
    texts: tuple[str, ...]
    truth: npt.NDArray[np.float32]
    groups: npt.NDArray[np.int64]
    sequences: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    facets: dict[str, npt.NDArray[np.str_]]

    def __len__(self) -> int:
        """Return n."""
        return len(self.texts)

    @property
    def has_image(self) -> npt.NDArray[np.bool_]:
        """Whether each row has a picture, bool [n]."""
        result: npt.NDArray[np.bool_] = self.image_of != NO_IMAGE
        return result

    @property
    def has_text(self) -> npt.NDArray[np.bool_]:
        """Whether each row has a text, bool [n]."""
        return np.array([bool(text) for text in self.texts], np.bool_)

    def take(self, rows: npt.NDArray[np.int64]) -> Split:
        """Return the split of these rows, in this order; the pictures stay where they are.

        Args:
            rows: int64 [k], each within 0 and n - 1.
        """
        return replace(
            self,
            image_of=self.image_of[rows],
            texts=tuple(self.texts[row] for row in rows),
            truth=self.truth[rows],
            groups=self.groups[rows],
            sequences=self.sequences[rows],
            ids=tuple(self.ids[row] for row in rows),
            facets={name: values[rows] for name, values in self.facets.items()},
        )
