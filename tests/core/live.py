"""Plays a task as it is run live: two feeds with a timing of their own, crashes, resets, switches, ticks, overload.

Nothing here chooses the merge order: it comes of what was fetched when, and of what each side was believed to have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from stream_app.core.checkpoint import decode_checkpoint
from stream_app.core.journal import JournalReset
from stream_app.core.types import LabelRule, Model, Side
from tests.core.drive import MICRO, MODEL, Scores, Shell, Trace
from tests.core.play import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from stream_app.core.effects import Step
    from stream_app.core.settings import Semantic
    from stream_app.core.types import Observation, Scored
    from tests.core.streams import Stream

#: Another model: one label less, the others in another order and with other thresholds.
OTHER = Model(
    "site",
    "2",
    "cd" * 32,
    (
        LabelRule("fire", is_alerting=True, open_at=MICRO, close_at=0),
        LabelRule("fight", is_alerting=False, open_at=MICRO, close_at=0),
    ),
)


@dataclass
class ScoresOfTwo(Scores):
    """Both models; whoever mixes them up finds another number of labels."""

    def of(self, observation: Observation) -> Scored:
        """Score an observation by the model that it names."""
        scored = super().of(observation)
        if observation.model == MODEL.sha256:
            return scored
        assert observation.model == OTHER.sha256
        first_two = [logits and logits[1::-1] for logits in (scored.full, scored.without_image, scored.without_text)]
        full, without_image, without_text = first_two
        return type(scored)(
            scored.sequence, scored.index, full, without_image, without_text, scored.image_failure, scored.text_failure
        )


@dataclass
class Durable:
    """What one transaction left behind: a step, the first of its epoch or not; or a reset."""

    step: Step | None
    is_first: bool = False
    reset: JournalReset | None = None


@dataclass
class Live:
    """Plays the log of a stream to its end. What is in force is one of the two models with one of the settings."""

    stream: Stream
    other_settings: Semantic
    random: Random
    durable: list[Durable] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.scores = ScoresOfTwo(self.stream.scores.moods, self.stream.scores.failing)
        # Under the other settings some texts are refused, so what was queued at a switch counts.
        self.other_settings = replace(self.other_settings, max_ahead_ms=5)
        self.times = [raw.timestamp for raws in self.stream.log.values() for raw in raws] or [0]
        self.is_first = True
        self.given: dict[Side, int] = {}
        self.shell = self._begin(None)

    def play(self) -> list[Durable]:
        """Do this and that in random order until all is read; then let everything close, and return what is durable."""
        acts: list[Callable[[], None]] = [
            *[self._fetch] * 6, *[self._pump] * 6, *[self._commit] * 2, *[self._believe] * 2, *[self._tick] * 3,
            self._score, self._thin,
        ]  # fmt: skip
        rare = (*[self._switch] * 4, *[self._crash] * 2, self._reset)
        while any(self.given[side] < len(self.stream.log[side]) for side in Side):
            self.random.choice(rare if self.random.random() < 0.15 else acts)()
        self.shell.caught_up(*Side)
        self._settle()
        self._tick(later_ms=5_000)
        self._settle()
        return self.durable

    def _fetch(self) -> None:
        side = self.random.choice(list(Side))
        at, log = self.given[side], self.stream.log[side]
        until = min(len(log), at + self.random.randint(1, 4))
        self.given[side] = until
        self.shell.give(side, *log[at:until])

    def _believe(self) -> None:
        """A last fetch that reached the end makes a side caught up, whatever was appended since."""
        for side in Side:
            self.shell.task.set_caught_up(side, self.random.random() < 0.7)

    def _pump(self) -> None:
        self.shell.pump(self.random.randint(0, 5))

    def _score(self) -> None:
        if self.shell.flight:
            self.shell.score(self.random.choice(sorted(self.shell.flight)))

    def _commit(self) -> None:
        if self.shell.open_step is None:
            self.shell.begin_commit()
        else:
            self._confirm()

    def _confirm(self) -> None:
        assert self.shell.open_step is not None
        self.durable.append(Durable(self.shell.open_step, self.is_first))
        self.is_first = False
        self.shell.confirm()

    def _tick(self, later_ms: int = 0) -> None:
        """Whether a tick comes is asked of what is open at the cut: so a replay cannot ask again."""
        task = self.shell.task
        had_work = task.in_flight > 0
        if task.advance(self.random.choice(self.times) + self.random.choice((0, 1, 50)) + later_ms):
            self.done.add("a tick with work in flight" if had_work else "a tick")

    def _thin(self) -> None:
        self.shell.task.set_thinning(self.random.randint(0, 3))

    def _choice(self) -> tuple[Model, Semantic, str]:
        settings = self.random.choice((self.stream.settings, self.other_settings))
        return self.random.choice((MODEL, OTHER)), settings, self.random.choice(("11" * 32, settings.sha256))

    def _switch(self) -> None:
        had_work = self.shell.task.in_flight > 0
        if self.shell.task.switch(*self._choice()):
            self.done.add("a switch with work in flight" if had_work else "a switch")

    def _crash(self) -> None:
        if self.shell.open_step is not None and self.random.random() < 0.5:
            self._confirm()  # the broker had it, the confirmation got lost
        steps = [one.step for one in self.durable if one.step is not None or one.reset is not None]
        self.shell = self._begin(steps[-1] if steps else None)
        self.done.add("a crash")

    def _reset(self) -> None:
        """An operator gives up the state; a task that never committed has none."""
        if not self.durable:
            return
        at = [self.random.randint(0, self.given[side]) for side in Side]
        nexts = [log[place].offset if place < len(log) else self._end(side)
                 for side, place, log in zip(Side, at, self.stream.log.values(), strict=True)]  # fmt: skip
        self.durable.append(Durable(None, reset=JournalReset(*nexts)))
        self.shell = self._begin(None)
        self.done.add("a reset")

    def _end(self, side: Side) -> int:
        log = self.stream.log[side]
        return log[-1].offset + 1 if log else 0

    def _begin(self, step: Step | None) -> Shell:
        """Begin an epoch, with whatever its owner has in force."""
        model, settings, settings_sha256 = self._choice()
        resets = [one.reset for one in self.durable if one.reset is not None]
        start = (resets[-1].next_text, resets[-1].next_frame) if resets else (0, 0)
        self.is_first = True
        shell = Shell(
            settings,
            self.scores,
            trace=Trace(),
            limits=LIMITS,
            checkpoint=None if step is None else decode_checkpoint(step.checkpoint),
            model=model,
            start=start,
            settings_sha256=settings_sha256,
        )
        if step is not None:
            shell.read_again(self.stream.log)
        self.given = {
            side: sum(1 for raw in self.stream.log[side] if raw.offset < shell.task.next_admitted(side))
            for side in Side
        }
        return shell

    def _settle(self) -> None:
        while True:
            before = len(self.durable)
            self.shell.pump()
            self.shell.score_all()
            for _ in range(2):
                self._commit()
            if len(self.durable) == before and not self.shell.flight:
                return
