"""A backlog is judged as the same recording was judged live: same pairs, same incidents."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_app.demo.judge import judge
from stream_app.demo.truth import PublishedRecord, Window
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.rig import PARTITIONS, jpeg, make_rig, now_ms, openings, pairs, rfc3339, zones_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Broker
    from tests.proofs.rig import Planter, Rig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(500)]

_RECORDING_MS = 60_000
#: Live means: paced by the clock. The recording runs so many times faster, its times are those of a minute.
_SPEED = 3.0
_FRAME_EVERY_MS = 250
_TEXT_EVERY_MS = 1_700
_FAST_CLOCK_MS = 1_900
_LATEST_TEXT_MS = 3_000
#: Grace covers the latest text and its window with seconds to spare, whatever the machine is doing meanwhile.
_SETTINGS = {"grace_ms": 5_000, "quiet_ms": 6_000, "max_ahead_ms": 2_000, "sample_ms": 400}
_WINDOW = Window(before_ms=500, after_ms=500, grace_ms=5_000, sample_ms=400)
_PICTURES = [jpeg(colour) for colour in ((255, 255, 0), (255, 120, 40), (60, 200, 90))]


@dataclass(frozen=True)
class Recorded:
    """One record of the recording; ``camera`` is empty for texts."""

    append_ms: int
    event_ms: int
    zone: str
    value: bytes
    camera: str = ""


def _record(start_ms: int) -> list[Recorded]:
    """Make a minute of four watched zones, one unwatched one and a camera whose clock is fast.

    Frames are out of order by up to 600 ms, texts up to 3 s late. A label comes again in its zone soon enough to
    support the open incident or late enough to open another: where exactly one closes is not what is compared here.
    """
    dice = random.Random(7)
    recording: list[Recorded] = []
    watched = [zone for partition in range(PARTITIONS) for zone in zones_of(partition, 1)]
    cameras = [(zone, "c1", 0) for zone in watched] + [(watched[0], "fast", _FAST_CLOCK_MS)]
    for number, (zone, camera, ahead_ms) in enumerate(cameras):
        for at_ms in range(number * 37, _RECORDING_MS, _FRAME_EVERY_MS):
            append_ms = start_ms + at_ms
            event_ms = append_ms + ahead_ms - dice.randrange(600)
            recording.append(Recorded(append_ms, event_ms, zone, dice.choice(_PICTURES), camera))
    unwatched = zones_of(2, 2)[1]
    for number, at_ms in enumerate(range(3_000, _RECORDING_MS, _TEXT_EVERY_MS)):
        zone = [*watched, unwatched][number % 5]
        append_ms = start_ms + at_ms
        event_ms = append_ms - dice.choice((0, 300, 1_500, _LATEST_TEXT_MS))
        # In a row of five a zone hears each label once; the rows of one label are 17 s apart.
        words = ("a fight", "a fire", "all quiet")[(number // 5) % 3]
        value = msgspec.json.encode({"text": words, "severity": 1 + number % 5})
        recording.append(Recorded(append_ms, event_ms, zone, value))
        if number % 7 == 0:
            recording.append(Recorded(append_ms + 900, event_ms + 800, zone, value))
    return sorted(recording, key=lambda record: (record.append_ms, record.camera))


async def _play(planter: Planter, recording: list[Recorded], *, speed: float) -> None:
    """Publish with the recording's append times: at its pace, or all at once where ``speed`` is 0."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    sent: list[asyncio.Future[Any]] = []
    for record in recording:
        if speed:
            due = began + (record.append_ms - recording[0].append_ms) / 1_000 / speed
            await asyncio.sleep(max(0.0, due - loop.time()))
        topics = planter.rig.topics
        headers = [("ce_time", rfc3339(record.event_ms))]
        if record.camera:
            headers.append(("camera", record.camera.encode()))
        sent.append(
            await planter.producer.send(
                topics.frames if record.camera else topics.texts,
                record.value,
                key=record.zone.encode(),
                headers=headers,
                timestamp_ms=record.append_ms,
            )
        )
    published = planter.rig.published
    for record, done in zip(recording, await asyncio.gather(*sent), strict=True):
        into = published.frames if record.camera else published.texts
        into.append(
            PublishedRecord(
                partition=done.partition,
                offset=done.offset,
                append_ms=record.append_ms,
                event_ms=record.event_ms,
                zone=record.zone,
                camera=record.camera,
            )
        )


async def _judged(rig: Rig, recording: list[Recorded], *, is_live: bool) -> tuple[list[Any], set[Any]]:
    """Play the recording before or after the worker starts; return its pairs and the openings of its incidents."""
    await rig.create_topics(timestamp_type="CreateTime")
    try:
        async with rig.planter() as planter:
            if not is_live:
                await _play(planter, recording, speed=0)
            worker = rig.start_worker()
            await worker.wait_ready()
            if is_live:
                await _play(planter, recording, speed=_SPEED)
        outputs = await rig.settle()
        assert judge(rig.published, outputs, _WINDOW) == []
        assert not any(decision["late"] for decision in outputs.decisions)
        assert outputs.dead_letters == []
        assert await worker.stop() == 0, worker.last_lines()
    finally:
        await rig.stop()
    return pairs(outputs.decisions), openings(outputs.alerts)


def test_a_backlog_of_60_s_gives_the_pairs_and_incidents_that_it_gave_live(
    kafka: Broker, tmp_path: Path, topic_prefix: str
) -> None:
    bundle = write_tiny_bundle(tmp_path)

    async def proof() -> None:
        recording = _record(now_ms() - _RECORDING_MS - 5_000)
        live = make_rig(kafka.bootstrap, tmp_path, f"{topic_prefix}-live", bundle, **_SETTINGS)
        backlog = make_rig(kafka.bootstrap, tmp_path, f"{topic_prefix}-backlog", bundle, **_SETTINGS)
        live_pairs, live_openings = await _judged(live, recording, is_live=True)
        late_pairs, late_openings = await _judged(backlog, recording, is_live=False)
        assert now_ms() - recording[-1].append_ms > 0
        assert len([pair for pair in live_pairs if None not in pair]) > len(live.published.texts)
        assert len(live_openings) >= 8
        assert late_pairs == live_pairs
        assert late_openings == live_openings

    asyncio.run(proof())
