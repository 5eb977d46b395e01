"""What keeps a model from learning texts by heart: pieces of other sizes, tokens that are lost or wrong. For training.

In: texts. Out: token ids, other ones each time. It must not know labels or models.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import Tokenizer

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_COARSENESS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
_LITTLE_NOISE = 0.1


class TextAugmentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How texts are changed.

    Attributes:
        pieces: Share of the texts that are read in smaller pieces than serving does, with a part of the tokenizer's
            merges alone. Words are then made of pieces that occur in other words too, and unseen words are understood
            better. (The aim of BPE-dropout, Provilkov et al. 2020, arXiv:1910.13267; the tokenizers library's own takes
            no seed.) For byte-level BPE.
        noise: Half of the texts lose a tenth of their tokens, the others up to this share: half of these tokens are
            left out, half replaced by any other. A text that is half noise teaches to trust the picture where the words
            are strange.
    """

    pieces: _Share = 0.5
    noise: _Share = 0.7


class TextChanges:
    """Reads texts as a spec says."""

    def __init__(self, spec: TextAugmentSpec, tokenizer_json: bytes, text: TextSpec) -> None:
        """Make the readers.

        Args:
            spec: How often, how much.
            tokenizer_json: The bundle's.
            text: Its bounds.

        Raises:
            ValueError: Smaller pieces are wanted of a tokenizer that knows none.
        """
        self._spec = spec
        self._whole = Tokenizer(tokenizer_json, text)
        self._vocabulary = self._whole.vocabulary_size
        self._readers = [Tokenizer(_coarser(tokenizer_json, share), text) for share in _COARSENESS if spec.pieces]

    def read(self, texts: Sequence[str], rng: np.random.Generator) -> list[tuple[int, ...]]:
        """Read texts.

        Args:
            texts: n texts, none of them empty.
            rng: Decides what happens to which; equal states give equal ids.

        Returns:
            n lists of token ids, at least one each.
        """
        chosen = rng.integers(0, len(self._readers) or 1, len(texts))
        is_whole = rng.random(len(texts)) >= self._spec.pieces
        readers = [self._whole if whole else self._readers[at] for whole, at in zip(is_whole, chosen, strict=True)]
        rows = [reader.encode(text) for reader, text in zip(readers, texts, strict=True)]
        return [self._noisy(row, rng) for row in rows] if self._spec.noise else rows

    def _noisy(self, row: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
        rate = min(_LITTLE_NOISE, self._spec.noise) if rng.random() < 0.5 else rng.uniform(0, self._spec.noise)
        draws, strange = rng.random(len(row)), rng.integers(1, self._vocabulary, len(row))
        kept = tuple(
            int(other) if draw < rate / 2 else token
            for token, other, draw in zip(row, strange, draws, strict=True)
            if draw < rate / 2 or draw >= rate
        )
        return kept or row


def _coarser(tokenizer_json: bytes, share: float) -> bytes:
    content: dict[str, Any] = json.loads(tokenizer_json)
    merges = content["model"].get("merges")
    if content["model"]["type"] != "BPE" or not merges:
        raise ValueError(f"expected a tokenizer with merges (BPE), found {content['model']['type']}")
    content["model"]["merges"] = merges[: int(len(merges) * share)]
    return json.dumps(content).encode()
