"""On a real Kafka, under real faults: every expected alert exactly once, and nothing else."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from stream_app.config import Operational
from stream_app.demo.books import balance
from stream_app.demo.collecting import collect
from stream_app.demo.judge import judge
from stream_app.demo.settling import wait_settled
from stream_app.local_kafka import LocalKafka
from stream_app.wiring.clients import connection_to, topics_of
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.rig import PARTITIONS, SETTLE_S, WINDOW, Rig, missing_or_repeated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from stream_app.demo.truth import Outputs

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
# Random points in time, but the same ones in every run: a failure can be seen again.
_RANDOM = random.Random(20_26)


@pytest.fixture
def own_kafka() -> Iterator[LocalKafka]:
    """A Kafka that this proof may stop and kill."""
    with LocalKafka() as local:
        yield local


@pytest.fixture
def rig(own_kafka: LocalKafka, tmp_path: Path) -> Rig:
    """A deployment on it."""
    return Rig(
        connection=connection_to(Operational(bootstrap=own_kafka.bootstrap)),
        topics=topics_of(Operational()),
        deployment="proof",
        folder=tmp_path,
        bundle=write_tiny_bundle(tmp_path),
        settings={},
    )


async def _prove(rig: Rig, faults: Callable[[], Awaitable[None]], *, alarms: int) -> Outputs:
    """Plant alarms while faults happen, wait until all is settled, and collect."""
    await rig.create_topics()
    try:
        for _ in range(2):
            rig.start_worker()
        for worker in rig.workers:
            await worker.wait_ready()
        async with rig.planter() as planter:
            planting = asyncio.create_task(planter.alarms(alarms, per_s=4, zones=120))
            await faults()
            await planting
        await wait_settled(rig.connection, rig.topics.state, rig.published, partitions=PARTITIONS, timeout_s=SETTLE_S)
        for worker in rig.workers:
            if worker.is_running:
                assert await worker.stop() == 0, worker.last_lines()
    finally:
        await rig.stop()
    return await collect(rig.connection, rig.topics)


def _ids(alerts: list[dict[str, Any]]) -> set[str]:
    return {str(alert["id"]) for alert in alerts if "id" in alert}


async def _assert_uncommitted_has_no_other_ids(rig: Rig, outputs: Outputs) -> None:
    everything = await collect(rig.connection, rig.topics, isolation_level="read_uncommitted")
    assert _ids(everything.alerts) == _ids(outputs.alerts)


def test_kills_a_zombie_and_a_graceful_stop_lose_and_repeat_nothing(rig: Rig) -> None:
    async def faults() -> None:
        for _ in range(3):
            await asyncio.sleep(_RANDOM.uniform(3, 7))
            victim = next(worker for worker in rig.workers if worker.is_running)
            victim.kill()
            await asyncio.sleep(_RANDOM.uniform(0, 2))
            await rig.start_worker().wait_ready()
        zombie, other = (worker for worker in rig.workers if worker.is_running)
        await asyncio.sleep(_RANDOM.uniform(1, 3))
        zombie.pause()
        await asyncio.sleep(10)  # longer than the session time-out: its tasks are another's now
        zombie.resume()
        await asyncio.sleep(3)
        assert await other.stop() == 0, other.last_lines()
        await asyncio.sleep(2)

    async def proof() -> None:
        outputs = await _prove(rig, faults, alarms=240)
        assert missing_or_repeated(rig.published, outputs.alerts) == []
        assert judge(rig.published, outputs, WINDOW) == []
        books = balance(rig.published, outputs)
        assert books.is_balanced, f"{books.frames}; {books.texts}"
        await _assert_uncommitted_has_no_other_ids(rig, outputs)

    asyncio.run(proof())


def test_a_broker_that_restarts_and_one_that_stops_for_20_s_lose_and_repeat_nothing(
    rig: Rig, own_kafka: LocalKafka
) -> None:
    async def faults() -> None:
        await asyncio.sleep(6)
        await asyncio.to_thread(own_kafka.kill, 1)
        await asyncio.sleep(2)
        await asyncio.to_thread(own_kafka.restart, 1)
        await asyncio.sleep(8)
        own_kafka.pause(1)
        await asyncio.sleep(20)
        own_kafka.resume(1)
        await asyncio.sleep(8)

    async def proof() -> None:
        outputs = await _prove(rig, faults, alarms=200)
        assert missing_or_repeated(rig.published, outputs.alerts) == []
        # Records that lay in the producer while the broker stood still come late, so other pairs than usual are due.
        faults_found = [fault for fault in judge(rig.published, outputs, WINDOW) if "other pairs" not in fault]
        assert faults_found == []
        await _assert_uncommitted_has_no_other_ids(rig, outputs)

    asyncio.run(proof())
