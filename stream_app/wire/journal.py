"""The journal on the wire: written and read in one place, and the order of admission that it tells.

In: what a step journals, or the values of a task's journal records in the order of their topic. Out: messages, or the
places of the merge order one after the other. With the input topics, that is all a replay needs to admit the records
as the live task did, and to commit where it committed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import msgspec

from stream_app import __version__
from stream_app.core.journal import (
    JournalEntry,
    JournalReset,
    JournalSkipped,
    JournalSwitch,
    JournalText,
    JournalThinning,
    JournalTick,
)
from stream_app.wire.message import Message, WireError
from stream_app.wire.references import Count, Digest, Name, Sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stream_app.core.digest import OutputDigest
    from stream_app.core.effects import Step
    from stream_app.wire.context import Context

#: Version of the journal's form; changes within it only add.
SCHEMA = 1
#: Stands for the digest of outputs while that is computed: it covers the record in which it stands.
_OPEN = "0" * 32


class JournalError(WireError):
    """The journal cannot be read, or tells no order; the message says expected and found."""


class NewerJournalError(JournalError):
    """A newer version wrote a journal record, and this one cannot read it."""


class JournalEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner of the task brings along that no switch names: it is in outputs, or shapes them."""

    version: Name
    provider: Name
    letter_bytes: Count
    settings: Sha256
    topics: dict[str, Name]


class JournalStep(msgspec.Struct, frozen=True, kw_only=True):
    """The cut of one transaction: everything up to ``sequence`` is in it or in an earlier one, and nothing later.

    ``inputs`` is the digest of the records that took their place since the cut before, ``outputs`` that of all that the
    transaction publishes but its checkpoint, this record included. Older versions wrote neither.
    """

    sequence: Annotated[int, msgspec.Meta(ge=1)]
    stream_ms: int
    next_text: Count
    next_frame: Count
    inputs: Digest | msgspec.UnsetType = msgspec.UNSET
    outputs: Digest | msgspec.UnsetType = msgspec.UNSET


class JournalKeyframe(msgspec.Struct, frozen=True, kw_only=True):
    """A state to begin from: the checkpoint of the record's own cut, base64 in JSON."""

    checkpoint: bytes


class JournalRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of the journal, which is one transaction's.

    ``epoch`` comes with the first of an epoch and with each keyframe; ``keyframe`` with the first of an epoch and at a
    bounded distance in stream time. Older versions wrote neither ``step`` nor ``epoch``, no keyframes, and no record
    for a step without entries.
    """

    schema: int
    partition: Count
    epoch: JournalEpoch | None = None
    entries: tuple[JournalEntry, ...]
    step: JournalStep | None = None
    keyframe: JournalKeyframe | None = None


class Frames(msgspec.Struct, frozen=True):
    """The next places: every frame below this offset that has none yet, in order of offset."""

    below: int


class Text(msgspec.Struct, frozen=True):
    """The next place: this text, admitted or not."""

    offset: int


Place = Frames | Text | JournalTick | JournalThinning | JournalSwitch | JournalReset | JournalEpoch | JournalStep


class _EpochVersion(msgspec.Struct):
    version: str


class _Version(msgspec.Struct):
    schema: int
    epoch: _EpochVersion | None = None


def render_journal(
    step: Step, context: Context, outputs: OutputDigest, *, is_first: bool, has_keyframe: bool = False
) -> Message:
    """Render what a step says of the merge order: its entries, its cut, the epoch, a keyframe.

    Args:
        step: the step.
        context: names and provider.
        outputs: the digest of what else the step publishes; the record itself is added to it.
        is_first: whether it is the first of an epoch.
        has_keyframe: whether the step's checkpoint goes along; it is left out where the topic would not take it.
    """
    epoch = JournalEpoch(
        version=__version__,
        provider=context.provider,
        letter_bytes=context.letter_bytes,
        settings=context.settings_sha256,
        topics=msgspec.structs.asdict(context.topics),
    )
    cut = JournalStep(
        sequence=step.sequence,
        stream_ms=step.stream_ms,
        next_text=step.next_text,
        next_frame=step.next_frame,
        inputs=step.inputs,
        outputs=_OPEN,
    )
    record = JournalRecord(
        schema=SCHEMA,
        partition=context.partition,
        epoch=epoch if is_first or has_keyframe else None,
        entries=step.journal,
        step=cut,
        keyframe=JournalKeyframe(checkpoint=step.checkpoint) if has_keyframe else None,
    )
    value = encode_journal(record)
    if has_keyframe and len(value) > context.journal_bytes:
        # A step that the brokers refuse would be tried again for ever; without a keyframe here there is one elsewhere.
        value = encode_journal(msgspec.structs.replace(record, keyframe=None, epoch=epoch if is_first else None))
    outputs.add(context.topics.journal, context.state_key, value, ())
    return Message(context.topics.journal, context.state_key, _with_outputs(value, _OPEN, outputs.hex))


def unsealed(value: bytes, outputs: str) -> bytes:
    """Return a record's value as its own digest of outputs was computed over it: with zeros in the digest's place."""
    return _with_outputs(value, outputs, _OPEN)


def _with_outputs(value: bytes, found: str, to: str) -> bytes:
    # Within a string of JSON the quotation marks would be escaped, so there is one such place.
    return value.replace(f'"outputs":"{found}"'.encode(), f'"outputs":"{to}"'.encode())


def encode_journal(record: JournalRecord) -> bytes:
    """Encode a journal record as JSON bytes."""
    return msgspec.json.encode(record)


def decode_journal(data: bytes) -> JournalRecord:
    """Decode a journal record, of an older version too.

    Raises:
        NewerJournalError: if a newer version wrote it, which this one cannot read.
        JournalError: if it is damaged.
    """
    try:
        said = msgspec.json.decode(data, type=_Version)
        found = said.schema
        if found > SCHEMA:
            message = f"journal schema: expected {SCHEMA}, found {found}: a newer version of Vigil wrote it"
            raise NewerJournalError(message)
        if found != SCHEMA:
            message = f"journal schema: expected {SCHEMA}, found {found}"
            raise JournalError(message)
        return _decode(data, said.epoch)
    except msgspec.DecodeError as error:
        message = f"journal record of {len(data)} bytes cannot be read: {error}"
        raise JournalError(message) from error


def _decode(data: bytes, epoch: _EpochVersion | None) -> JournalRecord:
    try:
        return msgspec.json.decode(data, type=JournalRecord)
    except msgspec.ValidationError as error:
        if epoch is None or not is_later_version(epoch.version):
            raise
        # Such as a setting that this version does not have.
        message = f"journal record of version {epoch.version}, later than {__version__}, cannot be read: {error}"
        raise NewerJournalError(message) from error


def is_later_version(version: str) -> bool:
    """Return whether a version of Vigil, as a journal names it, is later than this one."""
    theirs, ours = ([int(digits) for digits in re.findall("[0-9]+", one)[:3]] for one in (version[:80], __version__))
    return theirs > ours


def beginning_of(record: JournalRecord) -> tuple[JournalSwitch, int] | None:
    """Return the beginning of a task, if a record can be of its first step.

    Every entry and every frame has a sequence number of its own, and a task's first entry is a switch. A record that
    begins with a switch in the middle of a task's life counts more frames than its step took in.

    Returns:
        The switch, and how many frames the step took in if it is a task's first; None where it cannot be.
    """
    step, first = record.step, next(iter(record.entries), None)
    if step is None or not isinstance(first, JournalSwitch):
        return None
    frames = step.sequence - len(record.entries)
    return (first, frames) if 0 <= frames <= step.next_frame - first.next_frame else None


def in_order(records: Iterable[JournalRecord], start: tuple[int, int] | None = None) -> Iterator[Place]:
    """Tell the order in which a task took its inputs, ticks, thinning levels and switches, and where it committed.

    A switch that comes first, or first after a reset, is the beginning of a task; any other changes the one that runs.

    Args:
        records: the journal records of one task in the order of their topic. In those of older versions, texts that
            were not admitted have no place, and frames behind the last entry have one only once an entry follows.
        start: next text and next frame of the checkpoint that the records follow; None where they begin with the
            task's first.

    Raises:
        JournalError: if a place runs back, a text between two cuts has none, or there is no beginning.
    """
    order = JournalOrder(start)
    for record in records:
        yield from order.of(record)


class JournalOrder:
    """How far the reading of one task's journal has got: the next frame, and the next text where that is certain."""

    def __init__(self, start: tuple[int, int] | None = None) -> None:
        """Begin behind the checkpoint with these next offsets, or at a task's first record."""
        self._next_text: int | None = None
        self._next_frame: int | None = None
        if start is not None:
            self._next_text, self._next_frame = start

    def of(self, record: JournalRecord) -> Iterator[Place]:
        """Yield the places that the next record tells, in order; see :func:`in_order`.

        Raises:
            JournalError: if a place runs back, a text between two cuts has none, or there is no beginning.
        """
        if record.epoch is not None:
            yield record.epoch
        for entry in record.entries:
            yield from self._entry(entry)
        if record.step is not None:
            yield from self._step(record.step)
        else:
            # Older versions named no texts that they did not admit: the next text is not known any more.
            self._next_text = None

    def _entry(self, entry: JournalEntry) -> Iterator[Place]:
        if isinstance(entry, JournalText | JournalSkipped):
            if self._next_text is not None and entry.offset < self._next_text:
                raise _runs_back("text", self._next_text, entry.offset)
            yield from self._frames(entry.next_frame)
            self._next_text = entry.offset + 1
            yield Text(entry.offset)
            return
        is_beginning = isinstance(entry, JournalSwitch) and self._next_frame is None
        if isinstance(entry, JournalReset):
            self._next_frame = None
        elif is_beginning:
            self._next_frame = entry.next_frame
        else:
            yield from self._frames(entry.next_frame)
        self._next_text = entry.next_text
        yield entry

    def _step(self, step: JournalStep) -> Iterator[Place]:
        if self._next_text is not None and step.next_text != self._next_text:
            message = f"journal: expected a cut at text {self._next_text}, found one at {step.next_text}"
            raise JournalError(message)
        yield from self._frames(step.next_frame)
        self._next_text = step.next_text
        yield step

    def _frames(self, below: int) -> Iterator[Place]:
        if self._next_frame is None:
            message = "journal: expected a switch as the first entry of a task, found none"
            raise JournalError(message)
        if below < self._next_frame:
            raise _runs_back("frame", self._next_frame, below)
        if below > self._next_frame:
            self._next_frame = below
            yield Frames(below)


def _runs_back(what: str, expected: int, found: int) -> JournalError:
    return JournalError(f"journal: expected {what} {expected} or later, found {found}")
