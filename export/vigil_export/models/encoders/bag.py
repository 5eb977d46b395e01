"""The simplest text encoder: the mean of the words' vectors. Its order does not count.

The bag of words of fastText's classifier (Joulin et al. 2016, arXiv:1607.01759).
"""

from __future__ import annotations

from torch import Tensor, nn

from vigil_export.models.encoders.encoder import Encoder, is_real_token
from vigil_export.models.encoders.spec import TextEncoderSpec
from vigil_export.models.encoders.text_end import TextEnd
from vigil_export.models.layers import Form, mean_of_real


class BagEncoder(Encoder):
    """Embedding, then the mean over the real tokens; in the token form each token by itself."""

    def __init__(self, spec: TextEncoderSpec, form: Form = "pooled") -> None:
        """Build it with random weights.

        Of the spec `vocabulary`, `embedding`, `dropout`, `features` and `max_tokens` count.
        """
        super().__init__(form)
        self.embed = nn.Embedding(spec.vocabulary, spec.embedding)
        self.drop = nn.Dropout(spec.dropout)
        self.end = TextEnd(spec.embedding, spec, form)
        self.shape = self.end.shape

    def forward(self, tokens: Tensor, length: Tensor) -> Tensor:
        """Encode texts: int64 [b, t], int64 [b] -> float32 [b, d], or [b, max_tokens, d + 1] as `TextEnd` says."""
        is_real = is_real_token(tokens, length)
        words = self.drop(self.embed(tokens))  # [b, t, e]
        return self.end(words if self.form == "tokens" else mean_of_real(words, is_real), is_real)  # type: ignore[no-any-return]
