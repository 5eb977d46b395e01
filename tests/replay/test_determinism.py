"""Any recording gives equal incidents, whatever threads, batches and speed the real model has.

What a scorer of sums shows for any core (:mod:`tests.replay.test_canonical`), here for ONNX Runtime on a CPU, with the
demo bundle: the recording that ships with the tests, and others made of it by leaving records out and moving them.
"""

from __future__ import annotations

import asyncio
from functools import cache
from itertools import product
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

from stream_app.adapters.recording.read import open_recording
from stream_app.config import load_settings
from stream_app.replay.canonical import Run, replay
from stream_app.replay.incidents import Incidents
from stream_app.wiring.model import inference
from tests.recordings.shipped import SITE
from tests.replay.memory import Memory
from tests.replay.site import in_force
from tests.replay.test_canonical import PACE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.replay.canonical import Judged
    from stream_app.replay.incidents import Incident
    from stream_app.replay.recording import Kind, TopicRecord
    from stream_app.runtime.ports.scoring import RecordKey, Score, ScoreItem, Scorer

_OTHERS = 5


class Slow:
    """A scorer whose answers come late and out of order."""

    def __init__(self, scorer: Scorer, seed: int) -> None:
        self._scorer = scorer
        self._random = Random(seed)

    async def score(self, item: ScoreItem) -> Score:
        await self._linger()
        score = await self._scorer.score(item)
        await self._linger()
        return score

    def forget(self, key: RecordKey) -> None:
        self._scorer.forget(key)

    async def _linger(self) -> None:
        for _ in range(self._random.choice((0, 1, 5, 30))):
            await asyncio.sleep(0)


@cache
def recordings() -> tuple[Memory, ...]:
    """Return the shipped recording, and others in which records are missing or later."""
    with open_recording(SITE) as shipped:
        found = [(kind, record) for kind, record in shipped.records() if kind in {"frames", "texts"}]
    return tuple(_varied(found, seed) for seed in range(_OTHERS + 1))


def _varied(found: Sequence[tuple[Kind, TopicRecord]], seed: int) -> Memory:
    random = Random(seed)
    logs: dict[Kind, list[TopicRecord]] = {"frames": [], "texts": []}
    moved_ms = 0
    for kind, record in found:
        if seed and random.random() < 0.4:
            continue
        if seed:
            moved_ms += random.choice((0, 0, 0, 1, 40, 300))
        # Their event times stay: some come late, and some alone.
        logs[kind].append(msgspec.structs.replace(record, timestamp=record.timestamp + moved_ms))
    return Memory(logs, ties=Random(seed))


async def judged(scorer: Scorer) -> list[tuple[Incident, ...]]:
    incidents = []
    for recording in recordings():
        found = Incidents(recording.about.topics)

        def take(part: Judged, found: Incidents = found) -> None:
            for alert in part.alerts:
                found.take(alert, part.partition)

        await replay(recording, [Run(in_force(), scorer)], take=take, pace=PACE)
        incidents.append(tuple(found.all()))
    return incidents


@cache
def by(threads: int, batch: int, *, is_slow: bool) -> list[tuple[Incident, ...]]:
    """Judge all recordings."""
    # One pair takes three rows.
    sizes = (f"batch_images={batch}", f"batch_texts={batch}", f"batch_pairs={max(batch, 3)}")
    loaded = load_settings(environ={}, assignments=("provider=cpu", f"ort_threads={threads}", *sizes))

    async def run() -> list[tuple[Incident, ...]]:
        async with inference(loaded) as ready:
            return await judged(Slow(ready.scorer, threads * batch) if is_slow else ready.scorer)

    return asyncio.run(run())


_ALL = tuple(product((1, 2), (1, 32), (False, True)))


@pytest.mark.parametrize(("threads", "batch", "is_slow"), _ALL[1:])
def test_any_recording_gives_equal_incidents_by_any_threads_batch_and_speed(
    threads: int, batch: int, *, is_slow: bool
) -> None:
    first = _ALL[0]
    expected = by(first[0], first[1], is_slow=first[2])
    assert sum(map(len, expected)) >= len(expected)
    assert len(set(expected)) > 3
    assert by(threads, batch, is_slow=is_slow) == expected
