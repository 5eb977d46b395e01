"""The end of every text encoder: projection, and for the token form a fixed shape with a mark at real tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vigil_export.models.encoders.spec import TextEncoderSpec
from vigil_export.models.layers import Form, projection


class TextEnd(nn.Module):
    """From an encoder's states to features of a fixed shape.

    In the token form the features are padded to `max_tokens` here, inside the graph: a fusion head then takes one shape
    whatever the batch, and serving can keep features of texts of any length side by side. Padding is 0 throughout, and
    the last of the d + 1 numbers of a token is 1 where it is real.
    """

    def __init__(self, width: int, spec: TextEncoderSpec, form: Form) -> None:
        """Build it with random weights.

        Args:
            width: Length of a state.
            spec: `features` and `max_tokens` count.
            form: Of the features.
        """
        super().__init__()
        self.form, self.max_tokens = form, spec.max_tokens
        self.project = projection(width, spec.features)
        length = spec.features or width
        self.shape = (spec.max_tokens, length + 1) if form == "tokens" else (length,)

    def forward(self, states: Tensor, is_real: Tensor) -> Tensor:
        """Turn states into features.

        Args:
            states: float32 [b, width], or [b, t, width] in the token form.
            is_real: bool [b, t].

        Returns:
            float32 [b, d], or [b, max_tokens, d + 1].
        """
        features = self.project(states)
        if self.form == "pooled":
            return features  # type: ignore[no-any-return]
        marks = is_real[:, :, None]
        marked = torch.cat((torch.where(marks, features, 0.0), marks.to(features.dtype)), 2)  # [b, t, d + 1]
        padding = marked.new_zeros(marked.shape[0], self.max_tokens, marked.shape[2])
        return torch.cat((marked, padding), 1)[:, : self.max_tokens]
