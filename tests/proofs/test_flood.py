"""Ten thousand texts on one zone: the excess is refused and said, the others hardly notice, and the worker lives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest

from stream_app.demo.books import balance
from stream_app.demo.collecting import AlertWatcher
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.rig import WINDOW, late_zones, make_rig, now_ms, zones_of

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.demo.truth import Outputs, PublishedRecord
    from tests.conftest import Broker
    from tests.proofs.rig import Planter, Rig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(440)]

_FLOOD = 10_000
_BURST, _PER_S = 1_000, 50
#: More than this a worker may not grow by while the flood is on, in bytes.
_GROWTH = 400 * 1024 * 1024
#: What an alarm may take to its alert while the flood is on, append to subscriber, on an idle machine: in another
#: partition, and in the flooded one, where the burst that the rate lets through is judged first (a core scores far more
#: than 200 texts/s). Publishing the flood takes less than `_FLOOD_MS` there.
_FLOOD_MS = 3_000
_AWAY_MS = 3_000
_NEIGHBOUR_MS = _AWAY_MS + _BURST * 1_000 // 200


async def _flood(planter: Planter, zone: str) -> None:
    """Publish as fast as the broker takes it."""
    for start in range(0, _FLOOD, 500):
        at_ms = now_ms()
        await asyncio.gather(*(planter.text(zone, at_ms, f"all quiet {n}") for n in range(start, start + 500)))


def _texts_of(rig: Rig, zone: str) -> list[PublishedRecord]:
    return [text for text in rig.published.texts if text.zone == zone]


def _span_ms(texts: list[PublishedRecord]) -> int:
    return max(text.append_ms for text in texts) - min(text.append_ms for text in texts)


async def _run(rig: Rig) -> tuple[Outputs, dict[str, PublishedRecord], dict[str, float], int]:
    flooded, neighbour = zones_of(0, 2)
    away = zones_of(1, 1)[0]
    await rig.create_topics()
    worker = rig.start_worker()
    watcher = AlertWatcher(rig.connection, rig.topics.alerts, lambda *_seen: None)
    watching = asyncio.create_task(watcher.run())
    alarms: dict[str, PublishedRecord] = {}
    try:
        await worker.wait_ready()
        process = psutil.Process(worker.pid)
        before = most = process.memory_info().rss
        async with rig.planter() as planter:
            await planter.frame(flooded, now_ms())
            flooding = asyncio.create_task(_flood(planter, flooded))
            await asyncio.sleep(0.5)
            for name, zone in (("neighbour", neighbour), ("away", away)):
                alarms[name] = await planter.alarm(zone, "fight", now_ms())
            while not flooding.done():
                most = max(most, process.memory_info().rss)
                await asyncio.sleep(0.05)
            await flooding
        outputs = await rig.settle()
        most = max(most, process.memory_info().rss)
        assert await worker.stop() == 0, worker.last_lines()
    finally:
        watching.cancel()
        await rig.stop()
    opened = {alert.body["zone"]: alert.seen_ms for alert in watcher.alerts if alert.body["phase"] == "opened"}
    # As an idle machine would take it: this one is as much slower as it needs longer to publish the flood.
    slower = max(1.0, _span_ms(_texts_of(rig, flooded)) / _FLOOD_MS)
    delays_ms = {name: (opened[text.zone] - text.append_ms) / slower for name, text in alarms.items()}
    return outputs, alarms, delays_ms, most - before


def test_a_flood_of_texts_is_bounded_by_the_rate_and_said_once(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    rig = make_rig(kafka.bootstrap, tmp_path, topic_prefix, write_tiny_bundle(tmp_path))
    outputs, alarms, delays_ms, growth = asyncio.run(_run(rig))

    refused = [letter for letter in outputs.dead_letters if letter["reason"] == "rate"]
    passed = _FLOOD - len(refused)
    assert _BURST <= passed <= _BURST + _span_ms(_texts_of(rig, zones_of(0, 1)[0])) / 1_000 * _PER_S + 1
    assert len(outputs.dead_letters) == len(refused)
    notices = [alert for alert in outputs.alerts if "notice" in alert]
    assert [(notice["notice"], notice["zone"]) for notice in notices] == [("rate", zones_of(0, 1)[0])]

    opened = {
        (evidence["partition"], evidence["offset"]): alert
        for alert in outputs.alerts
        if alert.get("phase") == "opened"
        for evidence in alert["evidence"]
        if evidence["kind"] == "text"
    }
    assert set(opened) == {(text.partition, text.offset) for text in alarms.values()}
    # The flood delayed nobody past the window: every alarm met its frames, in the flooded zone's own partition too.
    others = {alarm.zone for alarm in alarms.values()}
    judged = [decision for decision in outputs.decisions if decision["zone"] in others]
    assert judged
    late = late_zones(rig.published, WINDOW)
    assert all(
        "image" in decision["present"] and not decision["late"] for decision in judged if decision["zone"] not in late
    )
    books = balance(rig.published, outputs)
    assert books.is_balanced, f"{books.frames}; {books.texts}"
    assert growth < _GROWTH
    assert delays_ms["away"] < _AWAY_MS
    assert delays_ms["neighbour"] < _NEIGHBOUR_MS
