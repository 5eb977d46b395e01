"""The scoring port: what a shell asks (an image, a text, or both) and what it is answered (integer scores).

Only types. Whoever implements the port lives in ``stream_app.adapters.inference.scorer``; whoever calls it must not
learn of batches, processes or providers.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

#: Task epoch id, partition, side, offset: the name under which a record's features are kept.
RecordKey = tuple[int, int, int, int]
#: Micro-logits per label, in the order of the manifest's labels.
MicroLogits = tuple[int, ...]


class ImageInput(msgspec.Struct, frozen=True, gc=False):
    """A frame to be scored: ``data`` is the image file as it was received."""

    key: RecordKey
    data: bytes


class TextInput(msgspec.Struct, frozen=True, gc=False):
    """An alarm text to be scored, as it was received."""

    key: RecordKey
    text: str


class ScoreItem(msgspec.Struct, frozen=True, gc=False):
    """A pair, or one side alone; at least one side is not None."""

    image: ImageInput | None
    text: TextInput | None


class Score(msgspec.Struct, frozen=True, gc=False):
    """Calibrated scores of one item.

    ``full`` is what the model says of all that could be computed, None when nothing could. ``without_image`` and
    ``without_text`` leave one side out and are None unless both sides took part. A side that failed is named with its
    reason: ``undecodable``, ``too-large``, ``decode-timeout``, ``decode-crash`` or ``inference``.
    """

    full: MicroLogits | None
    without_image: MicroLogits | None = None
    without_text: MicroLogits | None = None
    image_failure: str | None = None
    text_failure: str | None = None


class Scorer(Protocol):
    """Scores items; many calls may be in flight, and what is computed together changes no result."""

    async def score(self, item: ScoreItem) -> Score:
        """Score one item. A failing side never raises; only an engine that is broken does."""
        ...

    def forget(self, key: RecordKey) -> None:
        """Let the features of a record go; a key that is not known is ignored."""
        ...
