"""Both sides' tokens in one width: what the attention and the transformer fusion begin with.

Shapes: `b` batch, `s` image cells, `t` text tokens, `d` features of a side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vigil_export.models.layers import present_or


class Side(nn.Module):
    """One side's tokens, projected and normalised, with a learned place each."""

    def __init__(self, tokens: int, features: int, width: int) -> None:
        """Build it with random weights.

        Args:
            tokens: How many tokens a row has.
            features: Length of a token.
            width: Length after projection.
        """
        super().__init__()
        self.project = nn.Linear(features, width)
        self.place = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.normal = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, present: Tensor, instead: Tensor) -> Tensor:
        """Project: float32 [b, s, d], [b] -> float32 [b, s, width]; where the side is absent `instead` [width]."""
        return present_or(self.normal(self.project(tokens)) + self.place, present, instead)


def unmarked(text_features: Tensor, text_present: Tensor) -> tuple[Tensor, Tensor]:
    """Part text tokens from their marks.

    Args:
        text_features: float32 [b, t, d + 1]; the last number is 1 at real tokens.
        text_present: float32 [b].

    Returns:
        float32 [b, t, d], and bool [b, t]: which tokens are real. Where the text is absent all count as real: they are
        replaced by one and the same token, or masked by the caller.
    """
    is_real = (text_features[:, :, -1] > 0.5) | (text_present[:, None] < 0.5)
    return text_features[:, :, :-1], is_real
