"""Text encoders: padded tokens in, features out, exact under padding.

Shapes: `b` batch, `t` tokens, `e` embedding, `d` features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LstmEncoder(nn.Module):
    """Embedding, then an LSTM (Hochreiter and Schmidhuber 1997) read from the left.

    What it returns comes from the state behind the last real token and from the maximum over the states of the real
    tokens. Both are unchanged, to the last bit, by padding behind the text: the LSTM has not seen the padding when it
    is at a real token. The maximum keeps a telling word in reach whatever follows it.
    """

    def __init__(self, vocabulary: int, features: int = 128, *, width: int = 128, embedding: int = 64) -> None:
        """Build it with random weights.

        Args:
            vocabulary: How many token ids there are.
            features: Length of a row's features.
            width: Units of the LSTM.
            embedding: Length of a token's vector.
        """
        super().__init__()
        self.embed = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, width, batch_first=True)
        self.project = nn.Linear(2 * width, features)

    def forward(self, tokens: Tensor, length: Tensor) -> Tensor:
        """Encode texts.

        Args:
            tokens: int64 [b, t]; behind a text's length anything that is a token id.
            length: int64 [b], 1 to t.

        Returns:
            float32 [b, d], each within -1 and 1.
        """
        states, _ = self.lstm(self.embed(tokens))  # [b, t, width]
        last = states[torch.arange(tokens.shape[0], device=tokens.device), length - 1]  # [b, width]
        is_real = torch.arange(tokens.shape[1], device=tokens.device)[None, :] < length[:, None]  # [b, t]
        # The states of an LSTM lie within -1 and 1, so -2 never is the maximum.
        highest = torch.where(is_real[:, :, None], states, torch.full_like(states, -2.0)).amax(1)  # [b, width]
        return torch.tanh(self.project(torch.cat((last, highest), 1)))
