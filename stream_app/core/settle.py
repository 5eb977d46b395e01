"""The deciding half of a task: entries in, decisions and counters out, in sequence order and never before their scores.

In: entries of the admitting half, and scores in any order. Out: what is to be published, the position of the cut, and
the counters. Its state is the state at the cut by construction.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from stream_app.core.cut import Cut, Entry, Position
from stream_app.core.decide import CROWDED_OUT
from stream_app.core.effects import Outputs
from stream_app.core.join import NEVER
from stream_app.core.types import Side

if TYPE_CHECKING:
    from stream_app.core.decide import Decide
    from stream_app.core.front import Front
    from stream_app.core.join import Held
    from stream_app.core.pins import Pins
    from stream_app.core.types import Scored


class Settle:
    """What is decided, and what waits to be."""

    __slots__ = ("_decide", "_front", "_pins", "at", "cut", "dead_letter_bytes", "outputs", "totals")

    def __init__(self, front: Front, decide: Decide, pins: Pins, totals: dict[str, int]) -> None:
        """Begin where the admitting half begins, with the task's counters so far."""
        self._front = front
        self._decide = decide
        self._pins = pins
        #: How far the cut has got.
        self.at: Position = copy(front.head)
        self.cut = Cut()
        self.outputs = Outputs()
        self.totals = totals
        #: Bytes of dead letters that are not yet in a step.
        self.dead_letter_bytes = 0

    def enter(self, entry: Entry) -> None:
        """Take the next entry, and decide what is finished."""
        for letter in entry.dead_letters:
            self._pins.pin(letter.ref)
            self.dead_letter_bytes += letter.size
        for observation in entry.observations:
            self._pins.pin_both(observation)
        for ref in entry.left:
            self._pins.let_go(ref)
        if len(self.cut) or entry.missing:
            self.cut.push(entry)
        else:
            self._decide_entry(entry)
            self._forget()

    def complete(self, scored: Scored) -> None:
        """Take one observation's scores, and decide what is finished.

        Raises:
            ValueError: if that observation is not in flight.
        """
        self.cut.complete(scored)
        at = self.at
        for entry in self.cut.ready():
            self._decide_entry(entry)
        if self.at is not at:
            self._forget()

    def take_outputs(self) -> Outputs:
        """Return what was decided since the last call."""
        outputs, self.outputs = self.outputs, Outputs()
        self.dead_letter_bytes -= sum(letter.size for letter in outputs.dead_letters)
        return outputs

    def _decide_entry(self, entry: Entry) -> None:
        outputs, position = self.outputs, entry.position
        if position.in_force is not self.at.in_force:
            outputs.alerts.extend(self._decide.switch(position.in_force, position.stream_ms))
        self.at = position
        if entry.observations:
            self._judge(entry)
        else:
            self._decide.expire(position.stream_ms, outputs.alerts)
        outputs.take(entry)
        totals = self.totals
        for name, number in entry.counts:
            totals[name] = totals.get(name, 0) + number
        for observation in entry.observations:
            self._pins.unpin_both(observation)

    def _forget(self) -> None:
        """Forget what left the window at or before the cut, and count what became of it: once for many entries."""
        totals = self.totals
        for held in self._front.forget(self.at):
            name = _fate(held, has_failed=self._decide.forget(held.record))
            totals[name] = totals.get(name, 0) + 1

    def _judge(self, entry: Entry) -> None:
        scored = [
            (observation, result)
            for observation, result in zip(entry.observations, entry.results, strict=True)
            if result is not None
        ]
        judged = self._decide.judge(entry.position.stream_ms, scored)
        self.outputs.alerts.extend(judged.alerts)
        for alert in judged.alerts:
            if alert.reason == CROWDED_OUT:
                self.totals["incidents.crowded-out"] = self.totals.get("incidents.crowded-out", 0) + 1
        self.outputs.decisions.extend(judged.decisions)
        self.outputs.dead_letters.extend(judged.dead_letters)
        for letter in judged.dead_letters:
            self._pins.pin(letter.ref)
            self.dead_letter_bytes += letter.size
            name = f"dead.{letter.reason}"
            self.totals[name] = self.totals.get(name, 0) + 1


def _fate(held: Held, *, has_failed: bool) -> str:
    """Name the counter that a record ends in; every record ends in exactly one."""
    is_matched = held.matched != NEVER
    if held.record.side is Side.TEXT:
        return "texts.dead" if has_failed else "texts.paired" if is_matched else "texts.alone"
    if has_failed:
        return "frames.dead"
    if held.scored != NEVER:
        return "frames.scored" if is_matched else "frames.alone"
    return "frames.thinned" if is_matched else "frames.unmet"
