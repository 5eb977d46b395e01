"""Encoders: one side of the input in, features of a fixed shape out. Chosen by the `kind` of their spec."""

from export.encoders.encoder import Encoder
from export.encoders.image import NarrowResNet
from export.encoders.recurrent import RecurrentEncoder
from export.encoders.spec import ImageEncoderSpec, SpecError, TextEncoderSpec
from export.encoders.timm_backbone import TimmEncoder
from export.encoders.weights import WeightsError
from export.layers import Form

__all__ = [
    "Encoder",
    "ImageEncoderSpec",
    "SpecError",
    "TextEncoderSpec",
    "WeightsError",
    "build_image_encoder",
    "build_text_encoder",
]


def build_image_encoder(spec: ImageEncoderSpec, form: Form, *, with_weights: bool = True) -> Encoder:
    """Build an image encoder.

    Args:
        spec: Its parts.
        form: Of the features.
        with_weights: Load pretrained weights where the spec names some.

    Returns:
        The encoder; its pretrained part is frozen where the spec says so.

    Raises:
        SpecError: Parts that do not fit together.
        WeightsError: The weights cannot be had or do not fit.
    """
    if spec.kind == "narrow-resnet":
        for field, found, expected in (("weights", spec.weights, "random"), ("backbone", spec.backbone, "")):
            if found != expected:
                raise SpecError(f"image.{field}: expected {expected!r} for the narrow-resnet, found {found!r}")
        return NarrowResNet(spec, form)
    if spec.weights == "random" and spec.trainable != "fine-tuned":
        raise SpecError(f"image.trainable: expected 'fine-tuned' for random weights, found {spec.trainable!r}")
    encoder = TimmEncoder(spec, form, with_weights=with_weights)
    encoder.thaw(encoder.stage_count if spec.trainable == "fine-tuned" else 0)
    return encoder


def build_text_encoder(spec: TextEncoderSpec, form: Form) -> Encoder:
    """Build a text encoder.

    Args:
        spec: Its parts.
        form: Of the features.

    Returns:
        The encoder.
    """
    return RecurrentEncoder(spec, form)
