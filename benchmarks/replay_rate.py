"""Recordings: how fast they are verified and judged again, how large they are, and in how much memory.

In: a bundle and a folder. Out: figures. Two recordings of synthetic traffic, written by a replay with constant scores,
are verified from their files; the drawn site, four zones with a camera of 5 frames a second, is judged anew by the
bundle. Each reading is a process of its own, as a user would start it; its memory is the most that the system saw of
it. Rates are taken between a recording and a longer one, so that the start of a process is no part of them; it is
measured beside.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.constant import MODEL, ConstantScorer
from benchmarks.core_rate import fetches, run_core
from benchmarks.measured import Figure, ratios
from benchmarks.records import START_MS, jpeg_of_size, traffic
from stream_app import __version__
from stream_app.adapters.recording.layout import Opening
from stream_app.adapters.recording.sink import Sink
from stream_app.config import Operational
from stream_app.core.settings import Semantic
from stream_app.core.types import InForce, Side
from stream_app.replay.canonical import Run, replay
from stream_app.replay.recording import About, TopicRecord
from stream_app.replay.rewriting import Rewriter
from stream_app.replay.track import Pace
from stream_app.wire.context import Context
from stream_app.wiring.clients import topics_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream_app.replay.recording import Kind

_DEPLOYMENT = "bench"
_PICTURE_BYTES = 1_000
_ZONES, _FPS = 4, 5
_LONGER = 4
_MIB = 1 << 20
_MINUTE_S = 60
_HOUR_S = 3_600
_TIMES_REAL_TIME = 200.0


class _Mix(NamedTuple):
    words: str
    frames_per_text: int
    goal: float
    goal_beside_core: float


#: A text meets some ten frames, and each pair is a decision. The second goals are the first by what the core alone does
#: on the machine for which they were set, 54,000 and 29,000 records/s: they hold on any.
_MIXES = (
    _Mix("few decisions (1,000 frames : 1 text)", 1_000, 25_000.0, 0.46),
    _Mix("a decision per record (10 frames : 1 text)", 10, 10_000.0, 0.34),
)


class _Ran(NamedTuple):
    """Seconds of the clock and of a processor, and the most memory."""

    seconds: float
    cpu_s: float
    peak_mib: float


def measure_replay(bundle: Path, folder: Path, *, rounds: int, frames: int, minutes: float) -> list[Figure]:
    """Measure recordings of synthetic traffic and of the drawn site.

    Args:
        bundle: what judges the drawn site.
        folder: for the recordings.
        rounds: how often each is read.
        frames: of the synthetic recordings; their texts come on top.
        minutes: length of the drawn site's shorter recording; at least a quarter.

    Returns:
        Records verified per second, their ratio for a longer recording in memory, the drawn site's speed, sizes.
    """
    return [*_verified(folder, rounds, frames), *_judged(bundle, folder, rounds, minutes)]


def _verified(folder: Path, rounds: int, frames: int) -> list[Figure]:
    figures: list[Figure] = []
    for number, mix in enumerate(_MIXES):
        short, long = (folder / f"mix-{number}-{times}.mcap" for times in (1, _LONGER))
        records = _write(short, mix, frames)
        _write(long, mix, frames * _LONGER)
        fetched = list(fetches(frames, frames_per_text=mix.frames_per_text))
        core: list[float] = []
        ran: list[tuple[_Ran, _Ran]] = []
        for _ in range(rounds):
            core.append(run_core(fetched).records_per_s)
            ran.append((_vigil("verify", str(short)), _vigil("verify", str(long))))
        more = records * (_LONGER - 1)
        rates = tuple(more / (second.cpu_s - first.cpu_s) for first, second in ran)
        figures += [
            Figure(
                part="replay",
                name=f"verify, {mix.words}",
                unit="records/s",
                values=rates,
                goal=mix.goal,
            ),
            Figure(
                part="replay",
                name=f"verify / core alone, {mix.words}",
                unit="times",
                values=ratios(rates, tuple(core)),
                goal=mix.goal_beside_core,
                digits=2,
            ),
            Figure(
                part="replay",
                name=f"verify, {mix.words}: memory of a recording {_LONGER} times as long",
                unit="times",
                values=tuple(second.peak_mib / first.peak_mib for first, second in ran),
                digits=2,
            ),
        ]
    return figures


def _judged(bundle: Path, folder: Path, rounds: int, minutes: float) -> list[Figure]:
    by = ("--bundle", str(bundle), "--set", "allow_unsigned=true")
    short, long = (folder / f"site-{times}.mcap" for times in (1, _LONGER))
    for path, times in ((short, 1), (long, _LONGER)):
        drawn = ("--zones", str(_ZONES), "--cameras", "1", "--fps", str(_FPS), "--minutes", str(minutes * times))
        _vigil("site", "record", *drawn, *by, "--out", str(path))
    seconds = minutes * _MINUTE_S
    ran = [(_vigil("replay", str(short), *by), _vigil("replay", str(long), *by)) for _ in range(rounds)]
    took = [(second.seconds - first.seconds) / (_LONGER - 1) for first, second in ran]
    per_hour = long.stat().st_size / _MIB / _ZONES / (seconds * _LONGER / _HOUR_S)
    return [
        Figure(
            part="replay",
            name=f"replay of {_ZONES} zones, {_FPS} frames/s each, by the bundle",
            unit="times real time",
            values=tuple(seconds / one for one in took),
            goal=_TIMES_REAL_TIME,
        ),
        Figure(
            part="replay", name="replay, until it has begun", unit="s", digits=1,
            values=tuple(first.seconds - one for (first, _), one in zip(ran, took, strict=True)),
        ),
        Figure(
            part="replay", name="replay, peak memory", unit="MiB", values=tuple(second.peak_mib for _, second in ran)
        ),
        Figure(
            part="replay", name=f"recording of the drawn site, {_FPS} frames/s", unit="MiB per camera and hour",
            values=(per_hour,),
        ),
    ]  # fmt: skip


def _vigil(*arguments: str) -> _Ran:
    """Run a command of Vigil to its end.

    Raises:
        RuntimeError: if it failed: then nothing was measured.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "stream_app", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    said = process.stderr.read() if process.stderr else b""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        message = f"expected status 0 of vigil {' '.join(arguments)}, found {process.returncode}: {said.decode()}"
        raise RuntimeError(message)
    return _Ran(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1_024)


class _Traffic:
    """Synthetic traffic as a recording without outputs."""

    def __init__(self, frames: int, frames_per_text: int) -> None:
        self._frames = frames
        self._frames_per_text = frames_per_text
        self.records_read = 0

    @property
    def about(self) -> About:
        return About(
            deployment=_DEPLOYMENT,
            topics=topics_of(Operational()),
            partitions=(0,),
            from_ms=START_MS,
            to_ms=START_MS + self._frames * _HOUR_S * 1_000,
        )

    def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
        self.records_read = 0
        picture = jpeg_of_size(_PICTURE_BYTES)
        for side, raw in traffic(self._frames, frames_per_text=self._frames_per_text, image=picture):
            self.records_read += 1
            kind: Kind = "texts" if side is Side.TEXT else "frames"
            value = raw.value or b""
            yield (
                kind,
                TopicRecord(0, raw.offset, raw.timestamp, 1, raw.key, value, tuple(raw.headers), len(value)),
            )


def _write(path: Path, mix: _Mix, frames: int) -> int:
    """Write a recording of traffic and of what the core makes of it; return how many input records it has."""
    recording = _Traffic(frames, mix.frames_per_text)
    operational = Operational()
    settings = Semantic()
    in_force = InForce(MODEL, settings, settings.sha256)
    sink = Sink(path, Opening(version=__version__, about=recording.about, is_open_ended=True), manifest=None)
    context = Context(
        deployment=_DEPLOYMENT,
        partition=0,
        topics=recording.about.topics,
        model=MODEL,
        settings_sha256=settings.sha256,
        provider="none",
        journal_bytes=1 << 40,
    )
    rewriter = Rewriter(sink.add, context, step_ms=operational.commit_ms, keyframe_ms=operational.keyframe_ms)
    asyncio.run(
        replay(
            recording,
            [Run(in_force, ConstantScorer())],
            take=lambda _: None,
            pace=Pace(idle_ms=operational.idle_ms, limits=operational.limits),
            rewriter=rewriter,
        )
    )
    sink.finish()
    return recording.records_read
