"""A worker whose clock is two hours wrong, either way, commits and says what a worker with a right clock says."""

from __future__ import annotations

import asyncio
import platform
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_app.demo.collecting import collect
from stream_app.demo.judge import judge
from stream_app.demo.settling import wait_settled
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.rig import PARTITIONS, SETTLE_S, WINDOW, make_rig, missing_or_repeated

if TYPE_CHECKING:
    from stream_app.demo.truth import Outputs
    from stream_app.demo.workers import Worker
    from tests.conftest import Broker
    from tests.proofs.rig import Rig

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(600),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the package libfaketime is built for x86_64 alone"),
]

#: Hours that each deployment's clock is ahead. Kafka refuses what its producer stamps more than one hour ahead.
_AHEAD_H = {"right": 0, "ahead": 2, "behind": -2}


def _clock(ahead_h: int) -> dict[str, str]:
    """Return variables under which a whole process, its libraries in C too, has a wall clock that is so far ahead.

    The monotonic clock stays as it is, as on a machine that was set to a wrong time.
    """
    if not ahead_h:
        return {}
    package = find_spec("libfaketime")
    assert package is not None
    assert package.origin is not None
    library = Path(package.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{ahead_h:+d}h",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _said(outputs: Outputs) -> tuple[list[str], list[str]]:
    """Return decisions and alerts without what names the deployment, sorted."""
    decisions = [_without(decision) for decision in outputs.decisions]
    alerts = [_without(alert, "id", "incident") for alert in outputs.alerts]
    return sorted(decisions), sorted(alerts)


def _without(body: dict[str, Any], *names: str) -> str:
    kept = {name: value for name, value in body.items() if name not in names}
    return msgspec.json.encode(kept, order="sorted").decode()


def _epochs(metrics: dict[str, float]) -> dict[str, float]:
    """Return how many epochs were started and lost, whatever the reason."""
    names = ("started", "lost")
    return {
        name: sum(count for sample, count in metrics.items() if sample.startswith(f"vigil_epochs_{name}_total"))
        for name in names
    }


def _last_logged(worker: Worker) -> datetime:
    return datetime.fromisoformat(msgspec.json.decode(worker.last_lines().splitlines()[-1])["timestamp"])


async def _outputs(rig: Rig, inputs_of: Rig) -> Outputs:
    """Wait until a deployment has judged what was planted into another's inputs; return what it said."""
    published = inputs_of.published
    await wait_settled(rig.connection, rig.topics.state, published, partitions=PARTITIONS, timeout_s=SETTLE_S)
    outputs = await collect(rig.connection, msgspec.structs.replace(rig.topics, texts=inputs_of.topics.texts))
    assert missing_or_repeated(published, outputs.alerts) == []
    assert judge(published, outputs, WINDOW) == []
    return outputs


def test_a_clock_two_hours_wrong_changes_nothing_and_no_commit_is_refused(
    kafka: Broker, tmp_path: Path, topic_prefix: str
) -> None:
    """All deployments read the same topics at the same time, and write to topics of their own.

    Of what was there before they start they say the same, word for word. What comes while they run is judged by the
    rules: where the ticks of an idle moment fall among the records is not the same in two live tasks.
    """
    bundle = write_tiny_bundle(tmp_path)
    rigs = {name: make_rig(kafka.bootstrap, tmp_path, f"{topic_prefix}-{name}", bundle) for name in _AHEAD_H}
    right = rigs["right"]
    inputs = {"frames_topic": right.topics.frames, "texts_topic": right.topics.texts}

    async def proof() -> None:
        try:
            for rig in rigs.values():
                await rig.create_topics()
            async with right.planter() as planter:
                await planter.alarms(12, per_s=5, zones=12)
                workers = {
                    name: rig.start_worker(environment=_clock(_AHEAD_H[name]), **inputs) for name, rig in rigs.items()
                }
                for worker in workers.values():
                    await worker.wait_ready()
                said = {name: _said(await _outputs(rig, right)) for name, rig in rigs.items()}
                await planter.alarms(12, per_s=5, zones=12)
                for rig in rigs.values():
                    await _outputs(rig, right)
            for worker in workers.values():
                assert _epochs(await worker.metrics()) == {"started": PARTITIONS, "lost": 0}
                assert await worker.stop() == 0, worker.last_lines()
        finally:
            for rig in rigs.values():
                await rig.stop()
        # The clocks were really wrong: the logs say so.
        for name, ahead_h in _AHEAD_H.items():
            ahead = _last_logged(workers[name]) - _last_logged(workers["right"])
            assert abs(ahead - timedelta(hours=ahead_h)) < timedelta(minutes=5)
        assert said["ahead"] == said["right"]
        assert said["behind"] == said["right"]

    asyncio.run(proof())
