"""Values that flow between the stages of the core: records, observations, results, outputs.

What comes in and goes out of every stage is one of these frozen values. Nothing here knows Kafka, ONNX Runtime, wall
time or batches. All times are integers in milliseconds since the Unix epoch, UTC; all scores are integers: calibrated
logits times 1e6 ("micro-logits"), so that means, thresholds and comparisons do not depend on a floating point library.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

from stream_app.core.settings import Semantic

if TYPE_CHECKING:
    from collections.abc import Sequence


class Side(IntEnum):
    """The input topic a record came from. The order is the order of ties: text first."""

    TEXT = 0
    FRAME = 1

    @property
    def kind(self) -> str:
        """The word used on the wire: ``text`` or ``frame``."""
        return "text" if self is Side.TEXT else "frame"


#: A record within its task: the partition is the task's own.
Ref = tuple[Side, int]


class RawRecord(Protocol):
    """A record as a Kafka client delivers it; aiokafka's ``ConsumerRecord`` fits as it is."""

    @property
    def offset(self) -> int:
        """Place in its partition."""
        ...

    @property
    def timestamp(self) -> int:
        """Append time, ms since the Unix epoch."""
        ...

    @property
    def key(self) -> bytes | None:
        """The zone, UTF-8."""
        ...

    @property
    def value(self) -> bytes | None:
        """Image bytes, or a text."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Names and values; a value may be missing."""
        ...


#: Append time of a record whose own cannot be known, as Kafka writes it.
NO_TIME_MS = -1


#: Reasons of what stands for a whole batch, or for all that is left of one: its CRC, format, codec or size.
BATCH_REASONS = ("batch-crc", "batch-format", "batch-codec", "batch-size")


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """Stands in for what the log holds and no client can read: one record, or all that is left of a batch.

    It has the form of a :class:`RawRecord` with what could be had, takes its place in the order at ``offset``, and is
    refused with ``reason``. ``first_offset`` to ``offset`` is what is lost; the two are equal for a single record.
    """

    offset: int
    first_offset: int
    timestamp: int
    reason: str
    detail: str
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Record(msgspec.Struct, frozen=True, gc=False):
    """The metadata of an admitted record. Its bytes stay with the shell, under ``ref``.

    ``camera`` is empty for texts; ``severity`` is 0 where a text names none and for frames; ``identity`` is a digest
    of the CloudEvents source and id, None where the record has no id; ``size`` is the payload's length in bytes.
    ``text`` is what a text record says, read once, at admission; empty for frames, and for a text that a checkpoint
    brought back until its bytes come again.
    """

    side: Side
    offset: int
    append_ms: int
    event_ms: int
    zone: str
    camera: str = ""
    severity: int = 0
    size: int = 0
    identity: bytes | None = None
    text: str = ""

    @property
    def ref(self) -> Ref:
        """Side and offset: the record's name within its task."""
        return (self.side, self.offset)


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A record that admission refused: it takes its place in the merge order and goes to the dead letters.

    ``size`` counts key, value and headers in bytes: no bound on any of them has let it through.
    """

    side: Side
    offset: int
    append_ms: int
    reason: str
    detail: str = ""
    size: int = 0


class Observation(msgspec.Struct, frozen=True, gc=False):
    """One thing to be scored: a pair, or one side alone. ``(sequence, index)`` names it within its task's epoch.

    ``is_image_shed`` says that the frame's bytes were dropped at the window's bound: the text is scored alone and the
    result is marked masked. ``model`` is the SHA-256 of the bundle in force when it was made, which has to score it.
    """

    sequence: int
    index: int
    zone: str
    text: Record | None
    frame: Record | None
    is_late: bool = False
    is_image_shed: bool = False
    model: str = ""


class Scored(msgspec.Struct, frozen=True, gc=False):
    """The scores of one observation, micro-logits per label in the order of the model's labels.

    ``full`` is what the model says of all that was present; ``without_image`` and ``without_text`` leave one side out
    and are None unless both sides were present. ``full`` is None when no side could be scored. A failed side is named
    with its reason.
    """

    sequence: int
    index: int
    full: tuple[int, ...] | None
    without_image: tuple[int, ...] | None = None
    without_text: tuple[int, ...] | None = None
    image_failure: str | None = None
    text_failure: str | None = None


class LabelRule(msgspec.Struct, frozen=True):
    """One label of the model: whether it alerts, and its two thresholds as micro-logits."""

    name: str
    is_alerting: bool
    open_at: int
    close_at: int


class Model(msgspec.Struct, frozen=True):
    """The bundle in force, as far as decisions depend on it."""

    name: str
    version: str
    sha256: str
    labels: tuple[LabelRule, ...]


class InForce(msgspec.Struct, frozen=True):
    """What is in force at a sequence number, so that all that is made there can say what it was made by.

    ``settings_sha256`` names the settings on the wire: it may cover more of them than those that the core knows.
    """

    model: Model
    settings: Semantic
    settings_sha256: str


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """Where a record that supports an incident can be found in its input topic."""

    side: Side
    offset: int
    event_ms: int
    camera: str = ""


class Contribution(msgspec.Struct, frozen=True, array_like=True):
    """Mean micro-logits of one label: of everything, with the images left out, with the text left out."""

    full: int
    without_image: int
    without_text: int


class Alert(msgspec.Struct, frozen=True):
    """One phase of an incident. ``time_ms`` is the stream time of the sequence number that made it.

    ``in_force`` is what was in force at that number; the incident may have been opened under another model.
    """

    id: str
    incident: str
    phase: str
    number: int
    label: str
    zone: str
    score: int
    threshold: int
    cameras: tuple[str, ...]
    severity: int
    start_ms: int
    end_ms: int
    present: tuple[str, ...]
    contribution: Contribution | None
    is_late: bool
    is_masked: bool
    evidence: tuple[Evidence, ...]
    evidence_left_out: int
    time_ms: int
    in_force: InForce
    reason: str = ""


class Decision(msgspec.Struct, frozen=True):
    """One scored observation as it was judged, for audit, training and verification.

    The scores are in the order of the labels of the model ``in_force``, which is the one that made them.
    """

    observation: Observation
    scored: Scored
    time_ms: int
    in_force: InForce


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A record that got no proper treatment, and why. Its ``size`` bytes are still held by the shell under ``ref``."""

    side: Side
    offset: int
    reason: str
    detail: str = ""
    size: int = 0

    @property
    def ref(self) -> Ref:
        """Side and offset of the record."""
        return (self.side, self.offset)


class Notice(msgspec.Struct, frozen=True):
    """A word to the subscribers of the alerts topic that is not an incident, such as a zone over its rate bound."""

    kind: str
    zone: str
    time_ms: int
    detail: str


def time_bound(event_ms: int, append_ms: int) -> int:
    """Return what a record may move stream time to: its event time, but never past its append time."""
    return min(event_ms, append_ms)
