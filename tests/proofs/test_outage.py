"""The only broker goes away under a running worker: health says so, a stop is a stop, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from aiokafka.admin import NewTopic

from stream_app.adapters.kafka.clients import admin_client
from stream_app.adapters.kafka.publisher import KafkaPublisher
from stream_app.config import Operational
from stream_app.local_kafka import LocalKafka
from stream_app.runtime.ports.publishing import EpochEndedError
from stream_app.wire.message import Message
from stream_app.wiring.clients import connection_to, publisher_settings
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.rig import Rig, make_rig, now_ms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream_app.demo.workers import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]
_UNWELL_S = 120.0


@pytest.fixture
def own_kafka() -> Iterator[LocalKafka]:
    """A Kafka that these proofs may stop and kill."""
    with LocalKafka() as local:
        yield local


@pytest.fixture
def rig(own_kafka: LocalKafka, tmp_path: Path) -> Rig:
    """A deployment on it."""
    return make_rig(own_kafka.bootstrap, tmp_path, "outage", write_tiny_bundle(tmp_path))


async def _worker_at_work(rig: Rig) -> Worker:
    await rig.create_topics()
    worker = rig.start_worker()
    await worker.wait_ready()
    async with rig.planter() as planter:
        await planter.alarm("zone-1", "fire", now_ms())
    return worker


async def _until_unwell(worker: Worker, check: str) -> None:
    async with asyncio.timeout(_UNWELL_S):
        while True:
            status, body = await worker.readiness()
            failed = [found["name"] for found in json.loads(body)["checks"] if not found["ok"]]
            if status == 503 and check in failed:
                return
            await asyncio.sleep(0.2)


def test_a_worker_whose_broker_was_killed_says_that_it_fetches_nothing_and_stops_when_asked(
    rig: Rig, own_kafka: LocalKafka
) -> None:
    async def proof() -> None:
        try:
            worker = await _worker_at_work(rig)
            # A task with something to commit loses its epoch instead, and "tasks" says that.
            await rig.settle()
            await asyncio.to_thread(own_kafka.kill, 1)
            await _until_unwell(worker, "fetch")
            assert await worker.stop() == 0, worker.last_lines()
            assert '"stopped"' in worker.last_lines()
        finally:
            await rig.stop()

    asyncio.run(proof())


def test_a_worker_stops_when_asked_while_its_broker_holds_up_a_commit(rig: Rig, own_kafka: LocalKafka) -> None:
    async def proof() -> None:
        try:
            worker = await _worker_at_work(rig)
            own_kafka.pause(1)
            assert await worker.stop() == 0, worker.last_lines()
            assert '"stopped"' in worker.last_lines()
        finally:
            own_kafka.resume(1)
            await rig.stop()

    asyncio.run(proof())


def test_a_publisher_whose_commit_was_not_confirmed_leaves_no_connection_and_no_job(own_kafka: LocalKafka) -> None:
    async def proof() -> None:
        connection = connection_to(Operational(bootstrap=own_kafka.bootstrap))
        async with admin_client(connection) as admin:
            await admin.create_topics([NewTopic("alerts", 1, 1)])
        before = asyncio.all_tasks()
        publisher = KafkaPublisher(
            connection, publisher_settings(Operational(group="g", commit_timeout_ms=60_000)), "d-0"
        )
        await publisher.start()
        await publisher.publish([Message("alerts", b"z", b"one")], {("alerts", 0): 1})
        own_kafka.pause(1)
        # Not before: how long a start takes is the machine's business.
        publisher._settings = msgspec.structs.replace(publisher._settings, commit_timeout_ms=1_000)
        try:
            with pytest.raises(EpochEndedError, match="not confirmed"):
                await publisher.publish([Message("alerts", b"z", b"two")], {("alerts", 0): 1})
            await publisher.stop()
            left = asyncio.all_tasks() - before
        finally:
            own_kafka.resume(1)
        assert left == set()

    asyncio.run(proof())
