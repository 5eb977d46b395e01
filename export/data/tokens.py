"""Trains the tokenizer of a bundle, and reads training texts with it. Goes in: texts. Goes out: tokenizer, token ids.

Serving normalises a text itself (NFKC) before it asks the tokenizer, so the file carries no normalizer of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer as Model
from tokenizers import decoders, models, pre_tokenizers, trainers

from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import Tokenizer, normalize_text

PAD = "<pad>"


def train_tokenizer(texts: Iterable[str], *, spec: TextSpec, vocabulary: int = 1024) -> bytes:
    """Train byte-level BPE (Sennrich et al. 2016, arXiv:1508.07909): no text has an unknown token.

    Args:
        texts: Training texts.
        spec: Bounds and padding; the padding token gets `spec.pad_id`.
        vocabulary: How many token ids at most, at least 257.

    Returns:
        The bytes of tokenizer.json; equal arguments give equal bytes.

    Raises:
        ValueError: `spec.pad_id` is not 0, where the trainer puts the padding token.
    """
    if spec.pad_id != 0:
        raise ValueError(f"expected pad_id 0, found {spec.pad_id}")
    tokenizer = Model(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((normalize_text(text, spec) for text in texts), trainer)
    return tokenizer.to_str().encode()


_COARSE_READERS = 3


def read_varied(texts: Sequence[str], tokenizer_json: bytes, *, spec: TextSpec, seed: int) -> list[tuple[int, ...]]:
    """Read training texts, half of them in smaller pieces than serving does.

    A tokenizer that knows a part of the merges only cuts a word into pieces that occur in other words too. A model that
    saw both understands unseen words better. (The aim of BPE-dropout, Provilkov et al. 2020, arXiv:1910.13267, here
    reproducible: the library's own dropout takes no seed.)

    Args:
        texts: n texts.
        tokenizer_json: From `train_tokenizer`.
        spec: Bounds and padding.
        seed: Decides which texts are cut how finely.

    Returns:
        n rows of token ids of the same vocabulary.
    """
    rng = np.random.default_rng([seed, 72])
    readers = [Tokenizer(tokenizer_json, spec)]
    content = json.loads(tokenizer_json)
    merges = content["model"]["merges"]
    for share in rng.uniform(0.1, 0.9, _COARSE_READERS):
        content["model"]["merges"] = merges[: int(len(merges) * share)]
        readers.append(Tokenizer(json.dumps(content).encode(), spec))
    chosen = np.where(rng.random(len(texts)) < 0.5, 0, rng.integers(1, len(readers), len(texts)))
    return [readers[reader].encode(text) for reader, text in zip(chosen, texts, strict=True)]
