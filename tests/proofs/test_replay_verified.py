"""Recordings of live runs under kills, rebalances and changes verify byte for byte, made beside them or afterwards.

What needs no workers is shown in memory by `tests/replay/test_verify.py`, over thousands of runs; what takes long is in
`test_replay_soak.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.recording_rig import (
    assert_part,
    assert_whole,
    following,
    record_range,
    subscriber,
    until,
    until_all_begun,
)
from tests.proofs.rig import make_rig, missing_or_repeated, now_ms, rfc3339
from tests.proofs.troubles import TIGHT, WANTED, happened, plant_trouble

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Broker
    from tests.proofs.recording_rig import Subscriber

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]


def test_over_kills_and_a_rebalance_both_recordings_hold_what_subscribers_saw_and_verify(
    kafka: Broker, tmp_path: Path, topic_prefix: str
) -> None:
    rig = make_rig(kafka.bootstrap, tmp_path, topic_prefix, write_tiny_bundle(tmp_path), keyframe_ms=3_000)

    async def live(seen: Subscriber) -> tuple[int, int]:
        worker = rig.start_worker()
        await worker.wait_ready()
        await until_all_begun(seen)
        async with rig.planter() as planter:
            is_over = asyncio.Event()
            planting = asyncio.create_task(planter.alarms(10_000, per_s=8, zones=90, until=is_over.is_set))
            await asyncio.sleep(2)
            worker = await rig.replace(worker)
            from_ms = now_ms()
            second = rig.start_worker()
            await second.wait_ready()
            await asyncio.sleep(2)
            worker = await rig.replace(worker)
            assert await second.stop() == 0, second.last_lines()
            await asyncio.sleep(1)
            worker = await rig.replace(worker)
            to_ms = now_ms()
            is_over.set()
            await planting
        outputs = await rig.settle()
        assert await worker.stop() == 0, worker.last_lines()
        assert missing_or_repeated(rig.published, outputs.alerts) == []
        return from_ms, to_ms

    async def proof() -> None:
        begun_ms = now_ms()
        await rig.create_topics()
        try:
            async with subscriber(rig) as seen, following(rig, seen, tmp_path / "followed", "--roll-minutes", "1"):
                from_ms, to_ms = await live(seen)
        finally:
            await rig.stop()
        assert_whole(seen.seen, tmp_path / "followed")
        assert_whole(seen.seen, await record_range(rig, begun_ms, now_ms(), tmp_path / "whole.mcap"))
        part = assert_part(await record_range(rig, from_ms, to_ms, tmp_path / "part.mcap"))
        assert all(task.verified["keyframes"] for task in part.tasks)

    asyncio.run(proof())


def test_over_switches_a_reset_and_every_kind_of_trouble_both_recordings_verify(
    kafka: Broker, tmp_path: Path, topic_prefix: str
) -> None:
    rig = make_rig(kafka.bootstrap, tmp_path, topic_prefix, write_tiny_bundle(tmp_path), **TIGHT)
    other = write_tiny_bundle(tmp_path, version="2", seed=1)

    async def live(seen: Subscriber) -> None:
        worker = rig.start_worker()
        await worker.wait_ready()
        await until_all_begun(seen)
        async with rig.planter() as planter:
            await planter.alarms(16, per_s=8, zones=16)
            await plant_trouble(planter, "once")
            await until(lambda: "JournalThinning" in happened(seen))
            # Windows are full and incidents open at each of these.
            await planter.alarms(8, per_s=8, zones=8)
            worker = await rig.replace(worker, sample_ms=200, grace_ms=400, rate_burst=50)
            await planter.alarms(16, per_s=8, zones=16)
            worker = await rig.replace(worker, bundle=other)
            back_ms = now_ms()
            await planter.alarms(16, per_s=8, zones=16)
            await rig.run_command("task", "reset", "--yes", "--partition", "0", "--to", rfc3339(back_ms).decode())
            await planter.alarms(16, per_s=8, zones=16)
        await rig.settle()
        assert await worker.stop() == 0, worker.last_lines()

    async def proof() -> None:
        begun_ms = now_ms()
        await rig.create_topics()
        try:
            async with subscriber(rig) as seen, following(rig, seen, tmp_path / "followed"):
                await live(seen)
        finally:
            await rig.stop()
        assert happened(seen).keys() >= WANTED, happened(seen)
        assert_whole(seen.seen, tmp_path / "followed")
        assert_whole(seen.seen, await record_range(rig, begun_ms, now_ms(), tmp_path / "whole.mcap"))

    asyncio.run(proof())
