"""Encoders: one side of the input in, features of a fixed shape out. Chosen by the `kind` of their spec."""

from export.models.encoders.build import build_image_encoder, build_text_encoder, complete_text
from export.models.encoders.encoder import Encoder, TwoPartEncoder
from export.models.encoders.spec import ImageEncoderSpec, SpecError, TextEncoderSpec
from export.models.encoders.tokenizer import make_tokenizer
from export.models.encoders.vectors import Coverage, coverage
from export.models.encoders.weights import WeightsError

__all__ = [
    "Coverage",
    "Encoder",
    "ImageEncoderSpec",
    "SpecError",
    "TextEncoderSpec",
    "TwoPartEncoder",
    "WeightsError",
    "build_image_encoder",
    "build_text_encoder",
    "complete_text",
    "coverage",
    "make_tokenizer",
]
