"""From what a backbone gives to one vector: as it is, or several of its maps pooled where a guide points.

Shapes: `b` batch, `c` channels, `h`, `w` of a map, `s` cells, `d` features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vigil_export.models.layers import projection

_LEAST_VARIANCE = 1e-8  # the root's slope at 0 is infinite
_SHARPNESS = 3.0


class OwnEnd(nn.Module):
    """The backbone's own pooled output, projected."""

    def __init__(self, width: int, features: int) -> None:
        """Build it with random weights.

        Args:
            width: Of the backbone's output.
            features: Length of the features, 0: as they are.
        """
        super().__init__()
        self.project = projection(width, features)
        self.shape = (features or width,)

    def gather(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the only one: float32 [b, width]."""
        return maps[0]

    def finish(self, gathered: Tensor) -> Tensor:
        """Project: what `gather` gives -> float32 [b, d]."""
        return self.project(gathered)  # type: ignore[no-any-return]


class GuidedEnd(nn.Module):
    """Mean and standard deviation over the cells to which a guide points, and where these lie.

    The guide is a linear layer over the channels of a cell. Nothing tells it what is in the picture: training fits it
    to where things moved between the pictures of a sequence (`vigil_export.training.guide`), so that it points at
    people in a single picture too. Trained by gradient it is attention (Ilse et al. 2018, arXiv:1802.04712). It
    begins at 0: all cells alike.

    Attributes:
        guide: Channels -> guidance of a cell.
        size: Rows and columns of the finest map, to which the others are brought.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, channels: Sequence[int], sizes: Sequence[tuple[int, int]], features: int) -> None:
        """Build it with a guide that knows nothing.

        Args:
            channels: Of each map.
            sizes: Rows and columns of each map.
            features: Length of the features, 0: as they are.
        """
        super().__init__()
        self.size = max(sizes)
        count = sum(channels)
        self.guide = nn.Linear(count, 1)
        with torch.no_grad():
            self.guide.weight.zero_()
            self.guide.bias.zero_()
        height, width = self.size
        self.register_buffer("rows", torch.arange(height).repeat_interleave(width).float(), persistent=False)
        self.register_buffer("columns", torch.arange(width).repeat(height).float(), persistent=False)
        self.project = projection(2 * count + 4, features)
        self.shape = (features or 2 * count + 4,)

    def gather(self, maps: Sequence[Tensor]) -> Tensor:
        """Lay maps over each other: float32 [b, c, h, w] each -> [b, s, sum of c]."""
        same = [one if one.shape[2:] == self.size else interpolate(one, size=self.size, mode="nearest") for one in maps]
        return torch.cat(same, 1).flatten(2).transpose(1, 2)

    def attend(self, cells: Tensor, guidance: Tensor) -> Tensor:
        """Pool: float32 [b, s, c] and [b, s] -> [b, 2 c + 4]."""
        mean, deviation = _moments(cells, torch.softmax(_SHARPNESS * guidance, 1))
        places = torch.stack((self.rows, self.columns), 1).expand(cells.shape[0], -1, -1)  # [b, s, 2]
        return torch.cat((mean, deviation, *_moments(places, torch.softmax(guidance, 1))), 1)

    def finish(self, gathered: Tensor) -> Tensor:
        """Pool where the guide points: what `gather` gives -> float32 [b, d]."""
        return self.project(self.attend(gathered, self.guide(gathered)[:, :, 0]))  # type: ignore[no-any-return]


def _moments(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return weighted mean and standard deviation: float32 [b, s, c] and [b, s] -> [b, c] each."""
    mean = torch.bmm(weights[:, None], values)  # [b, 1, c]
    variance = torch.bmm(weights[:, None], (values - mean).square())
    return mean[:, 0], variance[:, 0].clamp(min=_LEAST_VARIANCE).sqrt()
