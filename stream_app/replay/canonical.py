"""A recording judged anew, canonically: the same order and the same ticks, whatever judges it and on what machine.

In: a recording, one or several runs (what is to be in force, and a scorer), and who takes what they decide. Out:
alerts, decisions, notices and dead letters as values of the core, and counters. It knows no files, no inference and no
clock.

Canonical means: each task starts from nothing at the recording's first input; records enter by append time; ticks come
of the gaps between append times alone; the thinning level stays 0; frames are shed by `window_bytes` alone, which is
semantic. So two runs differ by what is in force, never by how fast a machine was, and how many scores are in flight
and in which order they come back changes no output. Where the overload of that time is asked for, ticks and thinning
levels are the journal's, and all else is the same.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from stream_app.core.types import Alert, DeadLetter, Decision, InForce, Notice, Side
from stream_app.replay.in_force import told_by
from stream_app.replay.lane import Lane, Pacing
from stream_app.replay.reading import readable
from stream_app.replay.recording import RecordingError
from stream_app.replay.sharing import shared
from stream_app.replay.track import Track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from stream_app.core.effects import Step
    from stream_app.replay.overload import Overload
    from stream_app.replay.recording import Kind, Recording, TopicRecord
    from stream_app.replay.rewriting import Rewriter
    from stream_app.replay.track import Pace
    from stream_app.runtime.ports.scoring import Scorer
    from stream_app.wire.step import Payloads

#: After so many records the event loop gets its turn, for scores to come back and for Ctrl-C, and progress is told.
_RECORDS_A_TURN = 256
_epochs = itertools.count(1)
_SIDES = {"frames": Side.FRAME, "texts": Side.TEXT}
_KINDS: dict[Side, Kind] = {Side.FRAME: "frames", Side.TEXT: "texts"}


class Run(msgspec.Struct, frozen=True):
    """One way to judge the recording: what is in force from its first input to its last, and what scores."""

    in_force: InForce
    scorer: Scorer


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A part of what one task of one run decided, in its order; the parts of a task follow one another."""

    run: int
    partition: int
    alerts: tuple[Alert, ...]
    decisions: tuple[Decision, ...]
    notices: tuple[Notice, ...]
    dead_letters: tuple[DeadLetter, ...]


class Reached(msgspec.Struct, frozen=True):
    """How far a replay has come: append times of the first and the newest input, in ms, and how many it has read."""

    first_ms: int
    now_ms: int
    records: int


class Done(msgspec.Struct, frozen=True):
    """What a replay went through: append times of the first and the last input (None: there was none), and counters.

    ``totals`` are per run the counters of all its tasks, named as in ``vigil task show``. ``left_out`` are records that
    the recording has without their values, such as those of other zones. ``judges`` is how many different models or
    settings the journal names, one after the other. ``lost`` says what cannot be read, empty where all could.
    ``unjournaled`` are tasks whose overload was asked for and is not known: their ticks are canonical.
    """

    first_ms: int | None
    last_ms: int | None
    frames: int
    texts: int
    totals: tuple[dict[str, int], ...]
    left_out: int = 0
    judges: int = 0
    lost: str = ""
    unjournaled: tuple[int, ...] = ()


async def replay(
    recording: Recording,
    runs: Sequence[Run],
    *,
    take: Callable[[Judged], None],
    pace: Pace,
    overload: Mapping[int, Overload] | None = None,
    rewriter: Rewriter | None = None,
    tell: Callable[[Reached], None] = lambda _: None,
) -> Done:
    """Judge a recording, read once, in every run.

    Runs with one scorer share its features: a frame is decoded and encoded once for all of them.

    Args:
        recording: with pictures.
        runs: at least one.
        take: is given what is decided, soon after.
        pace: idle time and limits.
        overload: ticks and thinning levels of that time, by task; None: of the gaps, and none.
        rewriter: gets all that a recording of the first run is made of.
        tell: is told about the progress, by append time.

    Raises:
        RecordingError: if the recording has no pictures. What cannot be read of it is said in the result.
    """
    if not recording.about.has_pictures:
        raise RecordingError("expected a recording with pictures, found one made without: nothing can be scored again")
    driver = _Driver(recording, runs, take, pace, overload, rewriter)
    try:
        for count, (kind, record) in enumerate(driver.readable(), 1):
            if kind in _SIDES:
                await driver.enter(_SIDES[kind], record)
            elif kind == "journal":
                driver.note(record)
            if count % _RECORDS_A_TURN == 0:
                await asyncio.sleep(0)
                driver.tell(tell)
        await driver.finish()
        driver.tell(tell)
        return driver.done()
    finally:
        driver.close()


class _Driver:
    """The tasks of all runs, and what they have been given."""

    def __init__(
        self, recording: Recording, runs: Sequence[Run], take: Callable[[Judged], None], pace: Pace,
        overload: Mapping[int, Overload] | None, rewriter: Rewriter | None,
    ) -> None:  # fmt: skip
        self._recording = recording
        self._deployment = recording.about.deployment
        # A scorer that judged another recording before must not take its records for this one's.
        self._epoch = next(_epochs)
        self._runs = runs
        self._scorers = shared([run.scorer for run in runs])
        self._take = take
        self._pace = pace
        self._overload = overload
        self._rewriter = rewriter
        self._tracks: dict[int, Track] = {}
        self._counts = [0, 0]
        self._left_out = 0
        self._judges: set[tuple[str, str]] = set()
        self._lost: list[str] = []
        self._first_ms: int | None = None
        self._last_ms: int | None = None

    def readable(self) -> Iterator[tuple[Kind, TopicRecord]]:
        return readable(self._recording, self._lost)

    def note(self, record: TopicRecord) -> None:
        """Note who judged when the recording was made; a journal that cannot be read spoils no input."""
        try:
            for in_force in told_by(record, self._deployment):
                self._judges.add((in_force.model.sha256, in_force.settings_sha256))
        except RecordingError as error:
            self._lost.append(str(error))

    async def enter(self, side: Side, record: TopicRecord) -> None:
        if record.value is None and record.size:
            self._left_out += 1
            return
        self._counts[side] += 1
        if self._first_ms is None or self._last_ms is None:
            self._first_ms = self._last_ms = record.append_ms
        self._first_ms = min(self._first_ms, record.append_ms)
        self._last_ms = max(self._last_ms, record.append_ms)
        track = self._tracks.get(record.partition)
        if track is None:
            told = None if self._overload is None else self._overload.get(record.partition)
            track = self._tracks[record.partition] = Track(self._lanes(record.partition), self._pace, told)
        await track.enter(side, record)
        if self._rewriter is not None:
            # Behind the steps of what was appended before it.
            self._rewriter.add(_KINDS[side], record)

    async def finish(self) -> None:
        for track in self._tracks.values():
            await track.finish()

    def tell(self, tell: Callable[[Reached], None]) -> None:
        if self._first_ms is not None and self._last_ms is not None:
            tell(Reached(self._first_ms, self._last_ms, sum(self._counts)))

    def done(self) -> Done:
        totals = [Counter[str]() for _ in self._runs]
        for track in self._tracks.values():
            for total, lane in zip(totals, track.lanes, strict=True):
                total.update(lane.totals)
        texts, frames = self._counts
        return Done(
            self._first_ms,
            self._last_ms,
            frames,
            texts,
            tuple(dict(total) for total in totals),
            self._left_out,
            len(self._judges),
            "; ".join(dict.fromkeys(self._lost)),
            () if self._overload is None else tuple(sorted(self._tracks.keys() - self._overload.keys())),
        )

    def close(self) -> None:
        for track in self._tracks.values():
            for lane in track.lanes:
                lane.close()

    def _lanes(self, partition: int) -> tuple[Lane, ...]:
        rewriter = self._rewriter
        pacing = None if rewriter is None else Pacing(step_ms=rewriter.step_ms, idle_ms=self._pace.idle_ms)
        return tuple(
            Lane(
                run.in_force,
                scorer,
                deployment=self._deployment,
                partition=partition,
                epoch=self._epoch,
                limits=self._pace.limits,
                take=partial(self._hand_on, number, partition),
                pacing=pacing,
            )
            for number, (run, scorer) in enumerate(zip(self._runs, self._scorers, strict=True))
        )

    def _hand_on(self, run: int, partition: int, step: Step, payloads: Payloads, append_ms: int) -> None:
        if run == 0 and self._rewriter is not None:
            self._rewriter.take(partition, step, payloads, append_ms)
        if step.alerts or step.decisions or step.notices or step.dead_letters:
            self._take(
                Judged(
                    run=run,
                    partition=partition,
                    alerts=step.alerts,
                    decisions=step.decisions,
                    notices=step.notices,
                    dead_letters=step.dead_letters,
                )
            )
