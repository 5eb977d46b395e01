"""What no client can read - a bad header name, bombs, a broken payload - costs itself, not a worker nor a command."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka import TopicPartition

from stream_app.demo.truth import PublishedRecord
from tests.adapters.batches import batch, bomb_record, pack, record
from tests.adapters.kafka.raw_produce import produce_raw
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.rig import jpeg, make_rig, now_ms, openings, zones_of
from tests.proofs.test_bad_inputs import _dead_letters

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Broker
    from tests.proofs.rig import Planter, Rig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

_PARTITION = 0
_BOMB_BYTES = 200 << 20
_START = "from stream_app.cli import main; main()"


async def _produce_raw(planter: Planter, topic: str, data: bytes, zone: str) -> PublishedRecord:
    """Send one batch made by hand; return the place of its last record, which a task has to pass."""
    base = await produce_raw(planter.producer.client, TopicPartition(topic, _PARTITION), data)
    count = int.from_bytes(data[57:61], "big")
    place = PublishedRecord(
        partition=_PARTITION, offset=base + count - 1, append_ms=now_ms(), event_ms=now_ms(), zone=zone
    )
    rig = planter.rig
    (rig.published.frames if topic == rig.topics.frames else rig.published.texts).append(place)
    return place


async def _plant(planter: Planter) -> tuple[dict[tuple[str, int, int], str], list[PublishedRecord], list[Any]]:
    """Plant bad things among good ones of one partition; return the reasons by place, the openers and the places."""
    topics = planter.rig.topics
    zones = iter(zones_of(_PARTITION, 20))
    reasons: dict[tuple[str, int, int], str] = {}
    openers: list[PublishedRecord] = []
    said = msgspec.json.encode({"text": "a fight", "severity": 3})
    bad_name = ((b"\xff\x1b[2J", b"x"),)

    async def bad(topic: str, data: bytes, reason: str) -> PublishedRecord:
        place = await _produce_raw(planter, topic, data, "nowhere")
        reasons["text" if topic == topics.texts else "frame", _PARTITION, place.offset] = reason
        openers.append(await planter.alarm(next(zones), "fight", now_ms()))
        return place

    openers.append(await planter.alarm(next(zones), "fight", now_ms()))
    zone = next(zones).encode()
    mixed = [record(0, said, key=zone), record(1, b"a fire", headers=bad_name), record(2, b"a fire", key=zone)]
    last = await _produce_raw(planter, topics.texts, batch(mixed, attributes=0), zone.decode())
    reasons["text", _PARTITION, last.offset - 1] = "headers"
    openers += [msgspec.structs.replace(last, offset=last.offset - back) for back in (2, 0)]
    named = await bad(topics.frames, batch([record(0, jpeg(), headers=bad_name)], attributes=0), "headers")
    await bad(topics.texts, batch([record(0, None, key=None)], attributes=0), "empty")
    bombs = []
    for topic, codec in (
        (topics.texts, "zstd"),
        (topics.texts, "gzip"),
        (topics.texts, "lz4"),
        (topics.frames, "zstd"),
    ):
        packed = pack(codec, bomb_record(_BOMB_BYTES))
        data = batch([], codec=codec, packed=packed, count=1, attributes=0)
        bombs.append(await bad(topic, data, "batch-size"))
    return reasons, openers, [(topics.frames, named.offset), (topics.texts, bombs[0].offset)]


def _run(rig: Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Vigil on the deployment."""
    settings = {"bootstrap": rig.connection.bootstrap, "deployment": rig.deployment}
    settings |= {f"{name}_topic": getattr(rig.topics, name) for name in rig.topics.__struct_fields__}
    options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return subprocess.run(
        [sys.executable, "-c", _START, *arguments, *options], capture_output=True, text=True, check=False, timeout=60
    )


def _assert_commands_survive(rig: Rig, places: list[Any]) -> None:
    status = _run(rig, "status")
    assert status.returncode == 0, status.stderr
    assert "batch-size" in status.stdout
    assert "expected a name in UTF-8" in status.stdout
    assert "\x1b" not in status.stdout
    for number, arguments in enumerate(
        (
            ("task", "show"),
            ("decisions", "--out", str(rig.folder / "decisions.jsonl")),
            ("watch", "--from-beginning", "--max", "1"),
        )
    ):
        done = _run(rig, *arguments)
        assert done.returncode == 0, (number, done.stderr)
    (frames, named), (texts, bombed) = places
    readable = _run(rig, "evidence", "records", f"{frames}/{_PARTITION}/{named}", "--out", str(rig.folder / "named"))
    assert readable.returncode == 0, readable.stderr
    lost = _run(rig, "evidence", "records", f"{texts}/{_PARTITION}/{bombed}", "--out", str(rig.folder / "lost"))
    assert lost.returncode == 1
    assert "Traceback" not in lost.stderr
    assert "cannot be read: batch-size, offsets" in lost.stdout


def test_what_cannot_be_read_is_lost_by_name_once_and_all_else_is_judged(
    kafka: Broker, tmp_path: Path, topic_prefix: str
) -> None:
    rig = make_rig(kafka.bootstrap, tmp_path, topic_prefix, write_tiny_bundle(tmp_path))

    async def proof() -> None:
        await rig.create_topics()
        try:
            worker = rig.start_worker()
            await worker.wait_ready()
            async with rig.planter() as planter:
                reasons, openers, places = await _plant(planter)
                await rig.settle()
                assert worker.is_running, worker.last_lines()
                metrics = await worker.metrics()
                for reason, count in Counter(reasons.values()).items():
                    assert metrics[f'vigil_dropped_total{{reason="{reason}"}}'] == count
                assert await worker.stop() == 0, worker.last_lines()
                # The next owner meets the same again, for its window may begin before it, and goes on behind it.
                again = rig.start_worker()
                await again.wait_ready()
                openers.append(await planter.alarm(zones_of(_PARTITION, 30)[29], "fire", now_ms()))
                outputs = await rig.settle()
                assert again.is_running, again.last_lines()
                await asyncio.to_thread(_assert_commands_survive, rig, places)
                assert await again.stop() == 0, again.last_lines()
        finally:
            await rig.stop()
        due = {(text.partition, text.offset) for text in openers}
        assert {(partition, offset) for *_, partition, offset in openings(outputs.alerts)} == due
        letters = await _dead_letters(rig)
        assert {at: dict(found[0].headers)["vigil_reason"].decode() for at, found in letters.items()} == reasons
        assert all(len(found) == 1 for found in letters.values())

    asyncio.run(proof())
