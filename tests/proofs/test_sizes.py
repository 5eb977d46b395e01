"""What is refused may be larger than the dead letters take: it is cut there, and nothing behind it waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.rig import make_rig, now_ms, openings, zones_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]


def test_a_refused_record_that_the_dead_letters_would_not_take_holds_up_nothing(
    kafka: Broker, tmp_path: Path, topic_prefix: str
) -> None:
    rig = make_rig(kafka.bootstrap, tmp_path, topic_prefix, write_tiny_bundle(tmp_path))
    zone = zones_of(0, 1)[0]

    async def proof() -> None:
        await rig.create_topics()
        async with rig.admin() as admin:
            limit = {"max.message.bytes": "300000"}
            await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, rig.topics.dead_letters, configs=limit)]
            )
        try:
            worker = rig.start_worker()
            await worker.wait_ready()
            async with rig.planter() as planter:
                bad = await planter.frame(zone, now_ms(), bytes(500_000))
                headers = [("baggage", bytes(400_000))]
                await planter.producer.send_and_wait(rig.topics.texts, b"a fire", key=zone.encode(), headers=headers)
                alarm = await planter.alarm(zone, "fight", now_ms())
            outputs = await rig.settle()
            assert await worker.stop() == 0, worker.last_lines()
        finally:
            await rig.stop()
        letters = {(letter["side"], letter["reason"]) for letter in outputs.dead_letters}
        assert letters == {("frame", "not-an-image"), ("text", "headers")}
        assert openings(outputs.alerts) == {(zone, "fight", alarm.partition, alarm.offset)}
        assert bad.partition == 0

    asyncio.run(proof())
