"""Image encoders: uint8 pictures in, features out. Casting, scaling and layout happen inside: they are exported too.

Shapes: `b` batch, `h` height, `w` width, `c` channels of a map, `s` cells, `d` features.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from vigil_export.models.encoders.encoder import Encoder
from vigil_export.models.encoders.spec import ImageEncoderSpec
from vigil_export.models.layers import Form, projection

_CHANNELS = (24, 96)
_BLOCK = cast("Any", BasicBlock)  # timm's annotation asks for an instance and means the class


class NarrowResNet(Encoder):
    """A narrow ResNet (He et al. 2015, arXiv:1512.03385; timm's) that ends after its second stage.

    A person at the fence is 20 pixels tall at 96 x 128. The later stages would leave 3 x 4 cells of the picture, in
    which such a person is lost (tried: fights, intruders and bags were never learned); two stages leave 12 x 16. The
    map is pooled by mean and by maximum, since a mean alone drowns what covers two cells. The last normalisation of a
    block starts at 1, not at 0 as is usual: starting at 0 learned far slower in so short a training.
    """

    def __init__(self, spec: ImageEncoderSpec, form: Form = "pooled") -> None:
        """Build it with random weights; of the spec `height`, `width`, `features` and `grid` count."""
        super().__init__(form)
        self.body = ResNet(
            _BLOCK, (1, 1), num_classes=0, channels=_CHANNELS, stem_width=_CHANNELS[0], zero_init_last=False
        )
        self.body.layer3, self.body.layer4 = nn.Identity(), nn.Identity()  # timm's class expects four stages
        self.end = MapEnd(_CHANNELS[-1], (-(-spec.height // 8), -(-spec.width // 8)), spec, form)
        self.shape = self.end.shape

    def forward(self, image: Tensor) -> Tensor:
        """Encode pictures.

        Args:
            image: uint8 [b, h, w, 3], RGB.

        Returns:
            float32 [b, d] or [b, s, d], each within -1 and 1 where it is projected.
        """
        pixels = image.to(torch.float32).permute(0, 3, 1, 2) * (1 / 58.0) - 127.5 / 58.0  # [b, 3, h, w]
        return self.end(self.body.forward_features(pixels))  # type: ignore[no-any-return]


class MapEnd(nn.Module):
    """From a map to features: pooled by mean and maximum, or cell by cell; then projected."""

    def __init__(self, channels: int, size: tuple[int, int], spec: ImageEncoderSpec, form: Form) -> None:
        """Build it with random weights.

        Args:
            channels: Of the map.
            size: Rows and columns of the map.
            spec: `features` and `grid` count.
            form: Of the features.
        """
        super().__init__()
        self.form = form
        self.size = size
        self.grid = (min(size[0], spec.grid), min(size[1], spec.grid))
        width = channels if form == "tokens" else 2 * channels
        self.project = projection(width, spec.features)
        length = spec.features or width
        self.shape = (self.grid[0] * self.grid[1], length) if form == "tokens" else (length,)

    def gather(self, maps: Tensor) -> Tensor:
        """Pool without weights: float32 [b, c, h, w] -> [b, 2 c] or [b, s, c]."""
        if self.form == "tokens":
            cells = maps if self.grid == self.size else adaptive_avg_pool2d(maps, self.grid)
            return cells.flatten(2).transpose(1, 2)
        return torch.cat((maps.mean((2, 3)), maps.amax((2, 3))), 1)

    def finish(self, gathered: Tensor) -> Tensor:
        """Project: what `gather` gives -> float32 [b, d] or [b, s, d]."""
        return self.project(gathered)  # type: ignore[no-any-return]

    def forward(self, maps: Tensor) -> Tensor:
        """Turn maps into features: float32 [b, c, h, w] -> [b, d] or [b, s, d]."""
        return self.finish(self.gather(maps))
