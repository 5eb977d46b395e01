"""Plays a stream through a task with any timing of scores, commits and crashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from stream_app.config import Operational
from stream_app.core.checkpoint import decode_checkpoint
from stream_app.core.types import Side
from tests.core.drive import Shell, Trace
from tests.core.streams import Arrive, Op, Stream, Tick

if TYPE_CHECKING:
    from random import Random

    from stream_app.core.effects import Step

LIMITS = msgspec.structs.replace(Operational(in_flight=6).limits, outputs=12)


@dataclass
class Player:
    """Plays the operations of a stream in their order, whatever happens in between."""

    stream: Stream
    random: Random
    crash_rate: float = 0.0
    patience: float = 0.5
    trace: Trace = field(default_factory=Trace)
    crashes: int = 0
    lost_in_flight: int = 0

    def __post_init__(self) -> None:
        self.shell = self._new_shell(None)
        self.place = 0
        #: The sequence number after so many operations; the first step pins model and settings.
        self.sequences = [1]

    def play(self) -> Trace:
        """Play to the end, score and commit everything, and return what was seen."""
        while True:
            choice = self.random.random()
            if self.crashes < 4 and choice < self.crash_rate:
                self._crash()
            elif choice < self.patience and self.shell.flight:
                self.shell.score(self.random.choice(sorted(self.shell.flight)))
            elif choice < 0.6:
                self._commit_somehow()
            elif self.place < len(self.stream.ops):
                self.do(self.stream.ops[self.place])
            elif not self.shell.flight:
                break
        self.shell.settle()
        assert self.trace.steps[-1].sequence == self.sequences[-1]
        return self.trace

    def do(self, op: Op) -> None:
        """Do the next operation of the stream, once there is room for it."""
        shell, task = self.shell, self.shell.task
        self._make_room()
        sequence = self.sequences[self.place]
        if isinstance(op, Arrive):
            shell.live(op.side, op.raw)
            sequence += 1
        elif isinstance(op, Tick):
            shell.caught_up(*Side)
            if not task._front.join.held:
                shell.score_all()  # whether a tick is worth making depends on what is open then
            sequence += task.advance(op.to_ms)
            shell.pump(0)
        else:
            sequence += op.level != task.thinning_level
            task.set_thinning(op.level)
            shell.pump(0)
        self.place += 1
        if self.place == len(self.sequences):
            self.sequences.append(sequence)
        assert self.sequences[self.place] == sequence

    def _make_room(self) -> None:
        task = self.shell.task
        while task.in_flight >= LIMITS.in_flight or len(task._settle.outputs) + len(task._settle.cut) >= LIMITS.outputs:
            if self.shell.flight:
                self.shell.score(self.random.choice(sorted(self.shell.flight)))
            else:
                self.shell.commit()

    def _commit_somehow(self) -> None:
        if self.shell.open_step is None:
            self.shell.begin_commit()
        elif self.random.random() < 0.7:
            self.shell.confirm()

    def _crash(self) -> None:
        self.crashes += 1
        self.lost_in_flight += len(self.shell.flight)
        if self.shell.open_step is not None and self.random.random() < 0.5:
            self.trace.add(self.shell.open_step)  # the broker had it, the confirmation got lost
        self.shell = self._new_shell(self.trace.steps[-1] if self.trace.steps else None)
        self.place = 0
        if self.trace.steps:
            cut = self.trace.steps[-1].sequence
            self.place = max(place for place, sequence in enumerate(self.sequences) if sequence <= cut)
            self.shell.read_again(self.stream.log)

    def _new_shell(self, step: Step | None) -> Shell:
        checkpoint = None if step is None else decode_checkpoint(step.checkpoint)
        return Shell(self.stream.settings, self.stream.scores, trace=self.trace, limits=LIMITS, checkpoint=checkpoint)
