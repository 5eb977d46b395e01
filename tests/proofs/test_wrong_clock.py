"""A worker whose clock is ten years ahead says what a worker with a right clock says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_app.demo.collecting import collect
from stream_app.demo.judge import judge
from stream_app.demo.settling import wait_settled
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.rig import PARTITIONS, SETTLE_S, WINDOW, make_rig, missing_or_repeated

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.demo.truth import Outputs
    from tests.conftest import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

#: Put on the worker's path as sitecustomize: every Python process that finds it lives ten years later.
_SHIFTED_CLOCK = """
import datetime, time

AHEAD_S = 10 * 365 * 86_400
_real_time, _real_time_ns, _real_datetime = time.time, time.time_ns, datetime.datetime


class Shifted(_real_datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.utcfromtimestamp(time.time())


time.time = lambda: _real_time() + AHEAD_S
time.time_ns = lambda: _real_time_ns() + AHEAD_S * 1_000_000_000
datetime.datetime = Shifted
"""


def _said(outputs: Outputs) -> tuple[list[str], list[str]]:
    """Return decisions and alerts without what names the deployment, sorted."""
    decisions = [_without(decision) for decision in outputs.decisions]
    alerts = [_without(alert, "id", "incident") for alert in outputs.alerts]
    return sorted(decisions), sorted(alerts)


def _without(body: dict[str, Any], *names: str) -> str:
    kept = {name: value for name, value in body.items() if name not in names}
    return msgspec.json.encode(kept, order="sorted").decode()


def test_a_clock_ten_years_ahead_changes_nothing(kafka: Broker, tmp_path: Path, topic_prefix: str) -> None:
    """Both deployments read the same topics at the same time, and write to topics of their own."""
    folder = tmp_path / "shifted"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SHIFTED_CLOCK)
    bundle = write_tiny_bundle(tmp_path)
    right = make_rig(kafka.bootstrap, tmp_path, f"{topic_prefix}-right", bundle)
    ahead = make_rig(kafka.bootstrap, tmp_path, f"{topic_prefix}-ahead", bundle)

    async def proof() -> None:
        await right.create_topics()
        await ahead.create_topics()
        inputs = {"frames_topic": right.topics.frames, "texts_topic": right.topics.texts}
        try:
            workers = [
                right.start_worker(),
                ahead.start_worker(environment={"PYTHONPATH": str(folder)}, **inputs),
            ]
            for worker in workers:
                await worker.wait_ready()
            async with right.planter() as planter:
                await planter.alarms(40, per_s=5, zones=20)
            said = []
            for rig in (right, ahead):
                await wait_settled(
                    rig.connection, rig.topics.state, right.published, partitions=PARTITIONS, timeout_s=SETTLE_S
                )
                outputs = await collect(rig.connection, msgspec.structs.replace(rig.topics, texts=right.topics.texts))
                assert missing_or_repeated(right.published, outputs.alerts) == []
                assert judge(right.published, outputs, WINDOW) == []
                said.append(_said(outputs))
            for worker in workers:
                assert await worker.stop() == 0, worker.last_lines()
        finally:
            await right.stop()
            await ahead.stop()
        # The clock was really wrong: the log says so.
        years = [msgspec.json.decode(worker.last_lines().splitlines()[-1])["timestamp"][:4] for worker in workers]
        assert int(years[1]) - int(years[0]) in (9, 10)
        assert said[0] == said[1]

    asyncio.run(proof())
