"""`python -m benchmarks.journal_cost`: what digests and keyframes cost a task, in bytes and in time of one core.

In: nothing. Out: figures, printed. Eight zones with two cameras of 10 frames a second, a text for 20 frames, default
settings, constant scores: a step is rendered with and without a keyframe, records of two sizes are digested.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from benchmarks.constant import MODEL, scored
from benchmarks.records import jpeg, jpeg_of_size, traffic
from stream_app.config import Operational
from stream_app.core.digest import record_digest
from stream_app.core.settings import Semantic
from stream_app.core.task import Task
from stream_app.core.types import Side
from stream_app.wire.context import Context
from stream_app.wire.step import render_step
from stream_app.wiring.clients import topics_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.core.effects import Step

_ROUNDS = 7
_HOUR_MS = 3_600_000


def main() -> int:
    """Measure and print."""
    operational = Operational()
    context = Context(
        deployment="bench",
        partition=0,
        topics=topics_of(operational),
        model=MODEL,
        settings_sha256="0" * 64,
        provider="CPUExecutionProvider",
        journal_bytes=1 << 23,
    )
    step = _step()
    plain, keyed = (
        sum(len(message.value or b"") for message in render_step(step, context, {}, has_keyframe=has_keyframe))
        for has_keyframe in (False, True)
    )
    without = _best(lambda: list(render_step(step, context, {})), 20)
    seconds = _best(lambda: list(render_step(step, context, {}, has_keyframe=True)), 20) - without
    every_ms = operational.keyframe_ms
    print(f"checkpoint: {len(step.checkpoint):,} bytes; a keyframe of it in the journal: {keyed - plain:,} bytes")
    per_hour = (keyed - plain) * _HOUR_MS // every_ms
    print(f"keyframes, one every {every_ms / 1_000:g} s: {per_hour:,} bytes per hour and task")
    print(f"keyframe: {seconds * 1e6:,.0f} us each, {seconds * 1e6 * _HOUR_MS / every_ms:,.0f} us per hour and task")
    for image in (jpeg(32, 24), jpeg_of_size(75_000)):
        side, raw = next(one for one in traffic(4, frames_per_text=2, image=image) if one[0] is Side.FRAME)
        digest_us = _best(lambda side=side, raw=raw: record_digest(side, raw), 200) * 1e6  # type: ignore[misc]
        print(f"digest of a record of {len(raw.value or b''):,} bytes: {digest_us:.1f} us")
    return 0


def _step() -> Step:
    """Return a step of a task whose window is full."""
    task = Task(Semantic(), MODEL, deployment="bench", partition=0, limits=Operational().limits)
    for side, raw in traffic(2_000, frames_per_text=20, image=jpeg(32, 24)):
        task.take(side, [raw])
        for observation in task.pump(0).score:
            task.scored(scored(observation))
        if task.has_uncommitted and task.sequence % 200 == 0:
            task.commit_due()
            task.committed()
    step = task.commit_due()
    if step is None:
        message = "expected a last step, found none"
        raise RuntimeError(message)
    return step


def _best(call: Callable[[], object], times: int) -> float:
    """Return the seconds of a processor that one call takes, the best of several rounds."""
    found = []
    for _ in range(_ROUNDS):
        started = time.process_time()
        for _ in range(times):
            call()
        found.append((time.process_time() - started) / times)
    return min(found)


if __name__ == "__main__":
    sys.exit(main())
