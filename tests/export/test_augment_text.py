"""Changes of training texts: other pieces, lost and wrong tokens; never nothing, and equal for equal states."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import Tokenizer
from vigil_export.data.preparing.augment_text import TextAugmentSpec, TextChanges
from vigil_export.data.preparing.tokens import train_tokenizer, word_tokenizer

_SPEC = TextSpec(max_tokens=12, pad_id=0, max_chars=200)
_TEXTS = (
    "a bag has been left behind at the gate",
    "大门口有人在打架",
    "fire",
    "a bag has been left behind at the fence",
) * 20


@pytest.fixture(scope="module")
def tokenizer() -> bytes:
    return train_tokenizer(_TEXTS, spec=_SPEC, vocabulary=320)


def test_smaller_pieces_say_the_same_in_more_tokens(tokenizer: bytes) -> None:
    spec = TextSpec(max_tokens=200, pad_id=0, max_chars=200)
    changes = TextChanges(TextAugmentSpec(pieces=0.5, noise=0), tokenizer, spec)
    whole = Tokenizer(tokenizer, spec)
    read = changes.read(_TEXTS, np.random.default_rng(1))
    plain = [whole.encode(text) for text in _TEXTS]
    longer = np.array([len(one) > len(other) for one, other in zip(read, plain, strict=True)])
    assert all(len(one) >= len(other) for one, other in zip(read, plain, strict=True))
    assert 0.3 < longer.mean() < 0.7
    pieces = {number: piece for piece, number in json.loads(tokenizer)["model"]["vocab"].items()}
    for one, other in zip(read, plain, strict=True):
        assert "".join(pieces[token] for token in one) == "".join(pieces[token] for token in other)


def test_noise_loses_and_replaces_tokens_up_to_its_share_and_never_all(tokenizer: bytes) -> None:
    changes = TextChanges(TextAugmentSpec(pieces=0, noise=0.7), tokenizer, _SPEC)
    whole = Tokenizer(tokenizer, _SPEC)
    texts = [_TEXTS[0]] * 2000
    plain = whole.encode(_TEXTS[0])
    read = changes.read(texts, np.random.default_rng(2))
    assert min(map(len, read)) >= 1
    assert max(map(len, read)) == len(plain)
    lost = 1 - np.mean([len(one) for one in read]) / len(plain)
    assert lost == pytest.approx((0.1 + 0.35) / 2 / 2, abs=0.02)
    assert all(0 < token < whole.vocabulary_size for one in read for token in one)
    assert [changes.read(["fire"], np.random.default_rng(seed)) == [whole.encode("fire")] for seed in range(40)].count(
        True
    ) > 10


def test_equal_states_read_equally_and_others_do_not(tokenizer: bytes) -> None:
    changes = TextChanges(TextAugmentSpec(), tokenizer, _SPEC)
    first, again, other = (changes.read(_TEXTS, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert all(len(row) <= _SPEC.max_tokens for row in first)


def test_without_changes_texts_are_read_as_serving_reads_them(tokenizer: bytes) -> None:
    changes = TextChanges(TextAugmentSpec(pieces=0, noise=0), tokenizer, _SPEC)
    whole = Tokenizer(tokenizer, _SPEC)
    assert changes.read(_TEXTS, np.random.default_rng(1)) == [whole.encode(text) for text in _TEXTS]


def test_smaller_pieces_of_whole_words_are_refused() -> None:
    words = word_tokenizer(_TEXTS, spec=_SPEC)
    with pytest.raises(ValueError, match="expected a tokenizer with merges"):
        TextChanges(TextAugmentSpec(), words, _SPEC)
    assert TextChanges(TextAugmentSpec(pieces=0), words, _SPEC).read(["fire"], np.random.default_rng(1))
