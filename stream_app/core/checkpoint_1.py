"""Checkpoints of schema 1: JSON with every held record's metadata. Read, never written."""

from __future__ import annotations

import msgspec

from stream_app.core.at_cut import Slots
from stream_app.core.checkpoint_state import NO_RECORD_MS, Checkpoint, CheckpointError, TextState
from stream_app.core.decide import DecideState, Reached
from stream_app.core.incident import Incident
from stream_app.core.marks import FAILED, HELD, LATE, MATCHED, SCORED, SHED, Marks
from stream_app.core.outcome import Outcome
from stream_app.core.rate import Level
from stream_app.core.settings import Semantic
from stream_app.core.types import Model, Side

_SCHEMA = 1


class _Held(msgspec.Struct, frozen=True, array_like=True):
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


class _Decide(msgspec.Struct, frozen=True):
    outcomes: list[tuple[int, Outcome]] = []
    incidents: list[Incident] = []
    reached: list[tuple[str, str, list[Reached]]] = []
    failed: list[tuple[Side, int]] = []


class _Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    deployment: str
    partition: int
    sequence: int
    stream_ms: int
    append_ms: int
    next_text: int
    next_frame: int
    text_ms: int = NO_RECORD_MS
    frame_ms: int = NO_RECORD_MS
    window: list[_Held] = []
    seen: list[tuple[Side, bytes, int]] = []
    sampled: list[tuple[str, str, int]] = []
    rates: dict[str, Level] = {}
    thinning_level: int = 0
    decide: _Decide = _Decide()
    model: Model
    settings: Semantic
    settings_sha256: str = ""
    totals: dict[str, int] = {}


class _Version(msgspec.Struct):
    schema: int


def decode_checkpoint_1(data: bytes) -> Checkpoint:
    """Decode a checkpoint of schema 1 into what schema 2 would say, and the identities as they stand.

    Raises:
        CheckpointError: if it is of another schema.
        msgspec.DecodeError: if it is damaged.
    """
    found = msgspec.json.decode(data, type=_Version).schema
    if found != _SCHEMA:
        message = f"checkpoint schema: expected {_SCHEMA} of what is JSON, found {found}"
        raise CheckpointError(message)
    old = msgspec.json.decode(data, type=_Checkpoint)
    failed = {(Side(side), offset) for side, offset in old.decide.failed}
    marks = (Marks(), Marks())
    for held in old.window:
        marks[held.side].put(held.offset, _mark(held, has_failed=(held.side, held.offset) in failed))
    left_out = {"window", "decide"}
    fields = {name: getattr(old, name) for name in old.__struct_fields__ if name not in left_out}
    return Checkpoint(
        texts=marks[Side.TEXT].runs(),
        frames=marks[Side.FRAME].runs(),
        slots=[_slots(held) for held in sorted(old.window, key=_by_offset) if held.side is Side.TEXT],
        decide=DecideState(old.decide.outcomes, old.decide.incidents, old.decide.reached),
        **fields,
    )


def _mark(held: _Held, *, has_failed: bool) -> int:
    mark = HELD
    for is_so, bit in (
        (held.is_late, LATE),
        (held.is_matched, MATCHED),
        (held.is_scored, SCORED),
        (held.is_shed, SHED),
        (has_failed, FAILED),
    ):
        mark |= bit if is_so else 0
    return mark


def _slots(held: _Held) -> TextState:
    slots = Slots(held.sample_ms)
    for camera, bucket in held.used:
        slots.fill(camera, bucket)
    return TextState(
        held.offset,
        held.sample_ms,
        [(camera, first, number) for camera, runs in sorted(slots.runs.items()) for first, number in runs],
    )


def _by_offset(held: _Held) -> int:
    return held.offset
