"""Recurrent text encoders: LSTM and GRU, read from one side or both, exact under padding.

Shapes: `b` batch, `t` tokens, `e` embedding, `d` features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vigil_export.models.encoders.encoder import Encoder, is_real_token
from vigil_export.models.encoders.spec import TextEncoderSpec
from vigil_export.models.encoders.text_end import TextEnd
from vigil_export.models.layers import Form

_CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentEncoder(Encoder):
    """Embedding, then LSTMs (Hochreiter and Schmidhuber 1997) or GRUs (Cho et al. 2014, arXiv:1406.1078).

    Pooled, it gives what comes from the state behind the last token of the reading and from the maximum over the
    states of the real tokens. Both are unchanged, to the last bit, by padding behind the text: a recurrent network has
    not seen the padding when it is at a real token. The maximum keeps a telling word in reach whatever follows it.

    PyTorch's own bidirectional networks begin their second reading in the padding. Here the real tokens are turned
    round first, and their states turned back, so that this reading is exact as well.
    """

    def __init__(self, spec: TextEncoderSpec, form: Form = "pooled") -> None:
        """Build it with random weights; of the spec all but what is pretrained counts."""
        super().__init__(form)
        cell, sides = _CELLS[spec.kind], 2 if spec.bidirectional else 1
        self.embed = nn.Embedding(spec.vocabulary, spec.embedding)
        widths = (spec.embedding, *(sides * spec.width for _ in range(spec.layers - 1)))
        self.rightward = nn.ModuleList(cell(width, spec.width, batch_first=True) for width in widths)
        mirrored = widths if spec.bidirectional else ()
        self.leftward = nn.ModuleList(cell(width, spec.width, batch_first=True) for width in mirrored)
        self.drop = nn.Dropout(spec.dropout)
        states = sides * spec.width
        self.end = TextEnd(states if form == "tokens" else 2 * states, spec, form)
        self.shape = self.end.shape

    def forward(self, tokens: Tensor, length: Tensor) -> Tensor:
        """Encode texts.

        Args:
            tokens: int64 [b, t]; behind a text's length anything that is a token id.
            length: int64 [b], 1 to t.

        Returns:
            float32 [b, d], or [b, max_tokens, d + 1] as `TextEnd` says.
        """
        is_real = is_real_token(tokens, length)
        mirrored = _mirrored(is_real, length)
        states = self.embed(tokens)  # [b, t, e]
        last = states
        for number, rightward in enumerate(self.rightward):
            inputs = self.drop(states)
            states, _ = rightward(inputs)  # [b, t, width]
            last = _at(states, length - 1)
            if len(self.leftward):
                turned, _ = self.leftward[number](_reordered(inputs, mirrored))
                last = torch.cat((last, _at(turned, length - 1)), 1)
                states = torch.cat((states, _reordered(turned, mirrored)), 2)
        if self.form == "tokens":
            return self.end(self.drop(states), is_real)  # type: ignore[no-any-return]
        # The states of LSTM and GRU lie within -1 and 1, so -2 never is the maximum.
        highest = torch.where(is_real[:, :, None], states, torch.full_like(states, -2.0)).amax(1)
        return self.end(self.drop(torch.cat((last, highest), 1)), is_real)  # type: ignore[no-any-return]


def _mirrored(is_real: Tensor, length: Tensor) -> Tensor:
    """Return where each token lies when the text is read from the right; padding stays in its place."""
    place = torch.arange(is_real.shape[1], device=is_real.device)[None, :]
    return torch.where(is_real, length[:, None] - 1 - place, place)  # [b, t]


def _at(states: Tensor, place: Tensor) -> Tensor:
    return states[torch.arange(states.shape[0], device=states.device), place]


def _reordered(states: Tensor, places: Tensor) -> Tensor:
    return torch.gather(states, 1, places[:, :, None].expand(-1, -1, states.shape[2]))
