"""The admitting half of a task: duplicates, rate, join, thinning and the window's bound, one sequence number each.

In: records in merge order, ticks, levels. Out: one :class:`Entry` per sequence number: what is to be scored, refused,
said and counted there. Every mark in its state carries the sequence number that made it, so that a checkpoint can
describe the state as it was at the cut, which lies behind.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from stream_app.core.admit import describe
from stream_app.core.at_cut import AtCut
from stream_app.core.checkpoint_state import NO_RECORD_MS, Checkpoint
from stream_app.core.crowd import Crowd
from stream_app.core.cut import Entry, Position
from stream_app.core.join import NEVER, Held, Join, Pair
from stream_app.core.journal import JournalSkipped, JournalSwitch, JournalText, JournalThinning, JournalTick
from stream_app.core.marks import HELD, LATE, MATCHED, REMEMBERED, SCORED, SHED
from stream_app.core.rate import Rate
from stream_app.core.restoring import LostError, Restoring
from stream_app.core.seen import Seen
from stream_app.core.shed import Shed
from stream_app.core.thin import Thin
from stream_app.core.types import DeadLetter, InForce, Notice, Observation, Record, Refused, Side, time_bound

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_app.core.checkpoint_state import TextState
    from stream_app.core.journal import JournalEntry
    from stream_app.core.merge import Intake
    from stream_app.core.types import RawRecord, Ref

_SIDES = ("texts", "frames")
_Counts = tuple[tuple[str, int], ...]
# Counters by side; made once, since every record takes one.
_RECEIVED: tuple[_Counts, _Counts] = ((("texts.received", 1),), (("frames.received", 1),))
_LATE = tuple((*_RECEIVED[side], (f"{word}.late", 1)) for side, word in enumerate(("texts", "frames")))
_DUPLICATE = tuple((*_RECEIVED[side], (f"{word}.duplicate", 1)) for side, word in enumerate(("texts", "frames")))
_DEAD = tuple((*_RECEIVED[side], (f"{word}.dead", 1)) for side, word in enumerate(("texts", "frames")))


class Front:
    """State from the first record to the head of the merge order."""

    __slots__ = ("_crowd", "_rate", "_seen", "_shed", "_thin", "at_cut", "head", "join", "restoring")

    def __init__(self, in_force: InForce, checkpoint: Checkpoint | None, start: tuple[int, int]) -> None:
        """Begin at a checkpoint and what was in force there, or at these next text and frame offsets."""
        settings = in_force.settings
        self._rate = Rate(settings)
        self._seen = Seen()
        self._thin = Thin(settings)
        self._shed = Shed(settings)
        self._crowd = Crowd(settings, len(in_force.model.labels))
        #: How far the merge order has got; moves with every entry, which gets a copy.
        self.head = Position(0, NO_RECORD_MS, *start, NO_RECORD_MS, NO_RECORD_MS, NO_RECORD_MS, in_force)
        if checkpoint is not None:
            self.head = _position_of(checkpoint, in_force)
        self.at_cut = AtCut(checkpoint)
        self.join = Join(settings, self.head.stream_ms, self.at_cut.changed)
        #: What has to come of the inputs before any record is admitted; None when all of it has.
        self.restoring: Restoring | None = None
        if checkpoint is not None:
            self._begin_to_restore(checkpoint)

    @property
    def thinning_level(self) -> int:
        """The thinning level in force."""
        return self._thin.level

    @property
    def window_bytes(self) -> int:
        """Image bytes that the window holds."""
        return self._shed.bytes

    def next_of(self, side: Side) -> int:
        """Return the next offset of one side that was not yet admitted."""
        return self.head.next_text if side is Side.TEXT else self.head.next_frame

    def restore(self, side: Side, raw: RawRecord) -> None:
        """Take a record below the position, and put back what the checkpoint says of it.

        Raises:
            LostError: if another one that is needed should have come before it, or if it is another one itself.
        """
        restoring = self.restoring
        mark = 0 if restoring is None else restoring.meet(side, raw.offset)
        if restoring is None or not mark:
            return
        try:
            record = describe(side, raw)
            if mark & REMEMBERED:
                self._seen.restore_one(record.ref, record.identity)
        except ValueError as error:
            raise LostError(side, raw.offset, f"what is there was never judged: {error}") from error
        if mark & HELD:
            text = restoring.text(raw.offset) if side is Side.TEXT else None
            self._hold_again(held_from(record, mark, restoring.cut, text))
        if restoring.is_over:
            self.restoring = None

    def take(self, intake: Intake) -> Entry:
        """Take the next record of the merge order."""
        head, side = self.head, intake.side
        head.sequence += 1
        if side is Side.TEXT:
            head.next_text, head.text_ms = intake.offset + 1, intake.append_ms
        else:
            head.next_frame, head.frame_ms = intake.offset + 1, intake.append_ms
        if intake.append_ms > head.append_ms:  # noqa: PLR1730 - max() costs three times as much, once per record
            head.append_ms = intake.append_ms
        if isinstance(intake, Refused):
            return self._refuse(intake, intake.reason, intake.detail)
        if intake.identity is not None and self._seen.is_duplicate((side, intake.identity), head.stream_ms):
            return self._pass_over(intake)
        if side is Side.TEXT:
            return self._take_text(intake)
        if self._crowd.refuses(intake.zone, intake.camera):
            return self._refuse(intake, "cameras", f"more than {head.in_force.settings.max_cameras} in the window")
        return self._take_record(intake, 0)

    def tick(self, to_ms: int) -> Entry:
        """Move stream time while nothing comes."""
        self.head.sequence += 1
        self.head.stream_ms = to_ms
        unmatched = self.join.tick(self.head.sequence, to_ms)
        self._let_leave(self.join.removed)
        entry = self._enter(unmatched, ())
        entry.journal = (JournalTick(to_ms, self.head.next_text, self.head.next_frame),)
        return entry

    def set_level(self, level: int) -> Entry:
        """Put a thinning level in force."""
        self.head.sequence += 1
        self._thin.set_level(level, self.head.sequence)
        entry = self._enter((), ())
        entry.journal = (JournalThinning(level, self.head.next_text, self.head.next_frame),)
        return entry

    def switch(self, to: InForce) -> Entry:
        """Put a model and settings in force, and journal them; a task's first step pins where it started."""
        head = self.head
        head.sequence += 1
        if to.settings != head.in_force.settings:
            self.join.switch(to.settings)
            self._shed.switch(to.settings)
            self._thin.switch(to.settings, head.sequence, head.stream_ms)
            self._rate.switch(to.settings, head.sequence, head.append_ms)
        self._crowd.switch(to.settings, len(to.model.labels), len(head.in_force.model.labels))
        head.in_force = to
        entry = self._enter((), ())
        names = (to.model.sha256, to.settings_sha256)
        entry.journal = (JournalSwitch(*names, head.next_text, head.next_frame, to.model, to.settings),)
        return entry

    def forget(self, at: Position) -> list[Held]:
        """Let go of what no state at or after the cut needs; return the records that left the window before it."""
        at_cut, seen = self.at_cut, self._seen
        forgotten = seen.forget(at.stream_ms, at.sequence)
        if forgotten:
            at_cut.forget(forgotten)
        left = self.join.forget(at.sequence)
        for held in left:
            at_cut.leave(held, seen)
        return left

    def prune(self, at: Position) -> None:
        """Let go of marks that no state at or after the cut needs; slower than :meth:`forget`, once per step."""
        settings = at.in_force.settings
        self._thin.forget(at.sequence, at.stream_ms, settings.unmatched_every_ms)
        self._rate.forget(at.sequence, at.append_ms, settings)

    def state_at(self, at: Position, failed: Iterable[Ref]) -> dict[str, Any]:
        """Return this half's fields of a checkpoint, as of the cut, but for the slots of texts.

        Args:
            at: the cut.
            failed: held records that have failed to be scored since this was last called.
        """
        cut, settings = at.sequence, at.in_force.settings
        self.at_cut.follow(cut, self._seen, failed)
        sampled = self._thin.sampled_at(cut, at.stream_ms, settings.unmatched_every_ms)
        return {
            "sequence": cut,
            "stream_ms": at.stream_ms,
            "append_ms": at.append_ms,
            "next_text": at.next_text,
            "next_frame": at.next_frame,
            "text_ms": at.text_ms,
            "frame_ms": at.frame_ms,
            "texts": self.at_cut.marks[Side.TEXT].runs(),
            "frames": self.at_cut.marks[Side.FRAME].runs(),
            "expiries": (
                self._seen.expiries_at(Side.TEXT, at.next_text),
                self._seen.expiries_at(Side.FRAME, at.next_frame),
            ),
            "seen": self._seen.old_at(at.stream_ms),
            "sampled": [(*camera, bucket) for camera, bucket in sampled],
            "rates": dict(self._rate.levels_at(cut, at.append_ms, settings)),
            "thinning_level": self._thin.level_at(cut),
            "model": at.in_force.model,
            "settings": settings,
            "settings_sha256": at.in_force.settings_sha256,
        }

    def _take_text(self, text: Record) -> Entry:
        # The task's newest append time, not the text's own: it never runs back, so a bucket that was full at a cut,
        # and for that reason is in no checkpoint, stays full.
        passes, is_first = self._rate.allows(text.zone, self.head.append_ms, self.head.sequence)
        if passes:
            entry = self._take_record(text, self._thin.sample_ms)
            entry.journal = (JournalText(text.offset, self.head.next_frame),)
            return entry
        settings = self.head.in_force.settings
        detail = f"more than {settings.rate_per_s}/s with a burst of {settings.rate_burst}"
        entry = self._refuse(text, "rate", detail)
        if is_first:
            entry.notices = (Notice("rate", text.zone, self.head.stream_ms, detail),)
        return entry

    def _take_record(self, record: Record, sample_ms: int) -> Entry:
        head, join, crowd = self.head, self.join, self._crowd
        held = Held(record, head.sequence, sample_ms=sample_ms)
        early: Sequence[Held] = ()
        closed: Sequence[Held] = ()
        if len(join.held) >= crowd.max_held or crowd.bytes > crowd.max_bytes:
            early = crowd.choose(join.held.values())
            closed = join.close_early(early, head.sequence)
        unmatched, pairs = join.admit(held, time_bound(record.event_ms, record.append_ms))
        if closed:
            unmatched = [*closed, *unmatched]
        head.stream_ms = join.stream_ms
        forgotten = self._remember(record, record.identity) if record.identity is not None else 0
        # What left makes room first, or the bound would shed more than it must.
        if join.removed:
            self._let_leave(join.removed)
        is_held = held.gone == NEVER
        if is_held:
            crowd.enter(held)
        changed = self.at_cut.changed
        if is_held or record.identity is not None:
            changed.append((head.sequence, held))
        shed = self._shed.choose(join.held.values(), head.sequence) if is_held and self._shed.enter(held) else ()
        entry = self._enter(unmatched, pairs)
        if shed:
            changed.extend([(head.sequence, one) for one in shed])
            entry.left = (*entry.left, *(one.record.ref for one in shed))
            entry.counts = (*entry.counts, ("frames.shed", len(shed)))
        if not is_held:
            entry.left = (*entry.left, record.ref)
        if early or forgotten:
            entry.counts = (*entry.counts, *_early_counts(early, forgotten))
        counts = _LATE[record.side] if held.is_late else _RECEIVED[record.side]
        entry.counts = (*counts, *entry.counts) if entry.counts else counts
        return entry

    def _remember(self, record: Record, identity: bytes) -> int:
        """Remember a record's identity; return how many others that takes the room of."""
        seen, stream_ms, most = self._seen, self.head.stream_ms, self._crowd.max_held
        seen.add((record.side, record.offset), identity, stream_ms, self.join.horizon_ms)
        return seen.bound(most, self.head.sequence, stream_ms) if seen.size > most else 0

    def _refuse(self, intake: Intake, reason: str, detail: str) -> Entry:
        entry = self._enter((), ())
        entry.dead_letters = (DeadLetter(intake.side, intake.offset, reason, detail, intake.size),)
        entry.counts = (*_DEAD[intake.side], (f"dead.{reason}", 1))
        entry.journal = self._skip(intake)
        return entry

    def _pass_over(self, record: Record) -> Entry:
        entry = self._enter((), ())
        entry.left = (record.ref,)
        entry.counts = _DUPLICATE[record.side]
        entry.journal = self._skip(record)
        return entry

    def _skip(self, intake: Intake) -> Sequence[JournalEntry]:
        """Name the place of a text that is not admitted: a moment sooner or later, it might have been."""
        return (JournalSkipped(intake.offset, self.head.next_frame),) if intake.side is Side.TEXT else ()

    def _enter(self, unmatched: Sequence[Held], pairs: Sequence[Pair]) -> Entry:
        """Make the entry of this sequence number, with what is to be scored after thinning."""
        observations = self._observe(unmatched, pairs) if unmatched or pairs else None
        position = copy(self.head)
        entry = Entry.awaiting(position, observations) if observations else Entry(position)
        removed = self.join.removed
        if removed:
            entry.left = [held.record.ref for held in removed]
            removed.clear()
        if pairs:
            kept = sum(1 for observation in entry.observations if observation.text and observation.frame)
            entry.counts = (("pairs.joined", len(pairs)), ("pairs.thinned", len(pairs) - kept))
        return entry

    def _observe(self, unmatched: Sequence[Held], pairs: Sequence[Pair]) -> list[Observation]:
        sequence, model = self.head.sequence, self.head.in_force.model.sha256
        found: list[Observation] = []
        for held in unmatched:
            record = held.record
            if record.side is Side.TEXT:
                found.append(Observation(sequence, len(found), record.zone, record, None, held.is_late, model=model))
            elif held.shed == NEVER and self._thin.keeps_frame(record, sequence, self.head.stream_ms):
                held.scored = sequence
                found.append(Observation(sequence, len(found), record.zone, None, record, held.is_late, model=model))
        for text, frame in pairs:
            if self._thin.keeps_pair(text, frame, sequence):
                self.at_cut.fill(sequence, text, frame)
                if text.gone == NEVER:
                    self._crowd.fill(text, frame.record.camera)
                both = (text.record, frame.record)
                marks = (text.is_late or frame.is_late, frame.shed != NEVER)
                found.append(Observation(sequence, len(found), text.record.zone, *both, *marks, model))
        return found

    def _let_leave(self, removed: Sequence[Held]) -> None:
        for left in removed:
            self._shed.leave(left)
            self._crowd.leave(left)

    def _hold_again(self, held: Held) -> None:
        self.join.restore(held)
        self._shed.enter(held)
        self._crowd.enter(held)

    def _begin_to_restore(self, checkpoint: Checkpoint) -> None:
        text, frame = map(checkpoint.remembered_from, Side)
        self._seen.restore(checkpoint.expiries, checkpoint.seen, (text, frame))
        sampled = {(zone, camera): bucket for zone, camera, bucket in checkpoint.sampled}
        self._thin.restore(checkpoint.thinning_level, sampled)
        self._rate.restore(checkpoint.rates)
        restoring = Restoring(checkpoint)
        self.restoring = None if restoring.is_over else restoring


def _early_counts(early: Sequence[Held], forgotten: int) -> list[tuple[str, int]]:
    words = [_SIDES[one.record.side] for one in early]
    counts = [(f"{word}.closed-early", words.count(word)) for word in _SIDES if word in words]
    return [*counts, ("ids.forgotten-early", forgotten)] if forgotten else counts


def held_from(record: Record, mark: int, cut: int, text: TextState | None) -> Held:
    """Make the held record that a checkpoint describes; its marks count as made at the cut."""
    held = Held(record, cut, is_late=bool(mark & LATE), sample_ms=text.sample_ms if text is not None else 0)
    held.matched = cut if mark & MATCHED else NEVER
    held.scored = cut if mark & SCORED else NEVER
    held.shed = cut if mark & SHED else NEVER
    if text is not None and text.used:
        slots = [(camera, bucket) for camera, first, number in text.used for bucket in range(first, first + number)]
        held.used = dict.fromkeys(slots, cut)
    return held


def _position_of(checkpoint: Checkpoint, in_force: InForce) -> Position:
    return Position(
        checkpoint.sequence,
        checkpoint.stream_ms,
        checkpoint.next_text,
        checkpoint.next_frame,
        checkpoint.append_ms,
        checkpoint.text_ms,
        checkpoint.frame_ms,
        in_force,
    )
