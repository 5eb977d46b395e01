"""The task: partition p of the frames topic and partition p of the texts topic, composed of the stages before it.

In: raw records of each side, whether a side is caught up, ticks, overload levels, switches of model and settings,
scores, "commit due", "committed". Out: effects (score these, release these bytes) and steps (commit these together). It
knows no Kafka, no inference, no wall time; the same inputs give the same outputs. Live running, replay and tests drive
this one object: a live task orders records itself (:meth:`Task.receive`), a replay gives the order (:meth:`Task.take`).

Guarantees: a step contains everything decided up to its cut and nothing later; a task that is restored from a step's
checkpoint and reads on from the lowest offsets that it needs continues as if it had never stopped. Until all that it
needs has come it is *restoring*: it admits nothing, makes no tick and no step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.decide import Decide
from stream_app.core.digest import record_digest
from stream_app.core.effects import Effects
from stream_app.core.front import Front
from stream_app.core.inlet import Inlet
from stream_app.core.merge import Merge
from stream_app.core.pins import Pins
from stream_app.core.settle import Settle
from stream_app.core.steps import Steps
from stream_app.core.thin import MAX_LEVEL
from stream_app.core.types import InForce, Side

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.core.checkpoint_state import Checkpoint
    from stream_app.core.cut import Entry
    from stream_app.core.effects import Step
    from stream_app.core.merge import Intake
    from stream_app.core.settings import Limits, Semantic
    from stream_app.core.types import Model, Observation, RawRecord, Scored


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
        settings_sha256: str = "",
    ) -> None:
        """Make a task. Where its checkpoint was made by another model or other settings, it begins with a switch.

        Args:
            settings: the semantic settings to start with.
            model: the bundle to start with.
            deployment: name of the deployment; part of every incident id.
            partition: the partition of both input topics.
            limits: bounds that change no result.
            checkpoint: the newest checkpoint, or None for a task that never ran.
            start: next text and next frame offset where there is no checkpoint.
            settings_sha256: names the settings in the journal; empty for the hash of the semantic settings alone.
        """
        given = InForce(model, settings.check(), settings_sha256 or settings.sha256)
        in_force = given if checkpoint is None else checkpoint.in_force(given)
        self._limits = limits
        self._merge = Merge(limits)
        self._front = Front(in_force, checkpoint, start)
        self._pins = Pins(self._front.join.held)
        self._decide = Decide(in_force, deployment=deployment, partition=partition)
        totals = dict(checkpoint.totals) if checkpoint is not None else {}
        self._settle = Settle(self._front, self._decide, self._pins, totals)
        self._inlet = Inlet(self._front, self._merge, self._pins)
        self._steps = Steps(self._front, self._decide, self._settle, self._pins, (deployment, partition))
        self._to_score: list[Observation] = []
        if checkpoint is None:
            self._enter(self._front.switch(given))
        else:
            self._decide.restore(checkpoint.decide, checkpoint.failed)
            self._switch(given)

    # -- inputs ------------------------------------------------------------------------------------------------

    def receive(self, side: Side, raws: Iterable[RawRecord]) -> None:
        """Take records of one side, in offset order; the shell keeps each one's bytes until they are released.

        Records below the position were judged before (they come again after a restart or a seek): they put the window
        back where a checkpoint still needs them, their bytes are kept where the window does, and released otherwise.

        Raises:
            LostError: if a record that the checkpoint needs is gone, or is another one.
        """
        self._inlet.receive(side, raws)

    def take(self, side: Side, raws: Iterable[RawRecord]) -> None:
        """Admit records of one side at once, past the merge: for a replay, which knows their place in the order.

        No bound on work is looked at: whoever gives the order gives the scores too. Records below the position are
        taken as in :meth:`receive`.

        Raises:
            LostError: if a record that the checkpoint needs is gone, or is another one.
            ValueError: if the merge still holds records, whose place would be lost, or if the task is restoring.
        """
        for intake, raw in self._inlet.in_order(side, raws):
            self._admit(intake, raw)

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
        if to_ms <= self._front.head.stream_ms or not self._merge.is_idle or self.is_restoring:
            return False
        if not self._front.join.held and not self._decide.has_open:
            return False
        self._enter(self._front.tick(to_ms))
        return True

    def tick(self, to_ms: int) -> None:
        """Advance stream time because a journal says so; what :meth:`advance` asked was asked then.

        Raises:
            ValueError: if that would move stream time back, or if the task is restoring.
        """
        if self.is_restoring:
            message = "tick: expected all records that the checkpoint needs before, found some missing"
            raise ValueError(message)
        if to_ms < self._front.head.stream_ms:
            message = f"tick: expected a time from {self._front.head.stream_ms} on, found {to_ms}"
            raise ValueError(message)
        self._enter(self._front.tick(to_ms))

    def switch(self, model: Model, settings: Semantic, settings_sha256: str = "") -> bool:
        """Put a model and settings in force from the next sequence number on; journaled.

        What was made before is scored and decided by what was in force then; records that are held stay, and meet
        their further partners by the new settings; queued ones are admitted by them.

        Args:
            model: the bundle.
            settings: the semantic settings.
            settings_sha256: names the settings on the wire; empty for the hash of the semantic settings alone.

        Returns:
            Whether that changed anything.

        Raises:
            SettingsError: if a value breaks a guarantee.
        """
        return self._switch(InForce(model, settings.check(), settings_sha256 or settings.sha256))

    def set_thinning(self, level: int) -> None:
        """Sample texts that are admitted from here on at ``sample_ms << level`` (0 to 3); journaled.

        Raises:
            ValueError: if the level is out of range.
        """
        if not 0 <= level <= MAX_LEVEL:
            message = f"thinning level: expected 0-{MAX_LEVEL}, found {level}"
            raise ValueError(message)
        if level != self._front.thinning_level:
            self._enter(self._front.set_level(level))

    def scored(self, scored: Scored) -> None:
        """Take the scores of one observation.

        Raises:
            ValueError: if that observation is not in flight.
        """
        self._settle.complete(scored)

    def pump(self, at_most: int = 1_000) -> Effects:
        """Admit what may be admitted, at most so many records, and return what is asked of the shell since then."""
        taken = 0
        merge, settle, limits = self._merge, self._settle, self._limits
        cut = settle.cut
        is_open = not self.is_restoring
        decided = len(settle.outputs)
        while is_open and taken < at_most:
            waiting = len(cut)
            if not waiting:
                # While something waits nothing is decided, and what was decided need not be counted again.
                decided = len(settle.outputs)
            # What waits behind one slow score is counted too: it holds the bytes of its dead letters.
            if (
                cut.in_flight >= limits.in_flight
                or decided + waiting >= limits.outputs
                or settle.dead_letter_bytes >= limits.dead_letter_bytes
            ):
                is_open = False
                break
            first = merge.next()
            if first is None:
                is_open = False
                break
            self._admit(*first)
            taken += 1
        to_score, self._to_score = self._to_score, []
        return Effects(tuple(to_score), self._pins.take_released(), is_open)

    def commit_due(self) -> Step | None:
        """Return the next step, or None when nothing changed or the last step is not yet confirmed."""
        return self._steps.next()

    def committed(self) -> None:
        """Say that the last step is confirmed.

        Raises:
            ValueError: if no step is open.
        """
        self._steps.confirm()

    # -- what can be seen --------------------------------------------------------------------------------------

    @property
    def wants_commit(self) -> bool:
        """Whether a step should not wait: there is an alert or a notice, or half of what a step may hold is there."""
        outputs, limits = self._settle.outputs, self._limits
        is_large = len(outputs) * 2 >= limits.outputs or self._settle.dead_letter_bytes * 2 >= limits.dead_letter_bytes
        return bool(outputs.alerts or outputs.notices) or is_large

    @property
    def has_uncommitted(self) -> bool:
        """Whether something was decided that no confirmed step holds yet."""
        return self._steps.has_news

    @property
    def is_held_up(self) -> bool:
        """Whether admission is blocked by work in flight while records wait: a sign of overload when it lasts."""
        waiting = self._merge.queued(Side.TEXT) + self._merge.queued(Side.FRAME)
        return waiting > 0 and self._settle.cut.in_flight >= self._limits.in_flight

    @property
    def is_idle(self) -> bool:
        """Whether both sides are caught up and nothing is queued, so that a tick may come."""
        return self._merge.is_idle

    @property
    def is_restoring(self) -> bool:
        """Whether records that the checkpoint needs have not all come again."""
        return self._front.restoring is not None

    def awaited(self, side: Side) -> int | None:
        """Return the lowest offset of one side that the checkpoint needs and that has not come, if there is one."""
        restoring = self._front.restoring
        return None if restoring is None else restoring.awaited(side)

    @property
    def thinning_level(self) -> int:
        """The thinning level in force."""
        return self._front.thinning_level

    @property
    def window_bytes(self) -> int:
        """Image bytes that the window holds."""
        return self._front.window_bytes

    @property
    def in_flight(self) -> int:
        """Observations that wait for their scores."""
        return self._settle.cut.in_flight

    @property
    def sequence(self) -> int:
        """The newest sequence number: that of the head of the merge order."""
        return self._front.head.sequence

    @property
    def stream_ms(self) -> int:
        """Stream time at the head of the merge order, in ms."""
        return self._front.head.stream_ms

    @property
    def totals(self) -> dict[str, int]:
        """Counts since the task first ran, as of the cut; they travel with the checkpoint. A copy."""
        return dict(self._settle.totals)

    def is_full(self, side: Side) -> bool:
        """Return whether this side's partition should be paused; never true of a side that is waited for."""
        return self._merge.is_full(side)

    def queued(self, side: Side) -> int:
        """Return the number of records of one side that wait in the merge."""
        return self._merge.queued(side)

    def next_admitted(self, side: Side) -> int:
        """Return the next offset of one side that was not yet admitted."""
        return self._front.next_of(side)

    def checkpoint(self) -> Checkpoint:
        """Return the state at the cut."""
        return self._steps.checkpoint()

    def _switch(self, to: InForce) -> bool:
        before = self._front.head.in_force
        if to == before:
            return False
        self._enter(self._front.switch(to))
        if to.settings != before.settings:
            self._inlet.admit_again()
        return True

    def _admit(self, intake: Intake, raw: RawRecord) -> None:
        entry = self._front.take(intake)
        entry.digest = record_digest(intake.side, raw)
        self._enter(entry)

    def _enter(self, entry: Entry) -> None:
        if entry.observations:
            self._to_score.extend(entry.observations)
        self._settle.enter(entry)
