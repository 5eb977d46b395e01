"""A recording judged anew, canonically: the same order and the same ticks, whatever judges it and on what machine.

In: a recording, one or several runs (what is to be in force, and a scorer), and who takes what they decide. Out:
alerts, decisions, notices and dead letters as values of the core, and counters. It knows no files, no inference and no
clock.

Canonical means: each task starts from nothing at the recording's first input; records enter by append time; ticks come
of the gaps between append times alone; the thinning level stays 0; frames are shed by `window_bytes` alone, which is
semantic. So two runs differ by what is in force, never by how
fast a machine was, and how many scores are in flight and in which order they come back changes no output.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from stream_app.core.settings import Limits
from stream_app.core.types import Alert, DeadLetter, Decision, InForce, Notice, Side
from stream_app.replay.in_force import told_by
from stream_app.replay.lane import Lane
from stream_app.replay.reading import readable
from stream_app.replay.recording import RecordingError
from stream_app.replay.sharing import shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stream_app.core.effects import Step
    from stream_app.replay.recording import Kind, Recording, TopicRecord
    from stream_app.runtime.ports.scoring import Scorer

#: Ticks of a gap lie this far apart, in ms, as those of a live task do.
TICK_EVERY_MS = 1_000
#: After so many records the event loop gets its turn, for scores to come back and for Ctrl-C, and progress is told.
_RECORDS_A_TURN = 256
_epochs = itertools.count(1)
_SIDES = {"frames": Side.FRAME, "texts": Side.TEXT}


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay needs to be told beside what is in force.

    ``idle_ms`` is the setting of that name: a gap between append times that is longer gives ticks. ``limits`` bound
    memory and work, and change no output.
    """

    idle_ms: int
    limits: Limits


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
    """

    first_ms: int | None
    last_ms: int | None
    frames: int
    texts: int
    totals: tuple[dict[str, int], ...]
    left_out: int = 0
    judges: int = 0
    lost: str = ""


async def replay(
    recording: Recording,
    runs: Sequence[Run],
    *,
    take: Callable[[Judged], None],
    pace: Pace,
    tell: Callable[[Reached], None] = lambda _: None,
) -> Done:
    """Judge a recording, read once, in every run.

    Runs with one scorer share its features: a frame is decoded and encoded once for all of them.

    Args:
        recording: with pictures.
        runs: at least one.
        take: is given what is decided, soon after.
        pace: idle time and limits.
        tell: is told about the progress, by append time.

    Raises:
        RecordingError: if the recording has no pictures. What cannot be read of it is said in the result.
    """
    if not recording.about.has_pictures:
        raise RecordingError("expected a recording with pictures, found one made without: nothing can be scored again")
    driver = _Driver(recording, runs, take, pace)
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

    def __init__(self, recording: Recording, runs: Sequence[Run], take: Callable[[Judged], None], pace: Pace) -> None:
        self._recording = recording
        self._deployment = recording.about.deployment
        # A scorer that judged another recording before must not take its records for this one's.
        self._epoch = next(_epochs)
        self._runs = runs
        self._scorers = shared([run.scorer for run in runs])
        self._take = take
        self._pace = pace
        self._tracks: dict[int, _Track] = {}
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
            self._first_ms = self._last_ms = record.timestamp
        self._first_ms = min(self._first_ms, record.timestamp)
        self._last_ms = max(self._last_ms, record.timestamp)
        track = self._tracks.get(record.partition)
        if track is None:
            track = self._tracks[record.partition] = _Track(self._lanes(record.partition), self._pace)
        await track.enter(side, record)

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
        )

    def close(self) -> None:
        for track in self._tracks.values():
            for lane in track.lanes:
                lane.close()

    def _lanes(self, partition: int) -> tuple[Lane, ...]:
        return tuple(
            Lane(
                run.in_force,
                scorer,
                deployment=self._deployment,
                partition=partition,
                epoch=self._epoch,
                limits=self._pace.limits,
                take=partial(self._hand_on, number, partition),
            )
            for number, (run, scorer) in enumerate(zip(self._runs, self._scorers, strict=True))
        )

    def _hand_on(self, run: int, partition: int, step: Step) -> None:
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


class _Track:
    """The inputs of one task, given to its lanes of all runs: record by record, with the ticks in between.

    Which of a text and a frame comes first is the core's to say (:mod:`stream_app.core.merge`), and it can say so once
    it has both. So records wait until one with a later append time than all before shows that no other can come
    between; a recording has no topic that is "caught up" in any other sense.
    """

    def __init__(self, lanes: tuple[Lane, ...], pace: Pace) -> None:
        self.lanes = lanes
        self._pace = pace
        self._waiting: tuple[list[TopicRecord], list[TopicRecord]] = ([], [])
        self._bytes = 0
        #: The latest append time of what waits and of all before.
        self._append_ms: int | None = None

    async def enter(self, side: Side, record: TopicRecord) -> None:
        append_ms = record.timestamp
        if self._append_ms is None or append_ms > self._append_ms:
            await self._admit()
            if self._append_ms is not None:
                await self._tick(_gap(self._append_ms, append_ms - self._pace.idle_ms))
            self._append_ms = append_ms
        elif self._is_full():
            # Only where very many share an append time; a text behind the bound then comes after frames before it.
            await self._admit()
        self._waiting[side].append(record)
        self._bytes += record.size

    async def finish(self) -> None:
        """Let everything come to its end: ticks go on until nothing is held or open."""
        await self._admit()
        if self._append_ms is not None:
            first_ms = self._append_ms + TICK_EVERY_MS
            for lane in self.lanes:
                await lane.tick(range(first_ms, first_ms + lane.longest_ms + TICK_EVERY_MS, TICK_EVERY_MS))
        for lane in self.lanes:
            await lane.finish()

    def _is_full(self) -> bool:
        limits = self._pace.limits
        count = len(self._waiting[Side.TEXT]) + len(self._waiting[Side.FRAME])
        return self._bytes >= limits.queue_bytes or count >= limits.queue_records

    async def _admit(self) -> None:
        if not self._waiting[Side.TEXT] and not self._waiting[Side.FRAME]:
            return
        waiting, self._waiting, self._bytes = self._waiting, ([], []), 0
        for lane in self.lanes:
            await lane.admit(*waiting)

    async def _tick(self, times: Sequence[int]) -> None:
        for lane in self.lanes:
            await lane.tick(times)


def _gap(after_ms: int, until_ms: int) -> Sequence[int]:
    """Return the ticks of a gap, the last at its end: one a second, as a live task makes them."""
    return range(until_ms, after_ms, -TICK_EVERY_MS)[::-1]
