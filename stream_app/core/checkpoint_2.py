"""Checkpoints of schema 2: one byte, the schema, and compressed MessagePack; names of cameras stand in one table.

What a text has gathered is encoded once, and taken again as it is until it changes.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from stream_app.core.at_cut import AtCut
from stream_app.core.checkpoint_state import Checkpoint, TextState
from stream_app.core.decide import DecideState, Reached
from stream_app.core.incident import Incident
from stream_app.core.marks import Run
from stream_app.core.outcome import Outcome
from stream_app.core.rate import Level
from stream_app.core.seen import Expiry
from stream_app.core.settings import Semantic
from stream_app.core.types import Contribution, Evidence, Model, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_app.core.at_cut import Slots

SCHEMA = 2
#: No settings that fit a topic give more; a bound for whoever unpacks what claims to be a checkpoint. In bytes.
_MAX_UNPACKED = 1 << 30
#: The least that zlib does: names and marks repeat so much that more of it wins little.
_LEVEL = 1


class _SlotsWire(msgspec.Struct, frozen=True, array_like=True):
    """``used`` is flat: camera by its place in the names, first bucket, number of buckets, and so on."""

    offset: int
    sample_ms: int
    used: list[int]


class _OutcomeWire(msgspec.Struct, frozen=True, array_like=True):
    """``frames`` is flat: offset, event time, camera by its place in the names, and so on."""

    offset: int
    is_late: bool
    count: int
    totals: list[int]
    both_count: int
    both_without_image: list[int]
    both_without_text: list[int]
    masked: tuple[int, ...] | None
    frames: list[int]
    supports: list[bytes]
    has_text: bool
    is_masked: bool


class _IncidentWire(msgspec.Struct, frozen=True, array_like=True):
    """``evidence`` is flat: side, offset, event time, camera by its place in the names, and so on."""

    id: str
    zone: str
    label: str
    threshold: int
    score: int
    last_support_ms: int
    last_alert_ms: int
    start_ms: int
    end_ms: int
    number: int
    severity: int
    cameras: list[int]
    present: list[str]
    contribution: Contribution | None
    is_late: bool
    is_masked: bool
    evidence: list[int]
    evidence_left_out: int
    has_news: bool
    unnamed: list[int]


class _Wire(msgspec.Struct, frozen=True, kw_only=True):
    deployment: str
    partition: int
    sequence: int
    stream_ms: int
    append_ms: int
    next_text: int
    next_frame: int
    text_ms: int
    frame_ms: int
    names: list[str]
    texts: list[Run]
    frames: list[Run]
    expiries: tuple[list[Expiry], list[Expiry]]
    seen: list[tuple[Side, bytes, int]]
    slots: list[msgspec.Raw]
    outcomes: list[msgspec.Raw]
    incidents: list[msgspec.Raw]
    reached: list[tuple[str, str, list[Reached]]]
    sampled: list[tuple[str, str, int]]
    rates: dict[str, Level]
    thinning_level: int
    model: Model
    settings: Semantic
    settings_sha256: str
    totals: dict[str, int]


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_wire_decoder = msgspec.msgpack.Decoder(_Wire)
_slots_decoder = msgspec.msgpack.Decoder(_SlotsWire)
_outcome_decoder = msgspec.msgpack.Decoder(_OutcomeWire)
_incident_decoder = msgspec.msgpack.Decoder(_IncidentWire)


class TextCache:
    """Encoded slots and outcomes of the held texts, by offset: good for one table of names, until the text changes."""

    __slots__ = ("names", "outcomes", "slots")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.slots: dict[int, msgspec.Raw] = {}
        self.outcomes: dict[int, msgspec.Raw] = {}

    def drop(self, slots: Iterable[int], outcomes: Iterable[int]) -> None:
        """Drop what changed."""
        for offset in slots:
            self.slots.pop(offset, None)
        for offset in outcomes:
            self.outcomes.pop(offset, None)

    def encode_slots(self, texts: Mapping[int, Slots], index: Mapping[str, int]) -> list[msgspec.Raw]:
        """Encode the slots of all held texts, in order of offset."""
        before, self.slots = self.slots, {}
        for offset in sorted(texts):
            encoded = before.get(offset)
            self.slots[offset] = _encode_slots(offset, texts[offset], index) if encoded is None else encoded
        return list(self.slots.values())

    def encode_outcomes(self, outcomes: Mapping[int, Outcome], index: Mapping[str, int]) -> list[msgspec.Raw]:
        """Encode the outcomes of all held texts, in order of offset."""
        before, self.outcomes = self.outcomes, {}
        for offset in sorted(outcomes):
            encoded = before.get(offset)
            self.outcomes[offset] = _encode_outcome(offset, outcomes[offset], index) if encoded is None else encoded
        return list(self.outcomes.values())


def encode_state(
    cache: TextCache,
    slots: Mapping[int, Slots],
    cameras: Iterable[str],
    decide: DecideState,
    **fields: Any,  # noqa: ANN401 - the fields of a checkpoint, each of its own type
) -> bytes:
    """Encode a checkpoint from what it is made of.

    Args:
        cache: what is encoded already; it keeps what is encoded here.
        slots: the slots of the held texts, by offset.
        cameras: the cameras of those slots.
        decide: the deciding half.
        fields: all other fields of a :class:`Checkpoint`.
    """
    names = {*cameras}
    for incident in decide.incidents:
        names.update(incident.cameras)
        names.update([one.camera for one in incident.evidence])
    table = sorted(names)
    if table != cache.names:
        cache.names = table
        cache.slots.clear()
        cache.outcomes.clear()
    index = {name: place for place, name in enumerate(table)}
    wire = _Wire(
        names=table,
        slots=cache.encode_slots(slots, index),
        outcomes=cache.encode_outcomes(dict(decide.outcomes), index),
        incidents=[_encode_incident(incident, index) for incident in decide.incidents],
        reached=decide.reached,
        **fields,
    )
    return bytes((SCHEMA,)) + zlib.compress(_encoder.encode(wire), _LEVEL)


def encode_checkpoint_2(checkpoint: Checkpoint) -> bytes:
    """Encode a checkpoint; equal checkpoints give equal bytes where the same zlib packs them."""
    at_cut = AtCut(checkpoint)
    fields = {
        name: getattr(checkpoint, name) for name in checkpoint.__struct_fields__ if name not in {"slots", "decide"}
    }
    cameras = {*at_cut.cameras, *(one.camera for _, outcome in checkpoint.decide.outcomes for one in outcome.frames)}
    return encode_state(TextCache(), at_cut.texts, cameras, checkpoint.decide, **fields)


def decode_checkpoint_2(data: bytes) -> Checkpoint:
    """Decode a checkpoint of schema 2.

    Raises:
        msgspec.DecodeError: if it is damaged.
    """
    try:
        return _decode(data[1:])
    except (zlib.error, IndexError, ValueError) as error:
        raise msgspec.DecodeError(str(error)) from error


def _decode(data: bytes) -> Checkpoint:
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(data, _MAX_UNPACKED)
    if not unpacker.eof:
        message = "it ends too early"
        raise zlib.error(message)
    wire = _wire_decoder.decode(unpacked)
    names = wire.names
    fields = {
        name: getattr(wire, name)
        for name in wire.__struct_fields__
        if name not in {"names", "slots", "outcomes", "incidents", "reached"}
    }
    return Checkpoint(
        slots=[_decode_slots(raw, names) for raw in wire.slots],
        decide=DecideState(
            outcomes=[_decode_outcome(raw, names) for raw in wire.outcomes],
            incidents=[_decode_incident(raw, names) for raw in wire.incidents],
            reached=wire.reached,
        ),
        **fields,
    )


def _encode_slots(offset: int, slots: Slots, index: Mapping[str, int]) -> msgspec.Raw:
    used: list[int] = []
    for place, camera in sorted([(index[camera], camera) for camera in slots.runs]):
        for first, number in slots.runs[camera]:
            used += (place, first, number)
    return msgspec.Raw(_encoder.encode(_SlotsWire(offset, slots.sample_ms, used)))


def _decode_slots(raw: msgspec.Raw, names: list[str]) -> TextState:
    wire = _slots_decoder.decode(raw)
    used = wire.used
    runs = zip(used[::3], used[1::3], used[2::3], strict=True)
    return TextState(wire.offset, wire.sample_ms, [(names[place], first, number) for place, first, number in runs])


def _encode_outcome(offset: int, outcome: Outcome, index: Mapping[str, int]) -> msgspec.Raw:
    frames: list[int] = []
    for one in outcome.frames:
        frames += (one.offset, one.event_ms, index[one.camera])
    wire = _OutcomeWire(
        offset,
        outcome.is_late,
        outcome.count,
        outcome.totals,
        outcome.both_count,
        outcome.both_without_image,
        outcome.both_without_text,
        outcome.masked,
        frames,
        [bytes.fromhex(incident) for incident in outcome.supports],
        outcome.has_text,
        outcome.is_masked,
    )
    return msgspec.Raw(_encoder.encode(wire))


def _decode_outcome(raw: msgspec.Raw, names: list[str]) -> tuple[int, Outcome]:
    wire = _outcome_decoder.decode(raw)
    flat = wire.frames
    told = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    fields = {name: getattr(wire, name) for name in Outcome.__struct_fields__}
    fields["frames"] = [Evidence(Side.FRAME, offset, event_ms, names[place]) for offset, event_ms, place in told]
    fields["supports"] = [incident.hex() for incident in wire.supports]
    return wire.offset, Outcome(**fields)


def _encode_incident(incident: Incident, index: Mapping[str, int]) -> msgspec.Raw:
    fields = {name: getattr(incident, name) for name in incident.__struct_fields__}
    fields["cameras"] = [index[camera] for camera in incident.cameras]
    fields["evidence"] = [
        part for one in incident.evidence for part in (one.side, one.offset, one.event_ms, index[one.camera])
    ]
    return msgspec.Raw(_encoder.encode(_IncidentWire(**fields)))


def _decode_incident(raw: msgspec.Raw, names: list[str]) -> Incident:
    wire = _incident_decoder.decode(raw)
    flat = wire.evidence
    told = zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
    fields = {name: getattr(wire, name) for name in wire.__struct_fields__}
    fields["cameras"] = [names[place] for place in wire.cameras]
    fields["evidence"] = [
        Evidence(Side(side), offset, event_ms, names[place]) for side, offset, event_ms, place in told
    ]
    return Incident(**fields)
