"""Builds encoders from their specs. In: a spec, the tokenizer. Out: a module with its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import msgspec
import torch
from tokenizers import Tokenizer
from torch import nn

from vigil_export.models.encoders.bag import BagEncoder
from vigil_export.models.encoders.encoder import Encoder
from vigil_export.models.encoders.image import NarrowResNet
from vigil_export.models.encoders.plain_cnn import PlainCnn
from vigil_export.models.encoders.recurrent import RecurrentEncoder
from vigil_export.models.encoders.spec import ImageEncoderSpec, SpecError, TextEncoderSpec, Trainable
from vigil_export.models.encoders.timm_backbone import TimmEncoder
from vigil_export.models.encoders.transformer import TransformerEncoder
from vigil_export.models.encoders.vectors import file_width, load_vectors
from vigil_export.models.layers import Form

_FROM_SCRATCH = {
    "lstm": RecurrentEncoder,
    "gru": RecurrentEncoder,
    "bag": BagEncoder,
    "transformer": TransformerEncoder,
}


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
    if spec.weights == "random" and spec.trainable != "fine-tuned":
        raise SpecError(f"image.trainable: expected 'fine-tuned' for random weights, found {spec.trainable!r}")
    if spec.pooling != "own" and (spec.kind != "timm" or form == "tokens" or spec.stage or not spec.maps):
        raise SpecError(
            "image.pooling: expected 'own', or a timm backbone with maps and no stage, under a fusion of one vector a "
            f"side; found {spec.pooling!r}"
        )
    if spec.kind != "timm":
        for field, found, expected in (("weights", spec.weights, "random"), ("backbone", spec.backbone, "")):
            if found != expected:
                raise SpecError(f"image.{field}: expected {expected!r} for the {spec.kind}, found {found!r}")
        return NarrowResNet(spec, form) if spec.kind == "narrow-resnet" else PlainCnn(spec, form)
    return _thawed(TimmEncoder(spec, form, with_weights=with_weights), spec.trainable)


def complete_text(spec: TextEncoderSpec, tokenizer: bytes | None) -> TextEncoderSpec:
    """Write out what lies in files: the size of the vocabulary, the width of word vectors, a BERT's configuration.

    Args:
        spec: What was asked for.
        tokenizer: The bytes of tokenizer.json, where it is made already.

    Returns:
        A spec that `build_text_encoder` needs no file for, but for the weights.

    Raises:
        SpecError: Parts that do not fit together.
        WeightsError: A file cannot be had.
    """
    if bool(spec.pretrained) != (spec.kind == "bert"):
        expected = "a folder or a hub name" if spec.kind == "bert" else f"nothing for the {spec.kind}"
        raise SpecError(f"text.pretrained: expected {expected}, found {spec.pretrained!r}")
    if spec.kind == "transformer" and spec.width % spec.heads:
        raise SpecError(f"text.width: expected a multiple of the {spec.heads} heads, found {spec.width}")
    if spec.trainable != "fine-tuned" and not spec.pretrained and not spec.vectors:
        raise SpecError(f"text.trainable: expected 'fine-tuned' for random weights, found {spec.trainable!r}")
    vocabulary, embedding, config = spec.vocabulary, spec.embedding, spec.config
    if tokenizer is not None:
        vocabulary = Tokenizer.from_buffer(tokenizer).get_vocab_size()
    if spec.kind == "bert":
        if not config:
            from vigil_export.models.encoders.bert import read_config  # noqa: PLC0415 - transformers takes seconds to import

            config = read_config(spec.pretrained)
        rows = json.loads(config)["vocab_size"]
        if tokenizer is not None and vocabulary > rows:
            raise SpecError(f"text.pretrained: expected a tokenizer of at most {rows} tokens, found {vocabulary}")
        vocabulary = rows
    elif spec.vectors and tokenizer is not None:
        embedding = file_width(Path(spec.vectors))
    return msgspec.structs.replace(spec, vocabulary=vocabulary, embedding=embedding, config=config)


def build_text_encoder(
    spec: TextEncoderSpec, form: Form, *, tokenizer: bytes | None = None, with_weights: bool = True
) -> Encoder:
    """Build a text encoder.

    Args:
        spec: Its parts, from `complete_text`.
        form: Of the features.
        tokenizer: The bytes of tokenizer.json; word vectors need it.
        with_weights: Load word vectors or a BERT where the spec names one.

    Returns:
        The encoder; its pretrained part is frozen where the spec says so. `known_words` names those with a vector.

    Raises:
        SpecError: Parts that do not fit together.
        WeightsError: The weights cannot be had or do not fit.
    """
    if spec.kind == "bert":
        from vigil_export.models.encoders.bert import BertEncoder  # noqa: PLC0415 - transformers takes seconds to import

        return _thawed(BertEncoder(spec, form, with_weights=with_weights), spec.trainable)
    encoder = _FROM_SCRATCH[spec.kind](spec, form)
    if not spec.vectors:
        return encoder
    embed = cast("nn.Embedding", encoder.get_submodule("embed"))
    if with_weights:
        if tokenizer is None:
            raise SpecError("text.vectors: expected the tokenizer as well, found none")
        encoder.known_words = _fill(embed, Path(spec.vectors), tokenizer)
    encoder.set_stages([list(embed.parameters())])
    return _thawed(encoder, spec.trainable)


def _fill(embed: nn.Embedding, path: Path, tokenizer: bytes) -> frozenset[str]:
    """Put word vectors into an embedding; words without one get their mean and a little noise of their own."""
    ids: dict[str, int] = Tokenizer.from_buffer(tokenizer).get_vocab()
    known = load_vectors(path, ids)
    vectors = {ids[word]: torch.from_numpy(vector) for word, vector in known.items()}
    # In the order of ids: that of a vocabulary is another in each process, and so would be the last bits of a sum.
    stack = torch.stack([vectors[number] for number in sorted(vectors)])
    with torch.no_grad():
        embed.weight.normal_().mul_(0.1 * stack.std(0, correction=0)).add_(stack.mean(0))
        for number, vector in vectors.items():
            embed.weight[number] = vector
    return frozenset(known)


def _thawed(encoder: Encoder, trainable: Trainable) -> Encoder:
    encoder.thaw(encoder.stage_count if trainable == "fine-tuned" else 0)
    return encoder
