"""Records per second through the pure core: admit, merge, join, thin, cut, decide, commit steps. One core, no I/O.

In: records with JPEG headers and CloudEvents attributes. Out: figures. The benchmark plays the shell: it hands in
fetches of both sides, feeds constant scores back at once, and confirms a step whenever there is an alert or a second
has passed, as a worker does that catches up.
"""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.constant import MODEL, scored
from benchmarks.measured import Figure, ratios
from benchmarks.records import FRAMES_PER_S, jpeg, traffic
from stream_app.config import Operational
from stream_app.core.checkpoint import decode_checkpoint
from stream_app.core.settings import Semantic
from stream_app.core.task import Task
from stream_app.core.types import Side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiokafka.structs import ConsumerRecord

#: Goal of the main mix, records a second on one core.
GOAL = 50_000
#: Frames per text, whether records carry all CloudEvents attributes or `ce_time` and `camera` alone, and the goal.
_MIXES = ((100, True, GOAL), (100, False, GOAL), (10, True, None))
_WITH_TIME_ALONE = frozenset(("ce_time", "camera"))
_FETCH = 1_000
_COMMIT_S = 1.0

_USUAL = Semantic()
_WIDE = Semantic(before_ms=60_000, after_ms=60_000, quiet_ms=121_000)
#: Frames per text where what is held is measured, not what is paired.
_FEW_TEXTS = 5_000

_Fetch = tuple[list["ConsumerRecord"], list["ConsumerRecord"]]


class CoreRun(NamedTuple):
    """Records per second, the bytes of every checkpoint, and the last one."""

    records_per_s: float
    checkpoints: tuple[int, ...]
    last: bytes


def measure_core(*, rounds: int, frames: int) -> list[Figure]:
    """Measure the core.

    Args:
        rounds: how often.
        frames: frames per round; with texts they are the records that are counted.

    Returns:
        One figure per mix of frames and texts, then those of a wide window and a fast input.
    """
    return [*_measure_mixes(rounds, frames), *_measure_windows(rounds, frames)]


def _measure_mixes(rounds: int, frames: int) -> list[Figure]:
    mixes = [list(fetches(frames, frames_per_text=mix, has_all=has_all)) for mix, has_all, _ in _MIXES]
    taken: list[list[float]] = [[] for _ in mixes]
    # All rounds' input is made beforehand; a worker never holds that much, nor may the collector count it to its cost.
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            for fetched, rates in zip(mixes, taken, strict=True):
                rates.append(run_core(fetched).records_per_s)
    finally:
        gc.unfreeze()
    return [
        Figure(
            part="core",
            name=f"core, {mix} frames : 1 text, {'all attributes' if has_all else 'time and camera alone'}",
            unit="records/s",
            values=tuple(rates),
            goal=goal,
        )
        for (mix, has_all, goal), rates in zip(_MIXES, taken, strict=True)
    ]


def _measure_windows(rounds: int, frames: int) -> list[Figure]:
    """Measure a wide window and a fast input, where much is held: the rate beside the usual window's, and checkpoints.

    With few texts, or pairs would be most of the work: each text of a wide window meets all that it holds.
    """
    slow, fast = (
        list(fetches(frames, frames_per_text=_FEW_TEXTS, frames_per_s=frames_per_s)) for frames_per_s in (200, 5_000)
    )
    usual: list[CoreRun] = []
    wide: list[CoreRun] = []
    restored: list[float] = []
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            usual.append(run_core(slow))
            wide.append(run_core(slow, _WIDE))
            restored.append(_restore(slow, wide[-1].last, _WIDE))
        crowded = [run_core(list(fetches(frames, frames_per_text=100, frames_per_s=200)), _WIDE)]
        crowded.append(run_core(fast))
    finally:
        gc.unfreeze()
    rates = [tuple(run.records_per_s for run in runs) for runs in (wide, usual)]
    return [
        Figure(
            part="core",
            name=f"core, 200 frames/s, {_FEW_TEXTS:,} frames : 1 text, +-60 s / +-2 s",
            unit="times",
            values=ratios(*rates),
            goal=0.8,
            digits=2,
        ),
        Figure(
            part="core",
            name="core, restoring what +-60 s at 200 frames/s hold / the core's rate at it",
            unit="times",
            values=ratios(tuple(restored), rates[0]),
            digits=2,
        ),
        *(
            Figure(part="core", name=f"checkpoint, {name}", unit="bytes", values=tuple(map(float, run.checkpoints)))
            for name, run in (
                (f"200 frames/s, {_FEW_TEXTS:,} frames : 1 text, +-60 s", wide[0]),
                ("200 frames/s, 100 frames : 1 text, +-60 s", crowded[0]),
                (f"5,000 frames/s, {_FEW_TEXTS:,} frames : 1 text, +-2 s", crowded[1]),
            )
        ),
    ]


def run_core(fetches: list[_Fetch], settings: Semantic = _USUAL) -> CoreRun:
    """Drive a fresh task through all fetches.

    Raises:
        RuntimeError: if the task did not judge every record: then nothing was measured.
    """
    task = Task(settings, MODEL, deployment="bench", partition=0, limits=Operational().limits)
    for side in Side:
        task.set_caught_up(side, is_caught_up=True)
    sizes: list[int] = []
    last = b""
    gc.collect()
    started = last_commit = time.perf_counter()
    for texts, frames in fetches:
        task.receive(Side.TEXT, texts)
        task.receive(Side.FRAME, frames)
        is_moving = True
        while is_moving:
            effects = task.pump()
            for observation in effects.score:
                task.scored(scored(observation))
            is_moving = bool(effects.score) or effects.has_more
            now = time.perf_counter()
            if (task.wants_commit or now - last_commit > _COMMIT_S) and (step := task.commit_due()) is not None:
                task.committed()
                sizes.append(len(last := step.checkpoint))
                last_commit = now
                # What was decided may have filled its bound, so that admission stood on this commit.
                is_moving = is_moving or task.queued(Side.TEXT) + task.queued(Side.FRAME) > 0
    if (step := task.commit_due()) is not None:
        task.committed()
        sizes.append(len(last := step.checkpoint))
    seconds = time.perf_counter() - started
    records = sum(len(texts) + len(frames) for texts, frames in fetches)
    received = sum(task.totals.get(f"{word}.received", 0) for word in ("texts", "frames"))
    if received != records or any(name.startswith("dead.") for name in task.totals):
        message = f"expected {records} records judged and none refused, found {task.totals}"
        raise RuntimeError(message)
    return CoreRun(records / seconds, tuple(sizes), last)


def _restore(fetches: list[_Fetch], data: bytes, settings: Semantic) -> float:
    """Take a checkpoint up, with the records that it needs; return how many of those came per second.

    Raises:
        RuntimeError: if the task still waits for some: then nothing was measured.
    """
    state = decode_checkpoint(data)
    needed = [
        [record for fetch in fetches for record in fetch[side] if state.lowest(side) <= record.offset < following]
        for side, following in zip(Side, (state.next_text, state.next_frame), strict=True)
    ]
    gc.collect()
    started = time.perf_counter()
    task = Task(
        settings,
        MODEL,
        deployment="bench",
        partition=0,
        limits=Operational().limits,
        checkpoint=decode_checkpoint(data),
    )
    for side in Side:
        task.receive(side, needed[side])
    seconds = time.perf_counter() - started
    if task.is_restoring:
        message = "expected a task that has all that it needs, found one that waits"
        raise RuntimeError(message)
    return sum(map(len, needed)) / seconds


def fetches(
    frames: int, *, frames_per_text: int, has_all: bool = True, frames_per_s: int = FRAMES_PER_S
) -> Iterator[_Fetch]:
    """Cut the traffic into fetches of a thousand records and the like."""
    sides: _Fetch = ([], [])
    picture = jpeg(32, 24)
    for side, whole in traffic(frames, frames_per_text=frames_per_text, image=picture, frames_per_s=frames_per_s):
        headers = tuple(header for header in whole.headers if has_all or header[0] in _WITH_TIME_ALONE)
        sides[side].append(replace(whole, headers=headers))
        if len(sides[Side.FRAME]) >= _FETCH:
            yield sides
            sides = ([], [])
    if any(sides):
        yield sides
