"""Bad input of every kind: each record a counted, visible outcome with its reason, nothing else disturbed."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import psutil
import pytest
from aiokafka import AIOKafkaConsumer

from stream_app.demo.books import balance
from stream_app.demo.truth import PublishedRecord
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.rig import jpeg, make_rig, now_ms, openings, rfc3339, zones_of

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.demo.truth import Outputs
    from tests.conftest import Broker
    from tests.proofs.rig import Planter, Rig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

Headers = tuple[tuple[str, bytes], ...]
_ZONE = zones_of(0, 1)[0].encode()
_DIMENSIONS_AT = 5  # bytes of a JPEG frame header before its height and width
_MAX_IMAGE_BYTES = 200_000


def _huge_header() -> bytes:
    """A small JPEG file whose header claims 16,000 x 16,000 pixels."""
    data = bytearray(jpeg())
    place = data.index(b"\xff\xc0") + _DIMENSIONS_AT
    data[place : place + 4] = struct.pack(">HH", 16_000, 16_000)
    return bytes(data)


def _noise(width: int, height: int, suffix: str = ".jpg") -> bytes:
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return bytes(cv2.imencode(suffix, picture)[1].tobytes())


@dataclass(frozen=True)
class Bad:
    """One bad record and the reason that is expected on its dead letter."""

    name: str
    side: str
    value: bytes | None
    reason: str
    key: bytes | None = _ZONE
    headers: Headers = field(default=())


_TABLE = (
    Bad("no value", "frame", None, "empty"),
    Bad("empty value", "frame", b"", "empty"),
    Bad("no key", "frame", jpeg(), "no-key", key=None),
    Bad("key that is not UTF-8", "frame", jpeg(), "key", key=b"\xff\xfe"),
    Bad("time that cannot be parsed", "frame", jpeg(), "time", headers=(("ce_time", b"yesterday"),)),
    Bad("time in 2099", "frame", jpeg(), "ahead", headers=(("ce_time", b"2099-01-01T00:00:00Z"),)),
    Bad("oversized image", "frame", _noise(640, 480, ".png"), "too-large"),
    Bad("16,000 x 16,000 in the header", "frame", _huge_header(), "dimensions"),
    Bad("not an image", "frame", b"hello", "not-an-image"),
    Bad(
        "structured CloudEvent",
        "frame",
        jpeg(),
        "structured",
        headers=(("content-type", b"application/cloudevents+json"),),
    ),
    Bad("repeated header", "frame", jpeg(), "headers", headers=(("camera", b"a"), ("camera", b"b"))),
    Bad("header that is not UTF-8", "frame", jpeg(), "headers", headers=(("camera", b"\xff"),)),
    Bad("specversion 2.0", "frame", jpeg(), "specversion", headers=(("ce_specversion", b"2.0"),)),
    Bad("no value", "text", None, "empty"),
    Bad("white space", "text", b" \n\t", "empty"),
    Bad("no key", "text", b"a fight", "no-key", key=None),
    Bad("not UTF-8", "text", b"\xff\xfe\xfd", "encoding"),
    Bad("time that cannot be parsed", "text", b"a fight", "time", headers=(("ce_time", b"12:00"),)),
    Bad("time in 2099", "text", b"a fight", "ahead", headers=(("ce_time", b"2099-01-01T00:00:00Z"),)),
    Bad("oversized text", "text", b"a " * 40_000, "too-large"),
    Bad("specversion 2.0", "text", b"a fight", "specversion", headers=(("ce_specversion", b"2.0"),)),
)


async def _publish(planter: Planter, bad: Bad) -> PublishedRecord:
    """Publish a bad record to partition 0 and keep it in the books."""
    topics, published = planter.rig.topics, planter.rig.published
    is_frame = bad.side == "frame"
    topic = topics.frames if is_frame else topics.texts
    headers = [("x-case", bad.name.encode()), *bad.headers]
    done = await planter.producer.send_and_wait(topic, bad.value, key=bad.key, headers=headers, partition=0)
    record = PublishedRecord(
        partition=0, offset=done.offset, append_ms=done.timestamp, event_ms=done.timestamp, zone="bad"
    )
    (published.frames if is_frame else published.texts).append(record)
    return record


async def _letters(rig: Rig) -> dict[tuple[str, int, int], Any]:
    """Return the raw dead letters by side, partition and offset of their originals."""
    consumer = AIOKafkaConsumer(
        rig.topics.dead_letters,
        bootstrap_servers=rig.connection.bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    found: dict[tuple[str, int, int], Any] = {}
    try:
        for _ in range(8):
            for batch in (await consumer.getmany(timeout_ms=300)).values():
                for record in batch:
                    headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
                    side = "text" if headers["vigil_topic"] == rig.topics.texts else "frame"
                    place = (side, int(headers["vigil_partition"]), int(headers["vigil_offset"]))
                    assert place not in found
                    found[place] = record
    finally:
        await consumer.stop()
    return found


def _openings_of(outputs: Outputs, zone: str) -> list[dict[str, Any]]:
    return [alert for alert in outputs.alerts if alert.get("phase") == "opened" and alert["zone"] == zone]


def test_each_bad_record_is_a_dead_letter_with_its_reason_and_nobody_else_is_disturbed(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    rig = make_rig(
        kafka.bootstrap, tmp_path, topic_prefix, write_tiny_bundle(tmp_path), max_image_bytes=_MAX_IMAGE_BYTES
    )
    same, away = zones_of(0, 3)[1:], zones_of(2, 2)

    async def run() -> tuple[Outputs, dict[tuple[str, int, int], Any], list[tuple[Bad, PublishedRecord]]]:
        await rig.create_topics()
        worker = rig.start_worker()
        try:
            await worker.wait_ready()
            async with rig.planter() as planter:
                placed = [(bad, await _publish(planter, bad)) for bad in _TABLE]
                for zone in (same[0], away[0]):
                    await planter.alarm(zone, "fight", now_ms())
                placed += [(bad, await _publish(planter, bad)) for bad in _TABLE]
                for zone in (same[1], away[1]):
                    await planter.alarm(zone, "fire", now_ms())
            outputs = await rig.settle()
            assert await worker.stop() == 0, worker.last_lines()
        finally:
            await rig.stop()
        return outputs, await _letters(rig), placed

    outputs, letters, placed = asyncio.run(run())
    assert len(letters) == len(placed)
    for bad, record in placed:
        letter = letters[bad.side, record.partition, record.offset]
        headers = dict(letter.headers)
        assert headers["vigil_reason"].decode() == bad.reason, bad.name
        assert headers["x-case"].decode() == bad.name
        assert letter.key == bad.key
        if bad.reason == "too-large":
            assert bad.value is not None
            assert letter.value == bad.value[:65_536]
            assert headers["vigil_size"].decode() == str(len(bad.value))
        else:
            assert letter.value == bad.value
    # Two alarms in zones of the same partition and two of another: all opened, with their frames.
    assert {zone for zone, *_ in openings(outputs.alerts)} == {*same, *away}
    assert all("image" in alert["present"] for alert in outputs.alerts if alert.get("phase") == "opened")
    books = balance(rig.published, outputs)
    assert books.is_balanced, f"{books.frames}; {books.texts}"


def test_images_that_cannot_be_decoded_hang_or_want_too_much_mask_their_side_and_swallow_no_alarm(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    rig = make_rig(
        kafka.bootstrap,
        tmp_path,
        topic_prefix,
        write_tiny_bundle(tmp_path),
        decode_timeout_ms=1_500,
        decode_memory_mb=64,
    )
    corrupt, greedy, hung, fine = zones_of(1, 4)
    whole = _noise(320, 240)

    async def run() -> tuple[Outputs, dict[str, PublishedRecord]]:
        await rig.create_topics()
        worker = rig.start_worker()
        frames: dict[str, PublishedRecord] = {}
        try:
            await worker.wait_ready()
            (child,) = (
                one for one in psutil.Process(worker.pid).children() if "decode_child" in " ".join(one.cmdline())
            )
            async with rig.planter() as planter:
                at_ms = now_ms()
                frames["corrupt"] = await planter.frame(corrupt, at_ms, whole[: len(whole) // 2])
                await planter.text(corrupt, at_ms, "a fight")
                frames["greedy"] = await planter.frame(greedy, at_ms, _plain_png(8_000, 4_000))
                await planter.text(greedy, at_ms, "a fight")
                await asyncio.sleep(3)
                child.suspend()
                at_ms = now_ms()
                frames["hung"] = await planter.frame(hung, at_ms)
                await planter.text(hung, at_ms, "a fight")
                await asyncio.sleep(4)
                await planter.alarm(fine, "fight", now_ms())
            outputs = await rig.settle()
            assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
            assert await worker.stop() == 0, worker.last_lines()
        finally:
            await rig.stop()
        return outputs, frames

    outputs, frames = asyncio.run(run())
    reasons = {(int(letter["partition"]), int(letter["offset"])): letter["reason"] for letter in outputs.dead_letters}
    found = {name: reasons.pop((frame.partition, frame.offset)) for name, frame in frames.items()}
    assert found["corrupt"] == "undecodable"
    assert found["greedy"] in {"too-large", "undecodable", "decode-crash"}
    assert found["hung"] == "decode-timeout"
    assert reasons == {}
    for zone in (corrupt, greedy, hung):
        (alert,) = _openings_of(outputs, zone)
        assert (alert["masked"], alert["present"]) == (True, ["text"])
    (alert,) = _openings_of(outputs, fine)
    assert (alert["masked"], "image" in alert["present"]) == (False, True)
    books = balance(rig.published, outputs)
    assert books.is_balanced, f"{books.frames}; {books.texts}"


def _plain_png(width: int, height: int) -> bytes:
    """A picture that is small as a file and large in memory, with a header inside the limits."""
    return bytes(cv2.imencode(".png", np.zeros((height, width, 3), dtype=np.uint8))[1].tobytes())


def test_a_text_of_any_form_is_judged_and_a_duplicate_changes_nothing(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    rig = make_rig(kafka.bootstrap, tmp_path, topic_prefix, write_tiny_bundle(tmp_path))
    forms = {
        "broken JSON": b'{"text": a fight ',
        "plain": b"a fight",
        "JSON of another shape": b'{"message": "x", "n": [1]} a fight',
        "a list": b'["a fight"]',
    }
    zones = dict(zip(forms, zones_of(3, len(forms)), strict=True))
    repeated = zones_of(2, 1)[0]
    identity = [("ce_specversion", b"1.0"), ("ce_source", b"/panel/7"), ("ce_id", b"42")]

    async def run() -> Outputs:
        await rig.create_topics()
        worker = rig.start_worker()
        try:
            await worker.wait_ready()
            async with rig.planter() as planter:
                for name, value in forms.items():
                    await _text(planter, zones[name], value, [])
                for _ in range(3):
                    await _text(planter, repeated, b"a fight", identity)
            outputs = await rig.settle()
            assert await worker.stop() == 0, worker.last_lines()
        finally:
            await rig.stop()
        return outputs

    outputs = asyncio.run(run())
    assert outputs.dead_letters == []
    judged = [decision["zone"] for decision in outputs.decisions]
    assert sorted(judged) == sorted([*zones.values(), repeated])
    for name in ("broken JSON", "plain"):
        assert _openings_of(outputs, zones[name]), name
    assert len(_openings_of(outputs, repeated)) == 1
    books = balance(rig.published, outputs)
    assert books.is_balanced, f"{books.frames}; {books.texts}"
    assert dict(books.texts.lines)["duplicates"] == 2


async def _text(planter: Planter, zone: str, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    at_ms = now_ms()
    done = await planter.producer.send_and_wait(
        planter.rig.topics.texts, value, key=zone.encode(), headers=[("ce_time", rfc3339(at_ms)), *headers]
    )
    planter.rig.published.texts.append(
        PublishedRecord(
            partition=done.partition, offset=done.offset, append_ms=done.timestamp, event_ms=at_ms, zone=zone
        )
    )
