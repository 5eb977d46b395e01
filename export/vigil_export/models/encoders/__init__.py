"""Encoders: one side of the input in, features of a fixed shape out. Chosen by the `kind` of their spec."""

from vigil_export.models.encoders.build import build_image_encoder, build_text_encoder, complete_text
from vigil_export.models.encoders.encoder import Encoder, TwoPartEncoder
from vigil_export.models.encoders.spec import ImageEncoderSpec, SpecError, TextEncoderSpec
from vigil_export.models.encoders.tokenizer import make_tokenizer
from vigil_export.models.encoders.vectors import Coverage, coverage
from vigil_export.models.encoders.weights import WeightsError

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
