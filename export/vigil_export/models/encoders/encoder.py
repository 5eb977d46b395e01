"""What all encoders have: a form, a shape, and a pretrained body that is frozen or thawed in stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import nn

from vigil_export.models.layers import Form


class Encoder(nn.Module):
    """One side's input in, features of a fixed shape out.

    Attributes:
        form: One vector a row, or one for each cell or word.
        shape: Of a row's features.
        known_words: Words that a file of vectors knew; empty without one.
    """

    def __init__(self, form: Form) -> None:
        """Build nothing yet; a subclass sets `shape`.

        Args:
            form: Of the features.
        """
        super().__init__()
        self.form = form
        self.shape: tuple[int, ...] = ()
        self.known_words: frozenset[str] = frozenset()
        self._stages: tuple[tuple[nn.Parameter, ...], ...] = ()

    @property
    def stage_count(self) -> int:
        """How many stages of pretrained weights there are to thaw; 0 where nothing is pretrained."""
        return len(self._stages)

    def set_stages(self, stages: Sequence[Sequence[nn.Parameter]]) -> None:
        """Say what is pretrained, from the input to the output."""
        self._stages = tuple(tuple(stage) for stage in stages)

    def thaw(self, count: int) -> None:
        """Let the last `count` stages learn and freeze those before; the rest of the encoder always learns.

        Args:
            count: 0 freezes all that is pretrained; `stage_count` and more thaw all of it.
        """
        first = len(self._stages) - count
        for place, stage in enumerate(self._stages):
            for weight in stage:
                weight.requires_grad_(place >= first)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - the signature is PyTorch's
        """Switch between training and evaluation; what is frozen stays in evaluation.

        A frozen batch normalisation in training would go on to move its means and give other features every step.
        """
        super().train(mode)
        if mode:
            for module in self.modules():
                weights = list(module.parameters())
                if weights and not any(weight.requires_grad for weight in weights):
                    module.eval()
        return self


class TwoPartEncoder(Encoder, ABC):
    """An encoder whose pretrained part comes before all else, and can be run by itself."""

    @property
    def is_frozen(self) -> bool:
        """Whether none of what is pretrained learns: `gather` then gives the same in every epoch."""
        return not any(weight.requires_grad for stage in self._stages for weight in stage)

    @abstractmethod
    def gather(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Do what needs no weights but the pretrained ones."""

    @abstractmethod
    def finish(self, gathered: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        """Do the rest of the encoding with what `gather` gave."""


def is_real_token(tokens: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Return which places hold a token of the text: int64 [b, t], int64 [b] -> bool [b, t]."""
    return torch.arange(tokens.shape[1], device=tokens.device)[None, :] < length[:, None]
