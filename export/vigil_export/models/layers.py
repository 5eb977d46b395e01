"""Layers that encoders and fusions share: projections, classifiers, attention that never gives NaN.

Shapes: `b` batch, `s` and `q` tokens, `d` width, `h` heads.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

Form = Literal["pooled", "tokens"]
"""What an encoder gives and a fusion takes: one vector a row, or one vector for each cell or word of it."""

_MASKED = -1e4
"""Added to the scores of masked tokens: exp(-1e4) is 0 in float16 too, and unlike -inf a row of it gives no NaN."""


def projection(width: int, features: int) -> nn.Module:
    """Return a dense layer with tanh from `width` to `features` within -1 and 1; nothing where `features` is 0."""
    return nn.Sequential(nn.Linear(width, features), nn.Tanh()) if features else nn.Identity()


def classifier(features: int, labels: int, *, width: int, dropout: float) -> nn.Module:
    """Return what turns features into logits: linear where `width` is 0, else with a dense layer of `width` between."""
    if not width:
        return nn.Linear(features, labels)
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, labels))


def present_or(features: Tensor, present: Tensor, instead: Tensor) -> Tensor:
    """Return the features of rows where the side is present, `instead` elsewhere: NaN of an absent side is not passed.

    Args:
        features: float32 [b, ...].
        present: float32 [b], 0 or 1.
        instead: float32, of the features' shape or one that stretches to it.
    """
    flag = present.reshape(-1, *(1 for _ in features.shape[1:])) > 0.5
    return torch.where(flag, features, instead)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762) of queries over tokens, some of them masked."""

    def __init__(self, width: int, heads: int, *, dropout: float) -> None:
        """Build it with random weights.

        Args:
            width: Length of a token; a multiple of `heads`.
            heads: How many heads.
            dropout: Share of the attention left out in training.

        Raises:
            ValueError: `width` is no multiple of `heads`.
        """
        super().__init__()
        if width % heads:
            raise ValueError(f"expected a width that is a multiple of the {heads} heads, found {width}")
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, tokens: Tensor, is_real: Tensor) -> Tensor:
        """Attend.

        Args:
            queries: float32 [b, q, d].
            tokens: float32 [b, s, d].
            is_real: bool [b, s]; the others have no influence, as long as one of the row is real.

        Returns:
            float32 [b, q, d].
        """
        b, q, d = queries.shape
        s = tokens.shape[1]
        query = self.query(queries).reshape(b, q, self.heads, -1).transpose(1, 2)  # [b, h, q, d/h]
        key_value = self.key_value(tokens).reshape(b, s, 2, self.heads, -1)
        key, value = key_value[:, :, 0].transpose(1, 2), key_value[:, :, 1].transpose(1, 2)  # [b, h, s, d/h]
        mask = torch.where(is_real, 0.0, _MASKED)[:, None, None, :]  # [b, 1, 1, s]
        rate = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask.to(query.dtype), dropout_p=rate)
        return self.out(mixed.transpose(1, 2).reshape(b, q, d))  # type: ignore[no-any-return]


class TransformerLayer(nn.Module):
    """Attention, then a dense layer on each token; normalised before each (Xiong et al. 2020, arXiv:2002.04745)."""

    def __init__(self, width: int, heads: int, *, dropout: float) -> None:
        """Build it with random weights; arguments as in `Attention`."""
        super().__init__()
        self.before_attention, self.before_dense = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout=dropout)
        self.dense = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, is_real: Tensor) -> Tensor:
        """Let tokens look at the real ones among them: float32 [b, s, d], bool [b, s] -> float32 [b, s, d]."""
        normal = self.before_attention(tokens)
        tokens = tokens + self.drop(self.attention(normal, normal, is_real))
        return tokens + self.drop(self.dense(self.before_dense(tokens)))  # type: ignore[no-any-return]


def mean_of_real(tokens: Tensor, is_real: Tensor) -> Tensor:
    """Return the mean over the real tokens: float32 [b, s, d], bool [b, s] -> float32 [b, d]; 0 where none is real."""
    weight = is_real.to(tokens.dtype)[:, :, None]
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1.0)
