"""A small transformer over the tokens of a text, from random weights (Vaswani et al. 2017, arXiv:1706.03762).

Shapes: `b` batch, `t` tokens, `e` embedding, `d` features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vigil_export.models.encoders.encoder import Encoder, is_real_token
from vigil_export.models.encoders.spec import TextEncoderSpec
from vigil_export.models.encoders.text_end import TextEnd
from vigil_export.models.layers import Form, TransformerLayer, mean_of_real


class TransformerEncoder(Encoder):
    """Embedding and a learned vector for each place, then layers of attention; pooled as the mean of real tokens."""

    def __init__(self, spec: TextEncoderSpec, form: Form = "pooled") -> None:
        """Build it with random weights.

        Of the spec `vocabulary`, `embedding`, `width`, `layers`, `heads`, `dropout`, `features`, `max_tokens` count.
        """
        super().__init__(form)
        self.embed = nn.Embedding(spec.vocabulary, spec.embedding)
        self.widen = nn.Linear(spec.embedding, spec.width)
        self.place = nn.Parameter(torch.randn(spec.max_tokens, spec.width) * 0.02)
        self.layers = nn.ModuleList(
            TransformerLayer(spec.width, spec.heads, dropout=spec.dropout) for _ in range(spec.layers)
        )
        self.normal = nn.LayerNorm(spec.width)
        self.end = TextEnd(spec.width, spec, form)
        self.shape = self.end.shape

    def forward(self, tokens: Tensor, length: Tensor) -> Tensor:
        """Encode texts: int64 [b, t], int64 [b] -> float32 [b, d], or [b, max_tokens, d + 1] as `TextEnd` says."""
        is_real = is_real_token(tokens, length)
        states = self.widen(self.embed(tokens)) + self.place[: tokens.shape[1]]  # [b, t, width]
        for layer in self.layers:
            states = layer(states, is_real)
        states = self.normal(states)
        return self.end(states if self.form == "tokens" else mean_of_real(states, is_real), is_real)  # type: ignore[no-any-return]
