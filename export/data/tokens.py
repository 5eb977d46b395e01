"""Trains the tokenizer of a bundle. Goes in: training texts. Goes out: the bytes of tokenizer.json.

Serving normalises a text itself (NFKC) before it asks the tokenizer, so the file carries no normalizer of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import normalize_text

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
    tokenizer = Tokenizer(models.BPE())
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
