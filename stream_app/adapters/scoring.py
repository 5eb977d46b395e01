"""Scoring as a port: an image, a text or both go in, calibrated scores come out. ONNX Runtime implements it."""

from __future__ import annotations

from typing import Protocol

import msgspec

#: Epoch of the task, partition, side, offset: features are kept under it until they are forgotten.
RecordKey = tuple[int, int, int, int]


class ImageInput(msgspec.Struct, frozen=True, gc=False):
    """An encoded image (JPEG, PNG or WebP bytes) and the record that it came in."""

    key: RecordKey
    data: bytes


class TextInput(msgspec.Struct, frozen=True, gc=False):
    """A text and the record that it came in."""

    key: RecordKey
    text: str


class ScoreItem(msgspec.Struct, frozen=True, gc=False):
    """What is to be scored; at least one side is there."""

    image: ImageInput | None
    text: TextInput | None


class Score(msgspec.Struct, frozen=True, gc=False):
    """Micro-logits per label, in the order of the model's labels.

    ``full`` is None when no side could be scored; ``without_image`` and ``without_text`` are None unless both could.
    ``image_failure`` and ``text_failure`` name why a side was left out.
    """

    full: tuple[int, ...] | None
    without_image: tuple[int, ...] | None
    without_text: tuple[int, ...] | None
    image_failure: str | None
    text_failure: str | None


class Scorer(Protocol):
    """Scores items; many calls may be in flight at once."""

    async def score(self, item: ScoreItem) -> Score:
        """Score one item. A side that fails is named in the result; only a broken engine raises."""
        ...

    def forget(self, key: RecordKey) -> None:
        """Let the features of a record go. Forgetting what is not known is harmless."""
        ...
