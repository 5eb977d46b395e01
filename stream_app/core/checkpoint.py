"""The state of a task at its cut, and nothing later: what a successor takes up as it is.

Encoded as JSON, so that an operator can read it; positions in arrays instead of names where there are many.
"""

from __future__ import annotations

import msgspec

from stream_app.core.decide import DecideState
from stream_app.core.join import NEVER, Held
from stream_app.core.rate import Level
from stream_app.core.settings import Semantic
from stream_app.core.types import InForce, Model, Record, Side

SCHEMA = 1
#: Stands for the append time of a record where there was none yet; lower than any time that RFC 3339 can write.
NO_RECORD_MS = -(1 << 60)


class CheckpointError(ValueError):
    """The bytes are no checkpoint that this version understands; the message says expected and found."""


class HeldState(msgspec.Struct, frozen=True, array_like=True):
    """A record that the window held at the cut. ``used`` are the (camera, bucket) slots that a text has filled."""

    side: Side
    offset: int
    append_ms: int
    event_ms: int
    zone: str
    camera: str
    severity: int
    size: int
    sample_ms: int
    is_late: bool
    is_matched: bool
    is_scored: bool
    is_shed: bool
    used: list[tuple[str, int]]


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a successor needs besides the input topics. Times in ms, offsets are the next to be read.

    ``text_ms`` and ``frame_ms`` are the append times of the records just before those offsets. ``settings_sha256`` is
    empty where an older version wrote it.
    """

    schema: int = SCHEMA
    deployment: str
    partition: int
    sequence: int
    stream_ms: int
    append_ms: int
    next_text: int
    next_frame: int
    text_ms: int = NO_RECORD_MS
    frame_ms: int = NO_RECORD_MS
    window: list[HeldState] = []
    seen: list[tuple[Side, bytes, int]] = []
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

    def lowest(self, side: Side) -> int:
        """Return the lowest offset of one side that is still needed: of the window, or the next to be read."""
        otherwise = self.next_text if side is Side.TEXT else self.next_frame
        return min((held.offset for held in self.window if held.side is side), default=otherwise)


class _Version(msgspec.Struct):
    schema: int


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Encode a checkpoint as JSON bytes; equal checkpoints give equal bytes."""
    return msgspec.json.encode(checkpoint, order="sorted")


def decode_checkpoint(data: bytes) -> Checkpoint:
    """Decode a checkpoint.

    Raises:
        CheckpointError: if it is damaged, or of another schema.
    """
    try:
        found = msgspec.json.decode(data, type=_Version).schema
        if found != SCHEMA:
            message = f"checkpoint schema: expected {SCHEMA}, found {found}"
            raise CheckpointError(message)
        return msgspec.json.decode(data, type=Checkpoint)
    except msgspec.DecodeError as error:
        message = f"checkpoint of {len(data)} bytes cannot be read: {error}"
        raise CheckpointError(message) from error


def held_state(held: Held, cut: int) -> HeldState:
    """Describe a held record as it was at ``cut``."""
    record = held.record
    used = held.used or {}
    return HeldState(
        record.side,
        record.offset,
        record.append_ms,
        record.event_ms,
        record.zone,
        record.camera,
        record.severity,
        record.size,
        held.sample_ms,
        held.is_late,
        NEVER < held.matched <= cut,
        NEVER < held.scored <= cut,
        NEVER < held.shed <= cut,
        [slot for slot, sequence in used.items() if sequence <= cut],
    )


def held_from(state: HeldState, cut: int) -> Held:
    """Make the held record that a checkpoint describes; its marks count as made at the cut."""
    record = Record(
        state.side,
        state.offset,
        state.append_ms,
        state.event_ms,
        state.zone,
        state.camera,
        state.severity,
        state.size,
    )
    held = Held(record, cut, is_late=state.is_late, sample_ms=state.sample_ms)
    held.matched = cut if state.is_matched else NEVER
    held.scored = cut if state.is_scored else NEVER
    held.shed = cut if state.is_shed else NEVER
    held.used = dict.fromkeys(state.used, cut) or None
    return held
