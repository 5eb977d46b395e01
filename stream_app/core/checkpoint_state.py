"""What a checkpoint says, however it is encoded: the state of a task at its cut, and nothing later.

What the inputs tell again is not in it: of the window it says which offsets are held, with their marks.
"""

from __future__ import annotations

import msgspec

from stream_app.core.decide import DecideState
from stream_app.core.marks import FAILED, HELD, REMEMBERED, Run, each
from stream_app.core.rate import Level
from stream_app.core.seen import Expiry
from stream_app.core.settings import Semantic
from stream_app.core.types import InForce, Model, Side

#: Stands for the append time of a record where there was none yet; lower than any time that RFC 3339 can write.
NO_RECORD_MS = -(1 << 60)


class CheckpointError(ValueError):
    """The bytes are no checkpoint that this version understands; the message says expected and found."""


class NewerCheckpointError(CheckpointError):
    """The bytes are a checkpoint of a schema that only a newer version reads."""


class TextState(msgspec.Struct, frozen=True, array_like=True):
    """A text that the window held. ``used`` are its filled slots: camera, first bucket, number of buckets, in order."""

    offset: int
    sample_ms: int
    used: list[tuple[str, int, int]]


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a successor needs besides the input topics. Times in ms, offsets are the next to be read.

    ``text_ms`` and ``frame_ms`` are the append times of the records just before those offsets. ``texts`` and
    ``frames`` are the marks of all offsets that are still needed; ``expiries`` says by side from which offset on an
    identity is remembered until when; ``seen`` are identities of schema 1, which did not say where they were.
    """

    deployment: str
    partition: int
    sequence: int
    stream_ms: int
    append_ms: int
    next_text: int
    next_frame: int
    text_ms: int = NO_RECORD_MS
    frame_ms: int = NO_RECORD_MS
    texts: list[Run] = []
    frames: list[Run] = []
    expiries: tuple[list[Expiry], list[Expiry]] = ([], [])
    seen: list[tuple[Side, bytes, int]] = []
    slots: list[TextState] = []
    sampled: list[tuple[str, str, int]] = []
    rates: dict[str, Level] = {}
    thinning_level: int = 0
    decide: DecideState = DecideState()
    model: Model
    settings: Semantic
    settings_sha256: str = ""
    totals: dict[str, int] = {}

    def in_force(self, otherwise: InForce) -> InForce:
        """Return the model and settings in force at the cut; where their name is missing, the one of ``otherwise``."""
        return InForce(self.model, self.settings, self.settings_sha256 or otherwise.settings_sha256)

    def next_of(self, side: Side) -> int:
        """Return the next offset of one side to be read."""
        return self.next_text if side is Side.TEXT else self.next_frame

    def marks(self, side: Side) -> list[Run]:
        """Return the marks of one side."""
        return self.texts if side is Side.TEXT else self.frames

    def lowest(self, side: Side) -> int:
        """Return the lowest offset of one side that is still needed: one that is marked, or the next to be read."""
        return min((start for start, _ in self.marks(side)), default=self.next_of(side))

    def remembered_from(self, side: Side) -> int:
        """Return the lowest offset of one side whose identity is remembered, or the next to be read."""
        return next((offset for offset, mark in each(self.marks(side)) if mark & REMEMBERED), self.next_of(side))

    def needs(self, side: Side, first: int, last: int) -> bool:
        """Return whether a record is needed whose offset lies from ``first`` to ``last``."""
        return any(first <= offset <= last for offset, _ in each(self.marks(side)))

    @property
    def held(self) -> int:
        """How many records the window held."""
        return sum(1 for side in Side for _, mark in each(self.marks(side)) if mark & HELD)

    @property
    def failed(self) -> list[tuple[Side, int]]:
        """The held records that could not be scored."""
        return [(side, offset) for side in Side for offset, mark in each(self.marks(side)) if mark & FAILED]
