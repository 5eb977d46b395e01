"""Bad inputs of all kinds at once: each is counted and seen with its reason, alarms open even so, the worker lives."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from stream_app.adapters.kafka.clients import consumer
from stream_app.adapters.kafka.to_the_end import read_topic
from stream_app.demo.books import balance
from stream_app.demo.collecting import AlertWatcher
from stream_app.demo.judge import judge
from stream_app.demo.truth import Published, PublishedRecord
from stream_app.wire.dead_letters import decode_dead_letter
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.bad_inputs import (
    DECODE_MEMORY_MB,
    FAULTY_DECODER,
    MAX_IMAGE_BYTES,
    MAX_TEXT_BYTES,
    Bad,
    refused,
    undecodable,
)
from tests.proofs.rig import PARTITIONS, WINDOW, Rig, make_rig, now_ms, openings, rfc3339, slowness, zones_of

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.demo.truth import Outputs
    from tests.conftest import Broker
    from tests.proofs.rig import Planter

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

#: All bad records go here.
_BAD_PARTITION = 0
#: Head that a record which is too large leaves in the dead letters, as the documentation says.
_HEAD_BYTES = 64 * 1024
#: Zones of other partitions share the decoding processes with what kills and hangs them, and nothing else.
#: In ms, on an idle machine.
_UNAFFECTED_MS = 10_000
_SETTINGS = {
    "max_image_bytes": MAX_IMAGE_BYTES,
    "max_text_bytes": MAX_TEXT_BYTES,
    "decode_memory_mb": DECODE_MEMORY_MB,
    "decode_children": 2,
    "decode_timeout_ms": 1_500,
    "max_image_side": 8_192,
}
_PLAIN = (b'{"text": "a fire"', b"a fire", b'["a fire"]', b'{"words": "a fire"}', b'{"text": 7, "said": "a fire"}')

Coordinates = tuple[str, int, int]


async def _plant(planter: Planter, bad: Bad, zone: str) -> PublishedRecord:
    """Publish one bad record in the bad partition, and write it down."""
    rig = planter.rig
    topic = rig.topics.frames if bad.side == "frame" else rig.topics.texts
    key = zone.encode() if bad.key == b"" else bad.key
    headers = list(bad.headers)
    done = await planter.producer.send_and_wait(topic, bad.value, key=key, headers=headers, partition=_BAD_PARTITION)
    record = PublishedRecord(
        partition=done.partition, offset=done.offset, append_ms=done.timestamp, event_ms=done.timestamp, zone=zone
    )
    (rig.published.frames if bad.side == "frame" else rig.published.texts).append(record)
    return record


async def _plant_all(
    planter: Planter,
) -> tuple[dict[Coordinates, tuple[Bad, str]], list[PublishedRecord], list[PublishedRecord]]:
    """Plant everything; return the bad records, the texts that open incidents, and the duplicates."""
    bad_ones: dict[Coordinates, tuple[Bad, str]] = {}
    openers: list[PublishedRecord] = []
    zones = iter(zones_of(_BAD_PARTITION, 60))
    for bad in refused():
        zone = next(zones)
        record = await _plant(planter, bad, zone)
        bad_ones[bad.side, record.partition, record.offset] = (bad, zone)
    for bad in undecodable():
        # The picture is the only partner of an alarm, and then of a second one: it is a dead letter once.
        zone, moment = next(zones), now_ms()
        record = await planter.frame(zone, moment, bad.value)
        stamped = Bad(bad.name, bad.side, bad.reason, bad.value, (("ce_time", rfc3339(moment)), ("camera", b"c1")))
        bad_ones[bad.side, record.partition, record.offset] = (stamped, zone)
        openers += [await planter.text(zone, moment, "a fight"), await planter.text(zone, moment, "a fire")]
    for value in _PLAIN:
        openers.append(await _plant(planter, Bad("plain", "text", "", value), next(zones)))
    zone = next(zones)
    repeated: list[PublishedRecord] = []
    identity = (("ce_id", b"17"), ("ce_source", b"/door/3"))
    for copy in range(3):
        record = await _plant(planter, Bad("twice", "text", "", b"a fire", identity), zone)
        (repeated if copy else openers).append(record)
    for number in range(3):
        for partition in range(PARTITIONS):
            openers.append(await planter.alarm(zones_of(partition, 63)[60 + number], "fight", now_ms()))
        await asyncio.sleep(1)
    return bad_ones, openers, repeated


async def _dead_letters(rig: Rig) -> dict[Coordinates, list[Any]]:
    """Return the raw dead letters by the coordinates that they name."""
    found: dict[Coordinates, list[Any]] = {}
    async with consumer(rig.connection) as client:
        async for record in read_topic(client, rig.topics.dead_letters):
            letter = decode_dead_letter(record.headers)
            side = "text" if letter.topic == rig.topics.texts else "frame"
            found.setdefault((side, letter.partition, letter.offset), []).append(record)
    return found


def _assert_says_it_all(letter: Any, bad: Bad, zone: str) -> None:  # noqa: ANN401 - aiokafka's record
    """Compare a dead letter with what was published: key, headers, bytes, and the reason added."""
    named = dict(letter.headers)
    assert named["vigil_reason"].decode() == bad.reason, bad.name
    assert letter.key == (zone.encode() if bad.key == b"" else bad.key), bad.name
    assert letter.headers[: len(bad.headers)] == bad.headers, bad.name
    if bad.reason == "too-large" and len(bad.value or b"") > _HEAD_BYTES:
        assert letter.value == (bad.value or b"")[:_HEAD_BYTES], bad.name
        assert int(named["vigil_size"]) == len(bad.value or b""), bad.name
    else:
        assert letter.value == bad.value, bad.name


def _assert_masked(outputs: Outputs, bad_ones: dict[Coordinates, tuple[Bad, str]]) -> None:
    """The alarms whose only picture could not be decoded were decided without it, and say so."""
    for (_, partition, offset), (bad, zone) in bad_ones.items():
        if bad.name not in {one.name for one in undecodable()}:
            continue
        decisions = [decision for decision in outputs.decisions if decision["zone"] == zone]
        assert len(decisions) == 2, bad.name
        for decision in decisions:
            assert decision["masked"] is True, bad.name
            assert decision["present"] == ["text"], bad.name
            assert decision["failures"] == {"image": bad.reason}, bad.name
            assert (decision["evidence"][1]["partition"], decision["evidence"][1]["offset"]) == (partition, offset)
        opened = [alert for alert in outputs.alerts if alert.get("phase") == "opened" and alert["zone"] == zone]
        assert sorted(alert["label"] for alert in opened) == ["fight", "fire"], bad.name
        assert all(alert["masked"] is True and alert["present"] == ["text"] for alert in opened), bad.name


def test_every_bad_input_ends_where_it_should_and_harms_nobody(
    kafka: Broker, tmp_path: Path, topic_prefix: str
) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    (faults / "sitecustomize.py").write_text(FAULTY_DECODER)
    rig = make_rig(kafka.bootstrap, tmp_path, topic_prefix, write_tiny_bundle(tmp_path), **_SETTINGS)

    async def proof() -> None:
        await rig.create_topics()
        watcher = AlertWatcher(rig.connection, rig.topics.alerts, lambda *_seen: None)
        watching = asyncio.create_task(watcher.run())
        try:
            worker = rig.start_worker(environment={"PYTHONPATH": str(faults)})
            await worker.wait_ready()
            async with rig.planter() as planter:
                calm, slower = await slowness(planter, watcher)
                bad_ones, openers, repeated = await _plant_all(planter)
            outputs = await rig.settle()
            # Nothing of it broke the worker, nor any task's epoch.
            assert worker.is_running
            assert (await worker.readiness())[0] == 200
            metrics = await worker.metrics()
            assert await worker.stop() == 0, worker.last_lines()
        finally:
            watching.cancel()
            await rig.stop()

        letters = await _dead_letters(rig)
        assert letters.keys() == bad_ones.keys()
        for at, (bad, zone) in bad_ones.items():
            assert len(letters[at]) == 1, bad.name
            _assert_says_it_all(letters[at][0], bad, zone)

        due = {(text.partition, text.offset) for text in (*calm, *openers)}
        assert {(partition, offset) for *_, partition, offset in openings(outputs.alerts)} == due
        _assert_masked(outputs, bad_ones)
        copies = {record.offset for record in repeated}
        told = Published(
            frames=rig.published.frames,
            texts=[
                text for text in rig.published.texts if not (text.partition == _BAD_PARTITION and text.offset in copies)
            ],
        )
        assert judge(told, outputs, WINDOW) == []

        books = balance(rig.published, outputs)
        assert books.is_balanced, f"{books.frames}; {books.texts}"
        assert dict(books.texts.lines)["duplicates"] == len(repeated) == 2
        reasons = Counter(bad.reason for bad, _ in bad_ones.values())
        totals: Any = outputs.checkpoints[_BAD_PARTITION]["totals"]
        assert {name: totals[f"dead.{name}"] for name in reasons} == reasons
        assert {name: metrics[f'vigil_dropped_total{{reason="{name}"}}'] for name in reasons} == reasons

        appended = {(text.partition, text.offset): text.append_ms for text in openers}
        delays = [
            seen.seen_ms - appended[evidence["partition"], evidence["offset"]]
            for seen in watcher.alerts
            for evidence in seen.body["evidence"]
            if seen.body["phase"] == "opened"
            and evidence["kind"] == "text"
            and evidence["partition"] != _BAD_PARTITION
            and (evidence["partition"], evidence["offset"]) in appended
        ]
        assert len(delays) == 9
        assert max(delays) / slower < _UNAFFECTED_MS

    asyncio.run(proof())
