"""Committed offsets are gone, checkpoints are not: work goes on from the checkpoints, and it is said."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from stream_app.demo.books import balance
from stream_app.demo.judge import judge
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.rig import PARTITIONS, WINDOW, Rig, make_rig, missing_or_repeated

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]


async def _committed(rig: Rig, group: str) -> dict[str, int]:
    async with rig.admin() as admin:
        found = await admin.list_consumer_group_offsets(group)
    return {f"{where.topic}/{where.partition}": committed.offset for where, committed in found.items()}


def test_without_committed_offsets_the_checkpoints_are_enough(kafka: Broker, tmp_path: Path, topic_prefix: str) -> None:
    """A group that never committed stands for one whose offsets expired: the broker answers both the same way."""
    rig = make_rig(kafka.bootstrap, tmp_path, topic_prefix, write_tiny_bundle(tmp_path))
    inputs = {f"{name}/{task}" for name in (rig.topics.frames, rig.topics.texts) for task in range(PARTITIONS)}

    async def proof() -> None:
        await rig.create_topics()
        try:
            async with rig.planter() as planter:
                first = rig.start_worker()
                await first.wait_ready()
                # It dies with windows full and incidents open, and more comes while nobody is there.
                await planter.alarms(30, per_s=8, zones=40)
                first.kill()
                assert set(await _committed(rig, rig.deployment)) == inputs
                other = f"{rig.deployment}-other"
                assert await _committed(rig, other) == {}
                await planter.alarms(30, per_s=20, zones=40)
                second = rig.start_worker(group=other, start_from="latest")
                await second.wait_ready()
                await planter.alarms(20, per_s=8, zones=40)
            outputs = await rig.settle()
            assert await second.stop() == 0, second.last_lines()
        finally:
            await rig.stop()
        log = second.log.read_text()
        for name in inputs:
            assert f"{name}: the group's committed offset is None, the checkpoint needs" in log
        assert "the checkpoint is the truth" in log
        assert "start_from" not in log
        assert missing_or_repeated(rig.published, outputs.alerts) == []
        assert judge(rig.published, outputs, WINDOW) == []
        books = balance(rig.published, outputs)
        assert books.is_balanced, f"{books.frames}; {books.texts}"
        # From here on the new group has offsets of its own, for people who look at lag.
        assert set(await _committed(rig, other)) == inputs

    asyncio.run(proof())
