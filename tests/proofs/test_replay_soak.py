"""The long form of `test_replay_verified.py`: many kills, rebalances, a broker that restarts. Run by `make soak`."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from stream_app.local_kafka import LocalKafka
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.recording_rig import assert_part, assert_whole, following, record_range, subscriber, until_all_begun
from tests.proofs.rig import PARTITIONS, make_rig, missing_or_repeated, now_ms, rfc3339
from tests.proofs.troubles import TIGHT, WANTED, happened, plant_trouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from stream_app.demo.workers import Worker
    from tests.proofs.recording_rig import Subscriber
    from tests.proofs.rig import Planter, Rig

pytestmark = [pytest.mark.soak, pytest.mark.kafka, pytest.mark.timeout(3_600)]
_KILLS = 10
_REBALANCES = 3
_PARTS = 6
#: The planted alarms settle in this time, on a busy machine too. In seconds.
_SETTLE_S = 600.0


@pytest.fixture
def own_kafka() -> Iterator[LocalKafka]:
    """A Kafka that these proofs may kill."""
    with LocalKafka() as local:
        yield local


class Soak:
    """A live run: workers that come and go, a broker that restarts, and alarms all the while."""

    def __init__(self, rig: Rig, kafka: LocalKafka, seed: int) -> None:
        self.rig = rig
        self.kafka = kafka
        # Random points in time, but the same ones in every run: a failure can be seen again.
        self.random = random.Random(seed)
        self.workers: list[Worker] = []
        #: For parts of the run to be recorded.
        self.times_ms: list[int] = []

    async def pause(self, low_s: float, high_s: float) -> None:
        """Let the run go on for a while, and note where that was."""
        self.times_ms.append(now_ms())
        await asyncio.sleep(self.random.uniform(low_s, high_s))

    async def start(self, **more: Any) -> None:  # noqa: ANN401 - settings
        """Start one more worker."""
        self.workers.append(self.rig.start_worker(**more))
        await self.workers[-1].wait_ready()

    async def kill_one(self, **more: Any) -> None:  # noqa: ANN401 - settings
        """Kill a worker and start another in its place; now and then only after the others took its tasks."""
        self.random.choice(self.workers).kill()
        self.workers = [worker for worker in self.workers if worker.is_running]
        await self.pause(0, self.random.choice((0, 9)))
        await self.start(**more)

    async def rebalance(self, **more: Any) -> None:  # noqa: ANN401 - settings
        """Let one more worker join, and one leave."""
        await self.start(**more)
        await self.pause(1, 4)
        leaver = self.workers.pop(self.random.randrange(len(self.workers)))
        assert await leaver.stop() == 0, leaver.last_lines()

    async def restart_broker(self) -> None:
        """Kill the broker and start it again."""
        await asyncio.to_thread(self.kafka.kill, 1)
        await asyncio.sleep(2)
        await asyncio.to_thread(self.kafka.restart, 1)

    async def run(self, seen: Subscriber, faults: Callable[[Planter], Awaitable[None]]) -> None:
        """Plant alarms while faults happen, and wait until all is settled."""
        await self.start()
        await until_all_begun(seen)
        async with self.rig.planter() as planter:
            is_over = asyncio.Event()
            planting = asyncio.create_task(planter.alarms(100_000, per_s=4, zones=120, until=is_over.is_set))
            try:
                await faults(planter)
            finally:
                is_over.set()
                await planting
        await self.rig.settle(timeout_s=_SETTLE_S)
        for worker in self.workers:
            assert await worker.stop() == 0, worker.last_lines()


async def _prove(soak: Soak, faults: Callable[[Planter], Awaitable[None]]) -> Subscriber:
    rig, begun_ms = soak.rig, now_ms()
    await rig.create_topics()
    try:
        async with subscriber(rig) as seen, following(rig, seen, rig.folder / "followed", "--roll-minutes", "1"):
            await soak.run(seen, faults)
    finally:
        await rig.stop()
    assert_whole(seen.seen, rig.folder / "followed")
    assert_whole(seen.seen, await record_range(rig, begun_ms, now_ms(), rig.folder / "whole.mcap"))
    for number in range(_PARTS):
        from_ms, to_ms = sorted(soak.random.sample(soak.times_ms, 2))
        assert_part(await record_range(rig, from_ms, to_ms, rig.folder / f"part-{number}.mcap"))
    return seen


def test_over_ten_kills_three_rebalances_and_a_broker_restart_recordings_verify(
    own_kafka: LocalKafka, tmp_path: Path
) -> None:
    rig = make_rig(own_kafka.bootstrap, tmp_path, "soak", write_tiny_bundle(tmp_path), keyframe_ms=5_000)
    soak = Soak(rig, own_kafka, seed=11)

    async def faults(_: Planter) -> None:
        await soak.start()
        happenings = [soak.kill_one] * _KILLS + [soak.rebalance] * _REBALANCES + [soak.restart_broker]
        soak.random.shuffle(happenings)
        for happening in happenings:
            await soak.pause(1, 5)
            await happening()

    async def proof() -> None:
        seen = await _prove(soak, faults)
        assert missing_or_repeated(rig.published, seen.bodies("alerts")) == []

    asyncio.run(proof())


def test_over_switches_resets_and_trouble_among_the_kills_recordings_verify(
    own_kafka: LocalKafka, tmp_path: Path
) -> None:
    rig = make_rig(own_kafka.bootstrap, tmp_path, "soak", write_tiny_bundle(tmp_path), **TIGHT)
    other = write_tiny_bundle(tmp_path, version="2", seed=1)
    soak = Soak(rig, own_kafka, seed=12)
    ways: list[dict[str, Any]] = [{}, {"bundle": other}, {"sample_ms": 200, "grace_ms": 400}, {"max_held": 1_024}]

    async def faults(planter: Planter) -> None:
        await soak.start(bundle=other)
        for number in range(_KILLS):
            await plant_trouble(planter, str(number))
            await soak.pause(1, 5)
            await soak.kill_one(**soak.random.choice(ways))
            if number % 3 == 2:
                await soak.rebalance(**soak.random.choice(ways))
                back_ms = soak.random.choice(soak.times_ms)
                task = soak.random.randrange(PARTITIONS)
                to = ("--partition", str(task), "--to", rfc3339(back_ms).decode())
                await rig.run_command("task", "reset", "--yes", *to)

    async def proof() -> None:
        seen = await _prove(soak, faults)
        assert happened(seen).keys() >= WANTED, happened(seen)

    asyncio.run(proof())
