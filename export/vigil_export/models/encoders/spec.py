"""What encoders are made of, as values that a configuration file holds. No PyTorch here."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Trainable = Literal["frozen", "fine-tuned", "staged"]
_Some = Annotated[int, msgspec.Meta(ge=1)]
_AnyOrNone = Annotated[int, msgspec.Meta(ge=0)]
_Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class SpecError(ValueError):
    """Parts of a model do not fit together; the message names the field, what was expected, what was found."""


DEFAULT_BACKBONE = "resnet50"
"""The backbone that the field names first; smaller ones suit the edge."""


class ImageEncoderSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An image encoder.

    Attributes:
        kind: `narrow-resnet` and `plain-cnn` are small and start from random weights, `timm` is any backbone of that
            library.
        backbone: A name of timm's, such as `tf_efficientnet_lite0`; `timm` without one takes `resnet50`.
        weights: `random`, `pretrained` (from the Hugging Face hub) or the path of a safetensors file in timm's names.
        trainable: Whether the backbone learns: never, always, or thawed from its end in stages.
        height: Rows of the picture.
        width: Columns of the picture.
        features: Length of a row's (or cell's) features; 0: as the backbone gives them.
        stage: Which map of the backbone to end with, -1 the last, -2 the one before; 0: its own pooled output. Earlier
            maps are finer: they keep what is small in the picture.
        pooling: How maps become one vector: as `stage` says; or, for timm, `guided`: looking where a guide points
            (`pooling.GuidedEnd`).
        maps: Which maps `guided` takes.
        grid: Cells per side of the token form at most; a finer map is averaged down.
    """

    kind: Literal["narrow-resnet", "plain-cnn", "timm"] = "narrow-resnet"
    backbone: str = ""
    weights: str = "random"
    trainable: Trainable = "fine-tuned"
    height: _Some = 96
    width: _Some = 128
    features: _AnyOrNone = 128
    stage: Annotated[int, msgspec.Meta(le=0)] = 0
    pooling: Literal["own", "guided"] = "own"
    maps: tuple[Annotated[int, msgspec.Meta(lt=0)], ...] = (-2, -1)
    grid: _Some = 7

    def __post_init__(self) -> None:
        """Name the backbone where nobody did, so that configurations and cards say which it is."""
        if self.kind == "timm" and not self.backbone:
            msgspec.structs.force_setattr(self, "backbone", DEFAULT_BACKBONE)


class TextEncoderSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A text encoder.

    Attributes:
        kind: `lstm`, `gru`, `bag` (mean of the words), `transformer` (from random weights), `bert` (pretrained).
        bidirectional: Read an LSTM or GRU from the right as well.
        embedding: Length of a token's vector; that of the file where `vectors` is given.
        width: Units of each LSTM or GRU, width of the transformer.
        layers: Of LSTM, GRU or transformer.
        heads: Of the transformer.
        dropout: Share of units left out between embedding, layers and projection in training.
        vectors: A file of word vectors to start from (`vigil_export.models.encoders.vectors`), or empty.
        pretrained: Folder or hub name of a BERT, or empty.
        config: Of that BERT, as JSON; filled in when the model is built, so that a trained model needs no folder.
        trainable: Whether what is pretrained (vectors, BERT) learns: never, always, or thawed from its end in stages.
        features: Length of a row's (or token's) features; 0: as the encoder gives them.
        max_tokens: Bound of a text, as in the manifest.
        vocabulary: How many token ids at most; once the model is built, how many there are.
    """

    kind: Literal["lstm", "gru", "bag", "transformer", "bert"] = "lstm"
    bidirectional: bool = False
    embedding: _Some = 64
    width: _Some = 128
    layers: _Some = 1
    heads: _Some = 4
    dropout: _Share = 0.0
    vectors: str = ""
    pretrained: str = ""
    config: str = ""
    trainable: Trainable = "fine-tuned"
    features: _AnyOrNone = 128
    max_tokens: _Some = 64
    vocabulary: _Some = 1024
