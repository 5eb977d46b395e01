"""The model: an image encoder, a text encoder and a fusion head, each a graph of its own after export.

Shapes: `b` batch, `h`, `w` picture, `t` tokens, `L` labels; features have the shapes that the encoders say.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn

from vigil_export.data import Task
from vigil_export.models.encoders import (
    ImageEncoderSpec,
    SpecError,
    TextEncoderSpec,
    TwoPartEncoder,
    build_image_encoder,
    build_text_encoder,
    complete_text,
)
from vigil_export.models.fusions import FUSIONS, FusionSpec

__all__ = ["FusionModel", "FusionSpec", "ImageEncoderSpec", "ModelSpec", "SpecError", "TextEncoderSpec", "build_model"]


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a model is made of. It can be written down and read again (msgspec: JSON, TOML, YAML).

    Attributes:
        task: What the logits mean: a sigmoid each (`binary`, `multilabel`) or one softmax (`multiclass`).
        labels: Names of the labels, in the order of the logits.
        image: The image encoder.
        text: The text encoder.
        fusion: The fusion head; it decides which form of features the encoders give.
    """

    task: Task = "multilabel"
    labels: tuple[str, ...]
    image: ImageEncoderSpec = ImageEncoderSpec()
    text: TextEncoderSpec = TextEncoderSpec()
    fusion: FusionSpec = FusionSpec()


class FusionModel(nn.Module):
    """Encode each side once, fuse as often as needed. Made by `build_model`.

    Attributes:
        spec: Its parts, completed: what was read from files (sizes, the configuration of a BERT) is written out.
        image: The image encoder.
        text: The text encoder.
        head: The fusion head.
    """

    def __init__(self, spec: ModelSpec, *, tokenizer: bytes | None = None, with_weights: bool = True) -> None:
        """Build it; arguments as in `build_model`."""
        super().__init__()
        form = FUSIONS[spec.fusion.kind].FORM
        self.image = build_image_encoder(spec.image, form, with_weights=with_weights)
        self.text = build_text_encoder(spec.text, form, tokenizer=tokenizer, with_weights=with_weights)
        self.head = FUSIONS[spec.fusion.kind](self.image.shape, self.text.shape, len(spec.labels), spec.fusion)
        self.spec = spec

    def encode_images(self, image: Tensor) -> Tensor:
        """Encode pictures.

        Args:
            image: uint8 [b, h, w, 3], RGB; or float32, what a frozen encoder `gather`ed from them.

        Returns:
            float32 [b, *image.shape].
        """
        if image.dtype == torch.float32 and isinstance(self.image, TwoPartEncoder):
            return self.image.finish(image)
        return self.image(image)  # type: ignore[no-any-return]

    def encode_texts(self, tokens: Tensor, length: Tensor) -> Tensor:
        """Encode texts.

        Args:
            tokens: int64 [b, t]; or float32 [b, t, c], what a frozen encoder `gather`ed from them.
            length: int64 [b], tokens of each text.

        Returns:
            float32 [b, *text.shape].
        """
        if tokens.dtype == torch.float32 and isinstance(self.text, TwoPartEncoder):
            return self.text.finish(tokens, length)
        return self.text(tokens, length)  # type: ignore[no-any-return]

    def forward(
        self, image: Tensor, tokens: Tensor, length: Tensor, image_present: Tensor, text_present: Tensor
    ) -> Tensor:
        """Score pairs.

        Args:
            image: uint8 [b, h, w, 3], RGB.
            tokens: int64 [b, t].
            length: int64 [b].
            image_present: float32 [b], 0 or 1.
            text_present: float32 [b], 0 or 1.

        Returns:
            Logits, float32 [b, L].
        """
        features = self.encode_images(image), self.encode_texts(tokens, length)
        return self.head(*features, image_present, text_present)  # type: ignore[no-any-return]


def build_model(spec: ModelSpec, *, tokenizer: bytes | None = None, with_weights: bool = True) -> FusionModel:
    """Build a model; what is not pretrained gets random weights (seed PyTorch before).

    Args:
        spec: Its parts.
        tokenizer: The bytes of tokenizer.json (`make_tokenizer`): it says how many tokens there are, and which is which
            for word vectors.
        with_weights: Load pretrained weights where the spec names some. Without, no file and no network is touched for
            a spec that was completed: so a trained model is built, whose weights come from its run.

    Returns:
        The model; its `spec` is the given one, completed.

    Raises:
        SpecError: Parts that do not fit together.
        WeightsError: Pretrained weights cannot be had or do not fit.
    """
    _check(spec)
    spec = msgspec.structs.replace(spec, text=complete_text(spec.text, tokenizer if with_weights else None))
    return FusionModel(spec, tokenizer=tokenizer, with_weights=with_weights)


_FEWEST: dict[Task, int] = {"binary": 1, "multiclass": 2, "multilabel": 1}


def _check(spec: ModelSpec) -> None:
    count, fewest = len(spec.labels), _FEWEST[spec.task]
    if count < fewest or (spec.task == "binary" and count != 1) or len(set(spec.labels)) != count:
        expected = "one" if spec.task == "binary" else f"at least {fewest}, all different,"
        raise SpecError(f"labels: expected {expected} for task {spec.task}, found {list(spec.labels)}")
    fusion = spec.fusion
    if fusion.width == 0 and fusion.kind not in {"image_only", "text_only", "decision"}:
        raise SpecError(f"fusion.width: expected at least 1 for {fusion.kind}, found 0")
    if fusion.width % fusion.heads and fusion.kind in {"attention", "transformer"}:
        raise SpecError(f"fusion.width: expected a multiple of the {fusion.heads} heads, found {fusion.width}")
