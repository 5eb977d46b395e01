"""Text preparation shared by training and serving: a text in, bounded token ids out, and batches padded to one length.

Normalisation (NFKC), the bound in characters, the tokenizer of the bundle and the bound in tokens, in this order. It
must not know the model; a text encoder is exact under padding, so the padded length changes no result.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np
import tokenizers

from stream_app.bundle.errors import BundleError
from stream_app.bundle.manifest import TOKENIZER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from stream_app.bundle.manifest import TextSpec

_SMALLEST_BUCKET = 8
# What no vocabulary of words or letters holds: a tokenizer that needs an unknown token and has none fails on it.
_ANY_TEXT = "a \N{LATIN SMALL LETTER ETH}\N{CJK UNIFIED IDEOGRAPH-706B} \N{FIRE} \U0010fffd \x01"


def normalize_text(text: str, spec: TextSpec) -> str:
    """Return the text as the tokenizer gets it: at most ``max_chars`` characters, NFKC, again at most ``max_chars``.

    The bound comes first, so that a flood costs nothing, and once more after NFKC, which turns some single characters
    into eighteen. Halves of surrogate pairs, which no UTF-8 text has, become question marks.
    """
    whole = text[: spec.max_chars].encode("utf-8", "replace").decode()
    return unicodedata.normalize(spec.normalization, whole)[: spec.max_chars]


class Tokenizer:
    """A bundle's tokenizer with its bounds. Equal texts give equal tokens; safe to use from several threads."""

    def __init__(self, data: bytes, spec: TextSpec) -> None:
        """Read a tokenizer.

        Args:
            data: the bytes of ``tokenizer.json`` (Hugging Face tokenizers).
            spec: the bounds and the padding of the model.

        Raises:
            BundleError: if the file cannot be read, lacks the padding token, or fails on some text.
        """
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(data)
        # The library raises a bare Exception for bytes that it cannot read.
        except Exception as error:
            raise BundleError(TOKENIZER, expected="a tokenizers JSON file", found=error) from error
        if self._tokenizer.id_to_token(spec.pad_id) is None:
            found = f"{self._tokenizer.get_vocab_size()} tokens"
            raise BundleError("text.pad_id", expected=f"token {spec.pad_id} in {TOKENIZER}", found=found)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(spec.max_tokens)
        # An alarm that spells a special token, such as "[PAD]", is text like any other.
        self._tokenizer.encode_special_tokens = True
        self._spec = spec
        try:
            self.encode(_ANY_TEXT)
        # As above: the library's own word for a tokenizer that cannot do its work.
        except Exception as error:
            raise BundleError(TOKENIZER, expected="token ids for any text", found=error) from error

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, added tokens included."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text: at least one, at most ``max_tokens``; an empty text is one padding token."""
        # One by one: the library's batch call starts a thread pool, and a text takes some 20 microseconds.
        ids = self._tokenizer.encode(normalize_text(text, self._spec)).ids
        return tuple(ids) if ids else (self._spec.pad_id,)

    def encode_batch(self, texts: Iterable[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return tokens int64 [b, t] and length int64 [b] of texts; t is the token bucket of the longest of them."""
        rows = [self.encode(text) for text in texts]
        bucket = token_bucket(max(map(len, rows), default=1), self._spec.max_tokens)
        return pad_tokens(rows, pad_id=self._spec.pad_id, padded_length=bucket)


def token_buckets(max_tokens: int) -> tuple[int, ...]:
    """Return the padded lengths that occur: 8, 16, 32 ... below ``max_tokens``, and ``max_tokens``."""
    doubles = (_SMALLEST_BUCKET << shift for shift in range(max_tokens.bit_length()))
    return (*(bucket for bucket in doubles if bucket < max_tokens), max_tokens)


def token_bucket(length: int, max_tokens: int) -> int:
    """Return the padded length of a row of ``length`` tokens, whatever the batch it runs in.

    A sum over padded tokens may be rounded differently at another padded length (1.5e-8 was seen in a masked mean on
    the CPU), so the padded length must follow from the row alone, or its result would depend on its neighbours.
    """
    return next((bucket for bucket in token_buckets(max_tokens) if bucket >= length), length)


def pad_tokens(
    rows: Sequence[Sequence[int]], *, pad_id: int, padded_length: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lay rows of token ids side by side.

    Args:
        rows: b rows of at least one id each.
        pad_id: what fills a row behind its end.
        padded_length: the least t; a longer row makes it longer.

    Returns:
        tokens int64 [b, t] and length int64 [b], both C-contiguous.
    """
    longest = max((len(row) for row in rows), default=1)
    tokens = np.full((len(rows), max(longest, padded_length)), pad_id, dtype=np.int64)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
    return tokens, np.array([len(row) for row in rows], dtype=np.int64)
