"""Chooses the tokenizer that belongs to a text encoder: BERT's own, whole words for word vectors, else byte-level BPE.

In: a spec and training texts. Out: the bytes of tokenizer.json and the bounds that go into the manifest.
Training reads texts with `stream_app.bundle.text.Tokenizer` over these two, as serving does, so both see equal tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stream_app.bundle.manifest import TextSpec
from vigil_export.data.preparing.tokens import train_tokenizer, word_tokenizer
from vigil_export.models.encoders.spec import TextEncoderSpec
from vigil_export.models.encoders.vectors import file_words


def make_tokenizer(spec: TextEncoderSpec, texts: Sequence[str]) -> tuple[bytes, TextSpec]:
    """Make the tokenizer of a text encoder.

    Args:
        spec: The encoder; `vocabulary` bounds what is trained here, and is not looked at for a BERT.
        texts: Training texts.

    Returns:
        The bytes of tokenizer.json, and what serving must know to use it.

    Raises:
        WeightsError: A BERT or a file of vectors cannot be had.
    """
    if spec.kind == "bert":
        from vigil_export.models.encoders.bert import read_tokenizer  # noqa: PLC0415 - transformers takes seconds to import

        data, pad_id = read_tokenizer(spec.pretrained)
        return data, TextSpec(max_tokens=spec.max_tokens, pad_id=pad_id)
    bounds = TextSpec(max_tokens=spec.max_tokens, pad_id=0)
    if spec.vectors:
        more = file_words(Path(spec.vectors), spec.vocabulary)
        return word_tokenizer(texts, spec=bounds, vocabulary=spec.vocabulary, more=more), bounds
    return train_tokenizer(texts, spec=bounds, vocabulary=spec.vocabulary), bounds
