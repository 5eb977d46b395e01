"""The task: partition p of the frames topic and partition p of the texts topic, composed of the stages before it.

In: raw records of each side, whether a side is caught up, ticks, overload levels, scores, "commit due", "committed".
Out: effects (score these, release these bytes) and steps (commit these together). It knows no Kafka, no inference, no
wall time; the same inputs give the same outputs. Live running, replay and tests drive this one object.

Guarantees: a step contains everything decided up to its cut and nothing later; a task that is restored from a step's
checkpoint and reads on from its positions goes on as if it had never stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.admit import admit
from stream_app.core.checkpoint import NO_RECORD_MS, Checkpoint, encode_checkpoint, held_from, held_state
from stream_app.core.cut import Cut, Entry, Position
from stream_app.core.decide import Decide
from stream_app.core.effects import Effects, Outputs, Step
from stream_app.core.join import NEVER, Held, Join, Pair
from stream_app.core.merge import Intake, Merge
from stream_app.core.rate import Rate
from stream_app.core.seen import Seen
from stream_app.core.shed import Shed
from stream_app.core.thin import MAX_LEVEL, Thin
from stream_app.core.types import (
    DeadLetter,
    JournalSwitch,
    JournalText,
    JournalThinning,
    JournalTick,
    Notice,
    Observation,
    Record,
    Ref,
    Refused,
    Scored,
    Side,
    time_bound,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_app.core.settings import Limits, Semantic
    from stream_app.core.types import Model, RawRecord

#: Stream time before any record.
BEGINNING_MS = NO_RECORD_MS
_WORD = ("texts", "frames")
_RECEIVED = ("texts.received", "frames.received")
_LATE = ("texts.late", "frames.late")


class Task:
    """One task of a deployment. Not thread-safe: one owner calls it."""

    def __init__(
        self,
        settings: Semantic,
        model: Model,
        *,
        deployment: str,
        partition: int,
        limits: Limits,
        checkpoint: Checkpoint | None = None,
        start: tuple[int, int] = (0, 0),
    ) -> None:
        """Make a task.

        Args:
            settings: the semantic settings in force.
            model: the bundle in force.
            deployment: name of the deployment; part of every incident id.
            partition: the partition of both input topics.
            limits: bounds that change no result.
            checkpoint: the newest checkpoint, or None for a task that never ran.
            start: next text and next frame offset where there is no checkpoint.
        """
        self._settings = settings.check()
        self._model = model
        self._deployment = deployment
        self._partition = partition
        self._limits = limits
        self._merge = Merge(limits)
        self._rate = Rate(settings)
        self._seen = Seen()
        self._thin = Thin(settings)
        self._shed = Shed(settings)
        self._cut = Cut()
        self._decide = Decide(settings, model, deployment=deployment, partition=partition)
        self._outputs = Outputs()
        self._totals: dict[str, int] = {}
        self._uses: dict[Ref, int] = {}
        self._to_score: list[Observation] = []
        self._to_release: list[Ref] = []
        self._open_step: Step | None = None
        self._head = Position(0, BEGINNING_MS, *start, BEGINNING_MS, BEGINNING_MS, BEGINNING_MS)
        if checkpoint is not None:
            self._head = _position_of(checkpoint)
        self._join = Join(settings, self._head.stream_ms)
        self._at = self._head.copy()
        self._last_sequence = self._head.sequence
        self._received = [self._head.next_text, self._head.next_frame]
        if checkpoint is not None:
            self._restore(checkpoint)
        if checkpoint is None or checkpoint.model != model or checkpoint.settings != settings:
            self._switch()

    # -- inputs ------------------------------------------------------------------------------------------------

    def receive(self, side: Side, raws: Iterable[RawRecord]) -> None:
        """Take records of one side, in offset order; the shell keeps each one's bytes until they are released.

        Records below the position were judged before (they come again after a restart or a seek): their bytes are
        kept where the window still needs them, and released otherwise.
        """
        fresh: list[tuple[Intake, int]] = []
        expected = self._received[side]
        settings = self._settings
        for raw in raws:
            if raw.offset < expected:
                self._receive_again((side, raw.offset))
                continue
            expected = raw.offset + 1
            fresh.append((admit(side, raw, settings), len(raw.value) if raw.value is not None else 0))
        self._received[side] = expected
        self._merge.offer(side, fresh)

    def set_caught_up(self, side: Side, is_caught_up: bool) -> bool:  # noqa: FBT001 - the claim is the argument
        """Say whether this side's last fetch reached the end of its partition and is recent enough to be believed.

        Returns:
            Whether that is news, so that a pump may find more to do.
        """
        return self._merge.set_caught_up(side, is_caught_up)

    def advance(self, to_ms: int) -> bool:
        """Advance stream time while both sides are idle.

        Args:
            to_ms: a time up to which the broker has nothing more, in ms.

        Returns:
            Whether a tick was made: only when idle, when it moves stream time, and something is held or open.
        """
        if to_ms <= self._head.stream_ms or not self._merge.is_idle:
            return False
        if not self._join.held and not self._decide.has_open:
            return False
        self._head.sequence += 1
        self._head.stream_ms = to_ms
        unmatched = self._join.tick(self._head.sequence, to_ms)
        for left in self._join.removed:
            self._shed.leave(left)
        entry = self._finish(unmatched, ())
        self._journal(entry, JournalTick(to_ms, self._head.next_text, self._head.next_frame))
        self._settle()
        return True

    def set_thinning(self, level: int) -> None:
        """Sample texts that are admitted from here on at ``sample_ms << level`` (0 to 3); journaled.

        Raises:
            ValueError: if the level is out of range.
        """
        if not 0 <= level <= MAX_LEVEL:
            message = f"thinning level: expected 0-{MAX_LEVEL}, found {level}"
            raise ValueError(message)
        if level == self._thin.level:
            return
        self._head.sequence += 1
        self._thin.set_level(level, self._head.sequence)
        entry = self._finish((), ())
        self._journal(entry, JournalThinning(level, self._head.next_text, self._head.next_frame))
        self._settle()

    def scored(self, scored: Scored) -> None:
        """Take the scores of one observation.

        Raises:
            ValueError: if that observation is not in flight.
        """
        self._cut.complete(scored)
        self._settle()

    def pump(self, at_most: int = 1_000) -> Effects:
        """Admit what may be admitted, at most so many records, and return what is asked of the shell since then."""
        taken = 0
        merge, cut, limits = self._merge, self._cut, self._limits
        is_open = True
        while taken < at_most:
            # What waits behind one slow score is counted too: it holds the bytes of its dead letters.
            if cut.in_flight >= limits.in_flight or len(self._outputs) + len(cut) >= limits.outputs:
                is_open = False
                break
            intake = merge.next()
            if intake is None:
                is_open = False
                break
            self._take(intake)
            taken += 1
        effects = Effects(tuple(self._to_score), tuple(self._to_release), is_open)
        if self._to_score:
            self._to_score = []
        if self._to_release:
            self._to_release = []
        return effects

    def commit_due(self) -> Step | None:
        """Return the next step, or None when nothing changed or the last step is not yet confirmed."""
        if self._open_step is not None or self._at.sequence == self._last_sequence:
            return None
        outputs, self._outputs = self._outputs, Outputs()
        cut = self._at.sequence
        self._thin.forget(cut, self._at.stream_ms)
        self._rate.forget(cut, self._at.append_ms)
        self._open_step = Step(
            sequence=cut,
            stream_ms=self._at.stream_ms,
            alerts=tuple(outputs.alerts),
            notices=tuple(outputs.notices),
            decisions=tuple(outputs.decisions),
            dead_letters=tuple(outputs.dead_letters),
            journal=tuple(outputs.journal),
            checkpoint=encode_checkpoint(self.checkpoint()),
            commit_text=self._join.lowest(Side.TEXT, cut, self._at.next_text),
            commit_frame=self._join.lowest(Side.FRAME, cut, self._at.next_frame),
        )
        return self._open_step

    def committed(self) -> None:
        """Say that the last step is confirmed.

        Raises:
            ValueError: if no step is open.
        """
        step = self._open_step
        if step is None:
            message = "no step is open"
            raise ValueError(message)
        self._open_step = None
        self._last_sequence = step.sequence
        for letter in step.dead_letters:
            self._unuse(letter.ref)

    # -- what can be seen --------------------------------------------------------------------------------------

    @property
    def has_alerts(self) -> bool:
        """Whether alerts or notices wait for a step: those are committed at once."""
        return bool(self._outputs.alerts or self._outputs.notices)

    @property
    def has_uncommitted(self) -> bool:
        """Whether something was decided that no confirmed step holds yet."""
        return self._at.sequence != self._last_sequence

    @property
    def is_held_up(self) -> bool:
        """Whether admission stands on work in flight while records wait: a sign of overload when it lasts."""
        waiting = self._merge.queued(Side.TEXT) + self._merge.queued(Side.FRAME)
        return waiting > 0 and self._cut.in_flight >= self._limits.in_flight

    @property
    def is_idle(self) -> bool:
        """Whether both sides are caught up and nothing is queued, so that a tick may come."""
        return self._merge.is_idle

    @property
    def is_unfinished(self) -> bool:
        """Whether something is queued, held, open, in flight or not yet committed."""
        return (
            bool(self._join.held or len(self._cut) or self._decide.has_open)
            or self._at.sequence != self._last_sequence
            or not self._merge.is_empty
        )

    @property
    def thinning_level(self) -> int:
        """The thinning level in force."""
        return self._thin.level

    @property
    def window_bytes(self) -> int:
        """Image bytes that the window holds."""
        return self._shed.bytes

    @property
    def in_flight(self) -> int:
        """Observations that wait for their scores."""
        return self._cut.in_flight

    @property
    def stream_ms(self) -> int:
        """Stream time at the head of the merge order, in ms."""
        return self._head.stream_ms

    @property
    def totals(self) -> dict[str, int]:
        """Counts since the task first ran, as of the cut; they travel with the checkpoint. A copy."""
        return dict(self._totals)

    def is_full(self, side: Side) -> bool:
        """Return whether this side's partition should be pressed back on; never true of a side that is waited for."""
        return self._merge.is_full(side)

    def queued(self, side: Side) -> int:
        """Return the number of records of one side that wait in the merge."""
        return self._merge.queued(side)

    def next_offset(self, side: Side) -> int:
        """Return the next offset of one side that was not yet received."""
        return self._received[side]

    def next_admitted(self, side: Side) -> int:
        """Return the next offset of one side that was not yet admitted."""
        return self._head.next_text if side is Side.TEXT else self._head.next_frame

    def checkpoint(self) -> Checkpoint:
        """Return the state at the cut."""
        at, cut = self._at, self._at.sequence
        return Checkpoint(
            deployment=self._deployment,
            partition=self._partition,
            sequence=cut,
            stream_ms=at.stream_ms,
            append_ms=at.append_ms,
            next_text=at.next_text,
            next_frame=at.next_frame,
            text_ms=at.text_ms,
            frame_ms=at.frame_ms,
            window=[held_state(held, cut) for held in self._join.window_at(cut)],
            seen=[(*identity, expires) for identity, expires in self._seen.remembered_at(cut, at.stream_ms)],
            sampled=[(*camera, bucket) for camera, bucket in self._thin.sampled_at(cut, at.stream_ms)],
            rates=dict(self._rate.levels_at(cut, at.append_ms)),
            thinning_level=self._thin.level_at(cut),
            decide=self._decide.state(),
            model=self._model,
            settings=self._settings,
            totals=self._totals,
        )

    # -- one record's way --------------------------------------------------------------------------------------

    def _receive_again(self, ref: Ref) -> None:
        is_queued = ref[1] >= (self._head.next_text if ref[0] is Side.TEXT else self._head.next_frame)
        held = self._join.held.get(ref)
        is_needed = is_queued or ref in self._uses or (held is not None and held.shed == NEVER)
        if not is_needed:
            self._to_release.append(ref)

    def _take(self, intake: Intake) -> None:
        head = self._head
        head.sequence += 1
        side = intake.side
        if side is Side.TEXT:
            head.next_text = intake.offset + 1
            head.text_ms = intake.append_ms
        else:
            head.next_frame = intake.offset + 1
            head.frame_ms = intake.append_ms
        if intake.append_ms > head.append_ms:  # noqa: PLR1730 - max() costs three times as much, once per record
            head.append_ms = intake.append_ms
        if isinstance(intake, Refused):
            self._refuse(intake, intake.reason, intake.detail)
        elif intake.identity is not None and self._seen.is_duplicate((side, intake.identity), head.stream_ms):
            self._pass_over(intake, "duplicate")
        elif side is Side.TEXT:
            self._take_text(intake)
        else:
            self._take_record(intake, 0)
        self._settle()

    def _take_text(self, text: Record) -> None:
        # The task's newest append time, not the text's own: it never runs back, so a bucket that was full at a cut,
        # and for that reason is in no checkpoint, stays full.
        passes, is_first = self._rate.allows(text.zone, self._head.append_ms, self._head.sequence)
        if passes:
            entry = self._take_record(text, self._thin.sample_ms)
            self._journal(entry, JournalText(text.offset, self._head.next_frame))
            return
        settings = self._settings
        detail = f"more than {settings.rate_per_s}/s with a burst of {settings.rate_burst}"
        entry = self._refuse(text, "rate", detail)
        if is_first:
            notice = Notice("rate", text.zone, self._head.stream_ms, detail)
            (self._outputs.notices if entry is None else entry.notices).append(notice)

    def _take_record(self, record: Record, sample_ms: int) -> Entry | None:
        head = self._head
        held = Held(record, head.sequence, sample_ms=sample_ms)
        unmatched, pairs = self._join.admit(held, time_bound(record.event_ms, record.append_ms))
        head.stream_ms = self._join.stream_ms
        if record.identity is not None:
            expires = head.stream_ms + self._settings.horizon_ms
            self._seen.add((record.side, record.identity), head.sequence, expires)
        # What left makes room first, or the bound would shed more than it must.
        for left in self._join.removed:
            self._shed.leave(left)
        if held.gone == NEVER and self._shed.enter(held):
            self._shed_bytes()
        entry = self._finish(unmatched, pairs)
        if held.gone != NEVER:
            self._release_if_unused(record.ref)
        self._count(entry, _RECEIVED[record.side])
        if held.is_late:
            self._count(entry, _LATE[record.side])
        return entry

    def _refuse(self, intake: Intake, reason: str, detail: str) -> Entry | None:
        entry = self._finish((), ())
        letter = DeadLetter(intake.side, intake.offset, reason, detail)
        self._use(letter.ref)
        (self._outputs.dead_letters if entry is None else entry.dead_letters).append(letter)
        self._count(entry, f"{_WORD[intake.side]}.received")
        self._count(entry, f"{_WORD[intake.side]}.dead")
        self._count(entry, f"dead.{reason}")
        return entry

    def _pass_over(self, record: Record, word: str) -> None:
        entry = self._finish((), ())
        self._to_release.append(record.ref)
        self._count(entry, f"{_WORD[record.side]}.received")
        self._count(entry, f"{_WORD[record.side]}.{word}")

    def _shed_bytes(self) -> None:
        chosen = self._shed.choose(self._join.held.values(), self._head.sequence)
        for held in chosen:
            self._release_if_unused(held.record.ref)

    def _finish(self, unmatched: Sequence[Held], pairs: Sequence[Pair]) -> Entry | None:
        """Thin, ask for scores, and take this sequence number's place in the cut; None where nothing lies before it."""
        observations = self._observe(unmatched, pairs) if unmatched or pairs else []
        for held in self._join.removed:
            self._release_if_unused(held.record.ref)
        self._join.removed.clear()
        entry = None
        if observations or len(self._cut):
            entry = Entry(self._head.copy(), observations)
            self._cut.push(entry)
        if pairs:
            kept = sum(1 for observation in observations if observation.text and observation.frame)
            self._count(entry, "pairs.joined", len(pairs))
            self._count(entry, "pairs.thinned", len(pairs) - kept)
        return entry

    def _observe(self, unmatched: Sequence[Held], pairs: Sequence[Pair]) -> list[Observation]:
        sequence = self._head.sequence
        observations: list[Observation] = []
        for held in unmatched:
            record = held.record
            if record.side is Side.TEXT:
                observations.append(Observation(sequence, len(observations), record.zone, record, None, held.is_late))
            elif held.shed == NEVER and self._thin.keeps_frame(record, sequence, self._head.stream_ms):
                held.scored = sequence
                observations.append(Observation(sequence, len(observations), record.zone, None, record, held.is_late))
        for text, frame in pairs:
            if self._thin.keeps_pair(text, frame, sequence):
                is_late = text.is_late or frame.is_late
                is_shed = frame.shed != NEVER
                observations.append(
                    Observation(
                        sequence, len(observations), text.record.zone, text.record, frame.record, is_late, is_shed
                    )
                )
        for observation in observations:
            self._use_both(observation)
        self._to_score.extend(observations)
        return observations

    # -- deciding, in order ------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Decide what is finished, in sequence order; where nothing is in flight that is the head itself."""
        if not len(self._cut):
            self._reach(self._head)
            self._decide.expire(self._at.stream_ms, self._outputs.alerts)
            self._forget()
            return
        for entry in self._cut.ready():
            self._decide_entry(entry)
        if not len(self._cut):
            self._reach(self._head)
            self._forget()

    def _decide_entry(self, entry: Entry) -> None:
        self._reach(entry.position)
        outputs = self._outputs
        if entry.observations:
            self._judge(entry)
        else:
            self._decide.expire(entry.position.stream_ms, outputs.alerts)
        if entry.dead_letters:
            outputs.dead_letters.extend(entry.dead_letters)
        if entry.notices:
            outputs.notices.extend(entry.notices)
        if entry.journal:
            outputs.journal.extend(entry.journal)
        for name, number in entry.counts:
            self._count(None, name, number)
        for observation in entry.observations:
            self._unuse_both(observation)
        self._forget()

    def _judge(self, entry: Entry) -> None:
        pairs = [
            (observation, scored)
            for observation, scored in zip(entry.observations, entry.results, strict=True)
            if scored is not None
        ]
        judged = self._decide.judge(entry.position.stream_ms, pairs)
        self._outputs.alerts.extend(judged.alerts)
        self._outputs.decisions.extend(judged.decisions)
        self._outputs.dead_letters.extend(judged.dead_letters)
        for letter in judged.dead_letters:
            self._use(letter.ref)
            self._count(None, f"dead.{letter.reason}")

    def _reach(self, position: Position) -> None:
        at = self._at
        at.sequence, at.stream_ms, at.append_ms = position.sequence, position.stream_ms, position.append_ms
        at.next_text, at.next_frame = position.next_text, position.next_frame
        at.text_ms, at.frame_ms = position.text_ms, position.frame_ms

    def _forget(self) -> None:
        """Let go of what no state at or after the cut needs, and close the books on records that left the window."""
        for held in self._join.forget(self._at.sequence):
            name = _fate(held, has_failed=self._decide.forget(held.record))
            self._totals[name] = self._totals.get(name, 0) + 1
        self._seen.forget(self._at.stream_ms)

    # -- small things ------------------------------------------------------------------------------------------

    def _journal(self, entry: Entry | None, line: JournalText | JournalTick | JournalThinning | JournalSwitch) -> None:
        (self._outputs.journal if entry is None else entry.journal).append(line)

    def _count(self, entry: Entry | None, name: str, number: int = 1) -> None:
        if entry is not None:
            entry.counts.append((name, number))
        else:
            self._totals[name] = self._totals.get(name, 0) + number

    def _use(self, ref: Ref) -> None:
        self._uses[ref] = self._uses.get(ref, 0) + 1

    def _unuse(self, ref: Ref) -> None:
        left = self._uses[ref] - 1
        if left:
            self._uses[ref] = left
        else:
            del self._uses[ref]
            self._release_if_unused(ref)

    def _use_both(self, observation: Observation) -> None:
        for record in (observation.text, observation.frame):
            if record is not None:
                self._use(record.ref)

    def _unuse_both(self, observation: Observation) -> None:
        for record in (observation.text, observation.frame):
            if record is not None:
                self._unuse(record.ref)

    def _release_if_unused(self, ref: Ref) -> None:
        held = self._join.held.get(ref)
        if ref not in self._uses and (held is None or held.shed != NEVER):
            self._to_release.append(ref)

    def _restore(self, checkpoint: Checkpoint) -> None:
        cut = checkpoint.sequence
        for state in checkpoint.window:
            held = held_from(state, cut)
            self._join.restore(held)
            self._shed.enter(held)
        self._seen.restore(((Side(side), digest), expires) for side, digest, expires in checkpoint.seen)
        sampled = {(zone, camera): bucket for zone, camera, bucket in checkpoint.sampled}
        self._thin.restore(checkpoint.thinning_level, sampled)
        self._rate.restore(checkpoint.rates)
        self._totals = dict(checkpoint.totals)
        self._outputs.alerts.extend(
            self._decide.restore(
                checkpoint.decide,
                is_same_model=checkpoint.model == self._model,
                stream_ms=checkpoint.stream_ms,
            )
        )

    def _switch(self) -> None:
        """Journal the model and settings in force; a task's first step pins where it started."""
        self._head.sequence += 1
        entry = self._finish((), ())
        position = (self._head.next_text, self._head.next_frame)
        self._journal(entry, JournalSwitch(self._model.sha256, self._settings.sha256, *position))
        self._settle()


def _position_of(checkpoint: Checkpoint) -> Position:
    return Position(
        checkpoint.sequence,
        checkpoint.stream_ms,
        checkpoint.next_text,
        checkpoint.next_frame,
        checkpoint.append_ms,
        checkpoint.text_ms,
        checkpoint.frame_ms,
    )


def _fate(held: Held, *, has_failed: bool) -> str:
    """Name the line of the books that a record ends in; every record ends in exactly one."""
    is_matched = held.matched != NEVER
    if held.record.side is Side.TEXT:
        return "texts.dead" if has_failed else "texts.paired" if is_matched else "texts.alone"
    if has_failed:
        return "frames.dead"
    if held.scored != NEVER:
        return "frames.scored" if is_matched else "frames.alone"
    return "frames.thinned" if is_matched else "frames.unmet"
