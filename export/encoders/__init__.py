"""Encoders: one side of the input in, features of a fixed shape out. Chosen by name in `export.model.ModelSpec`."""

from collections.abc import Callable

from export.encoders.image import NarrowResNet
from export.encoders.text import LstmEncoder

IMAGE_ENCODERS: dict[str, Callable[[int], NarrowResNet]] = {"narrow-resnet": NarrowResNet}
"""Name -> factory that takes the number of features."""

TEXT_ENCODERS: dict[str, Callable[[int, int], LstmEncoder]] = {"lstm": LstmEncoder}
"""Name -> factory that takes the size of the vocabulary and the number of features."""

__all__ = ["IMAGE_ENCODERS", "TEXT_ENCODERS", "LstmEncoder", "NarrowResNet"]
