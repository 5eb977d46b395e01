"""A plain convolutional network for small, drawn or otherwise simple pictures.

Shapes: `b` batch, `h` height, `w` width, `s` cells, `d` features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vigil_export.models.encoders.encoder import Encoder
from vigil_export.models.encoders.image import MapEnd
from vigil_export.models.encoders.spec import ImageEncoderSpec
from vigil_export.models.layers import Form, projection

_CHANNELS = (3, 32, 64, 96, 128)
_STRIDES = (2, 2, 2, 1)


class PlainCnn(Encoder):
    """Four convolutions of 3 x 3, each normalised (Ioffe and Szegedy 2015, arXiv:1502.03167); pooled by maximum.

    The maximum says whether something is anywhere, which is what questions about shapes and colours ask: with the
    product fusion and unprojected features it learns easy-VQA within a minute, which the narrow ResNet, pooled by mean
    and maximum, does not.
    """

    def __init__(self, spec: ImageEncoderSpec, form: Form = "pooled") -> None:
        """Build it with random weights; of the spec `height`, `width`, `features` and `grid` count."""
        super().__init__(form)
        layers: list[nn.Module] = []
        for inside, outside, stride in zip(_CHANNELS, _CHANNELS[1:], _STRIDES, strict=False):
            layers += [nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        if form == "tokens":
            self.end: nn.Module = MapEnd(_CHANNELS[-1], (-(-spec.height // 8), -(-spec.width // 8)), spec, form)
            self.shape = self.end.shape
        else:
            self.end = projection(_CHANNELS[-1], spec.features)
            self.shape = (spec.features or _CHANNELS[-1],)

    def forward(self, image: Tensor) -> Tensor:
        """Encode pictures: uint8 [b, h, w, 3], RGB -> float32 [b, d] or [b, s, d]."""
        pixels = image.to(torch.float32).permute(0, 3, 1, 2) * (1 / 58.0) - 127.5 / 58.0  # [b, 3, h, w]
        maps = self.body(pixels)  # [b, 128, h/8, w/8]
        return self.end(maps if self.form == "tokens" else maps.amax((2, 3)))  # type: ignore[no-any-return]
