"""Trains the tokenizer of a bundle, and reads training texts with it. In: texts. Out: tokenizer, token ids.

Serving normalises a text itself (NFKC) before it asks the tokenizer, so a byte-level file carries no normalizer of its
own; one of whole words only lower-cases and parts Chinese signs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer as Model
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import normalize_text

PAD = "<pad>"
UNKNOWN = "<unk>"
_LEAST = 2


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


def count_words(texts: Iterable[str], *, spec: TextSpec) -> Counter[str]:
    """Count the words of texts as `word_tokenizer` parts them.

    Args:
        texts: Any texts.
        spec: Bounds.

    Returns:
        Word -> how often it occurs. A word is in lower case, without accents; a Chinese sign is a word of its own, and
        so is each sign of punctuation.
    """
    words, parts = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        pieces = parts.pre_tokenize_str(words.normalize_str(normalize_text(text, spec)))
        counts.update(piece for piece, _ in pieces)
    return counts


def word_tokenizer(
    texts: Iterable[str], *, spec: TextSpec, vocabulary: int = 20_000, more: Iterable[str] = ()
) -> bytes:
    """Make a tokenizer of whole words, for word vectors.

    Args:
        texts: Training texts; their words come first, the most frequent before the others.
        spec: Bounds and padding.
        vocabulary: How many token ids at most, padding and the unknown word included.
        more: Words to fill up with: what the vectors know, though no training text says it.

    Returns:
        The bytes of tokenizer.json; equal arguments give equal bytes. An unknown word is token 1.

    Raises:
        ValueError: `spec.pad_id` is not 0, or `vocabulary` leaves no room for a word.
    """
    if spec.pad_id != 0 or vocabulary <= _LEAST:
        raise ValueError(f"expected pad_id 0 and a vocabulary above {_LEAST}, found {spec.pad_id} and {vocabulary}")
    counts = count_words(texts, spec=spec)
    said = sorted(counts, key=lambda word: (-counts[word], word))
    words = dict.fromkeys((PAD, UNKNOWN, *said))
    for word in more:
        if len(words) >= vocabulary:
            break
        pieces = list(count_words([word], spec=spec))
        if len(pieces) == 1:  # others never come out of a text whole
            words.setdefault(pieces[0])
    ids = {word: number for number, word in enumerate(words) if number < vocabulary}
    tokenizer = Model(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer.to_str().encode()
