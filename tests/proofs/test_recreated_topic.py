"""An input topic is deleted and recreated under a running deployment: loud, nothing skipped in silence, repairable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from stream_app.demo.books import balance
from stream_app.demo.collecting import collect
from stream_app.demo.truth import Published
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.rig import PARTITIONS, Rig, make_rig, missing_or_repeated, now_ms, rfc3339, zones_of

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.demo.truth import Outputs
    from stream_app.demo.workers import Worker
    from tests.conftest import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(500)]
_LOUD_S = 120.0


async def _alarms(rig: Rig, *, frames: int = 0) -> None:
    """Plant one alarm in every partition, after so many frames more."""
    async with rig.planter() as planter:
        for partition in range(PARTITIONS):
            zone = zones_of(partition, 1)[0]
            for number in range(frames):
                await planter.frame(zone, now_ms() - 5_000 + number)
            await planter.alarm(zone, "fire", now_ms())


async def _recreate(rig: Rig, topic: str) -> None:
    async with rig.admin() as admin:
        await admin.delete_topics([topic])
        configs = {"message.timestamp.type": "LogAppendTime"}
        async with asyncio.timeout(60):
            while True:
                try:
                    await admin.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs=configs)])
                except TopicAlreadyExistsError:
                    # Its deletion is not finished yet.
                    await asyncio.sleep(0.05)
                else:
                    return


async def _wait_loud(worker: Worker) -> str:
    """Return how the worker says that its input is gone: its exit, or a readiness page that names the gap."""
    async with asyncio.timeout(_LOUD_S):
        while worker.is_running:
            status, body = await worker.readiness()
            if status == 503 and "deleted and recreated" in body:
                return "unready"
            await asyncio.sleep(0.1)
    return "ended"


async def _wait_ended(worker: Worker) -> int:
    async with asyncio.timeout(_LOUD_S):
        while worker.is_running:  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(0.1)
    return await worker.stop()


@pytest.mark.parametrize(("topic", "more_frames"), [("texts", 0), ("frames", 30)])
def test_a_recreated_topic_is_loud_until_the_tasks_are_reset(
    kafka: Broker, tmp_path: Path, topic_prefix: str, topic: str, more_frames: int
) -> None:
    """With more frames than before, the old positions exist in the new topic too: nothing may be skipped even so."""
    rig = make_rig(kafka.bootstrap, tmp_path, topic_prefix, write_tiny_bundle(tmp_path))

    async def proof() -> None:
        await rig.create_topics()
        try:
            first = rig.start_worker()
            await first.wait_ready()
            await _alarms(rig)
            before = await rig.settle()
            assert missing_or_repeated(rig.published, before.alerts) == []

            rig.published = Published()
            await asyncio.sleep(0.1)
            recreated_ms = now_ms()
            await _recreate(rig, getattr(rig.topics, topic))
            await _alarms(rig, frames=more_frames)
            how = await _wait_loud(first)
            status = await first.stop()
            assert how == "unready" or status > 0, first.last_lines()
            assert "deleted and recreated" in first.log.read_text(), first.last_lines()

            # A restart changes nothing: the tasks stand, and say where and why; nothing is judged meanwhile.
            second = rig.start_worker()
            assert await _wait_loud(second) == "unready", second.last_lines()
            _, body = await second.readiness()
            assert getattr(rig.topics, topic) in body
            assert "vigil task reset" in body
            assert _ids(await collect(rig.connection, rig.topics)) == _ids(before)

            await _reset(rig, recreated_ms)
            await second.wait_ready()
            outputs = await rig.settle()
            assert await second.stop() == 0, second.last_lines()
        finally:
            await rig.stop()
        ids = _ids(outputs)
        assert len(ids) == len(set(ids))
        assert set(_ids(before)) < set(ids)
        news = [alert for alert in outputs.alerts if alert["id"] not in set(_ids(before))]
        assert missing_or_repeated(rig.published, news) == []
        outputs.decisions = [decision for decision in outputs.decisions if decision not in before.decisions]
        books = balance(rig.published, outputs)
        assert books.is_balanced, f"{books.frames}; {books.texts}"

    asyncio.run(proof())


def test_a_topic_that_stays_deleted_ends_the_worker(kafka: Broker, tmp_path: Path, topic_prefix: str) -> None:
    rig = make_rig(kafka.bootstrap, tmp_path, topic_prefix, write_tiny_bundle(tmp_path))

    async def proof() -> None:
        await rig.create_topics()
        try:
            worker = rig.start_worker()
            await worker.wait_ready()
            async with rig.admin() as admin:
                await admin.delete_topics([rig.topics.frames])
            assert await _wait_ended(worker) > 0
            assert f"the input topic {rig.topics.frames} was deleted while it was read" in worker.last_lines()
        finally:
            await rig.stop()

    asyncio.run(proof())


def _ids(outputs: Outputs) -> list[str]:
    """Sorted: alerts of different tasks have no order among each other."""
    return sorted(str(alert["id"]) for alert in outputs.alerts)


async def _reset(rig: Rig, to_ms: int) -> None:
    """Do what the gap tells the operator to do: all tasks go on at the time when the topic was recreated."""
    tasks = [part for partition in range(PARTITIONS) for part in ("--partition", str(partition))]
    await rig.run_command("task", "reset", "--to", rfc3339(to_ms).decode(), "--yes", *tasks)
