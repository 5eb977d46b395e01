"""Drives a task as a shell would: keeps bytes until they are released, answers scores in any order, commits, crashes.

The shell checks on every call what holds at all times: bytes are there when they are needed, nothing is released that
somebody still needs, and a step never passes unfinished work.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import structs

from stream_app.config import Operational
from stream_app.core.checkpoint import Checkpoint, decode_checkpoint
from stream_app.core.event_time import format_event_time
from stream_app.core.join import NEVER
from stream_app.core.settings import Limits, Semantic
from stream_app.core.task import Task
from stream_app.core.types import InForce, LabelRule, Model, Observation, Ref, Scored, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stream_app.core.effects import Step
    from stream_app.core.journal import JournalEntry
    from stream_app.core.types import Alert, DeadLetter, Decision, Notice

#: An arbitrary beginning, 2023-11-14, so that times look like times.
T0 = 1_700_000_000_000
MICRO = 1_000_000
MODEL = Model(
    "site",
    "1",
    "ab" * 32,
    (
        LabelRule("fight", is_alerting=True, open_at=2 * MICRO, close_at=MICRO),
        LabelRule("fire", is_alerting=True, open_at=2 * MICRO, close_at=0),
        LabelRule("calm", is_alerting=False, open_at=-9 * MICRO, close_at=-9 * MICRO),
    ),
)
IN_FORCE = InForce(MODEL, Semantic(), Semantic().sha256)


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as a Kafka client delivers it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def _headers(event_ms: int | None, identity: str | None, camera: str | None) -> list[tuple[str, bytes]]:
    headers = [] if event_ms is None else [("ce_time", format_event_time(event_ms).encode())]
    if identity is not None:
        headers += [("ce_source", b"/test"), ("ce_id", identity.encode())]
    return headers if camera is None else [*headers, ("camera", camera.encode())]


def raw_frame(
    offset: int, append_ms: int, *, event_ms: int | None = None, zone: str = "x", camera: str = "c1", size: int = 40,
    identity: str | None = None,
) -> Raw:  # fmt: skip
    """Make a frame: the first bytes of a PNG of 8 x 8 pixels, padded to ``size`` bytes."""
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 8, 8)
    return Raw(offset, append_ms, zone.encode(), png.ljust(size, b"\0"), _headers(event_ms, identity, camera))


def raw_text(
    offset: int, append_ms: int, *, event_ms: int | None = None, zone: str = "x", severity: int = 0,
    identity: str | None = None,
) -> Raw:  # fmt: skip
    """Make a text of the contract."""
    value = json.dumps({"text": f"alarm {offset}", "severity": severity}).encode()
    return Raw(offset, append_ms, zone.encode(), value, _headers(event_ms, identity, None))


@dataclass
class Scores:
    """A model that is a sum: a text and a frame each have a mood in logits; some records fail."""

    moods: dict[Ref, int] = field(default_factory=dict)
    failing: set[Ref] = field(default_factory=set)

    def of(self, observation: Observation) -> Scored:
        """Score one observation; equal observations get equal scores."""
        moods: list[int | None] = []
        failures: list[str | None] = []
        for record, is_shed in ((observation.text, False), (observation.frame, observation.is_image_shed)):
            has_failed = record is not None and not is_shed and record.ref in self.failing
            failures.append("undecodable" if has_failed else None)
            is_there = record is not None and not is_shed and not has_failed
            moods.append(self.moods.get(record.ref, 0) * MICRO if is_there and record is not None else None)
        text, image = moods
        both = text is not None and image is not None
        return Scored(
            observation.sequence,
            observation.index,
            None if text is None and image is None else _logits(text, image),
            _logits(text, None) if both else None,
            _logits(None, image) if both else None,
            failures[1],
            failures[0],
        )


def _logits(text: int | None, image: int | None) -> tuple[int, ...]:
    return ((text or 0) + (image or 0), (text or 0) - (image or 0), 0)


def _nameless(observation: Observation) -> Observation:
    text, frame = (one and structs.replace(one, identity=None) for one in (observation.text, observation.frame))
    return structs.replace(observation, text=text, frame=frame)


@dataclass
class Trace:
    """What subscribers saw: the outputs of all durable steps, in order."""

    alerts: list[Alert] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    journal: list[JournalEntry] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Take the outputs of a durable step."""
        self.alerts += step.alerts
        self.notices += step.notices
        self.decisions += step.decisions
        self.dead_letters += step.dead_letters
        self.journal += step.journal
        self.steps.append(step)

    @property
    def scored(self) -> list[tuple[int | None, int | None]]:
        """The decisions as (text offset, frame offset), in order."""
        both = [(decision.observation.text, decision.observation.frame) for decision in self.decisions]
        return [(text and text.offset, frame and frame.offset) for text, frame in both]  # type: ignore[misc]

    @property
    def judged(self) -> list[Decision]:
        """The decisions in order, without the digests of CloudEvents ids: a window that is restored has none."""
        return [structs.replace(one, observation=_nameless(one.observation)) for one in self.decisions]

    @property
    def state(self) -> Checkpoint:
        """The newest checkpoint."""
        return decode_checkpoint(self.steps[-1].checkpoint)


class Shell:
    """One epoch of a task and the bytes that it keeps for it."""

    def __init__(
        self,
        settings: Semantic,
        scores: Scores,
        *,
        trace: Trace | None = None,
        limits: Limits | None = None,
        checkpoint: Checkpoint | None = None,
        model: Model = MODEL,
        start: tuple[int, int] = (0, 0),
        settings_sha256: str = "",
    ) -> None:
        self.scores = scores
        self.trace = Trace() if trace is None else trace
        self.task = Task(
            settings,
            model,
            deployment="d",
            partition=0,
            limits=limits or Operational().limits,
            checkpoint=checkpoint,
            start=start,
            settings_sha256=settings_sha256,
        )
        self.kept: dict[Ref, Raw] = {}
        self.flight: dict[tuple[int, int], Observation] = {}
        self.open_step: Step | None = None

    def give(self, side: Side, *raws: Raw) -> None:
        """Deliver records of one side."""
        for raw in raws:
            self.kept[(side, raw.offset)] = raw
        self.task.receive(side, raws)

    def caught_up(self, *sides: Side) -> None:
        """Say that these sides are caught up, and the others are not."""
        for side in Side:
            self.task.set_caught_up(side, side in sides)

    def live(self, side: Side, raw: Raw) -> None:
        """Deliver one record while everything before it is admitted and both sides are caught up; admit it."""
        self.caught_up(*Side)
        self.give(side, raw)
        self.pump()
        assert not self.task.queued(side)

    def pump(self, at_most: int = 1_000) -> None:
        """Pump once and carry the effects out."""
        effects = self.task.pump(at_most)
        for observation in effects.score:
            name = (observation.sequence, observation.index)
            assert name not in self.flight
            self.flight[name] = observation
            self._check_bytes(observation)
        needed = self._needed()
        for ref in effects.release:
            assert ref not in needed, f"{ref} was released while it is needed"
            self.kept.pop(ref, None)

    def score(self, name: tuple[int, int]) -> None:
        """Answer one observation."""
        observation = self.flight[name]
        self._check_bytes(observation)
        del self.flight[name]
        self.task.scored(self.scores.of(observation))

    def score_all(self) -> None:
        """Answer everything in flight, newest first."""
        for name in sorted(self.flight, reverse=True):
            self.score(name)

    def begin_commit(self) -> Step | None:
        """Take the next step; it is not yet confirmed."""
        step = self.task.commit_due()
        if step is not None:
            self.open_step = step
            assert all(step.sequence < sequence for sequence, _ in self.flight), "the cut passed unfinished work"
            for letter in step.dead_letters:
                assert letter.ref in self.kept, f"the bytes of dead letter {letter.ref} are gone"
            found = decode_checkpoint(step.checkpoint)
            assert (step.commit_text, step.commit_frame) == (found.lowest(Side.TEXT), found.lowest(Side.FRAME))
            assert found.sequence == step.sequence
        return step

    def confirm(self) -> None:
        """Confirm the open step."""
        assert self.open_step is not None
        self.trace.add(self.open_step)
        self.open_step = None
        self.task.committed()

    def commit(self) -> None:
        """Take and confirm a step, if there is one."""
        if self.open_step is not None:
            self.confirm()
        if self.begin_commit() is not None:
            self.confirm()

    def settle(self) -> None:
        """Admit, score and commit until nothing moves any more."""
        while True:
            before = len(self.trace.steps)
            self.pump()
            self.score_all()
            self.commit()
            if len(self.trace.steps) == before and not self.flight:
                return

    def finish(self, *, after_ms: int) -> None:
        """Settle, and tick until everything is closed; then nothing may be kept."""
        self.caught_up(*Side)
        self.settle()
        for _ in range(4):
            self.task.advance(max(self.task.stream_ms, T0) + after_ms)
            self.settle()
        task = self.task
        assert not task._front.join.held
        assert not task._decide.has_open
        assert not any((task.in_flight, task.has_uncommitted, task.queued(Side.TEXT), task.queued(Side.FRAME)))
        self.pump()
        assert not self.kept, f"never released: {sorted(self.kept)}"
        assert self.task.window_bytes == 0

    def read_again(self, log: Mapping[Side, Sequence[Raw]]) -> None:
        """Read the log again from the committed offsets up to the positions, as a successor does."""
        state = self.task.checkpoint()
        for side, position in ((Side.TEXT, state.next_text), (Side.FRAME, state.next_frame)):
            self.give(side, *(raw for raw in log[side] if state.lowest(side) <= raw.offset < position))
        self.pump(0)
        for ref, held in self.task._front.join.held.items():
            assert (ref in self.kept) == (held.shed == NEVER), ref

    def _check_bytes(self, observation: Observation) -> None:
        for record in (observation.text, observation.frame):
            if record is not None and not (record.side is Side.FRAME and observation.is_image_shed):
                assert record.ref in self.kept, f"the bytes of {record.ref} are gone"
                assert bool(record.text) == (record.side is Side.TEXT), f"{record.ref} says {record.text!r}"

    def _needed(self) -> set[Ref]:
        task = self.task
        needed = {ref for ref, held in task._front.join.held.items() if held.shed == NEVER}
        for one in self.flight.values():
            needed |= {
                record.ref for record in (one.text, None if one.is_image_shed else one.frame) if record is not None
            }
        letters: Iterable[DeadLetter] = [
            *task._settle.outputs.dead_letters,
            *(letter for entry in task._settle.cut._entries for letter in entry.dead_letters),
            *(self.open_step.dead_letters if self.open_step is not None else ()),
        ]
        needed |= {letter.ref for letter in letters}
        return needed | {(item.side, item.offset) for queue in task._merge._queues for item, _ in queue}
