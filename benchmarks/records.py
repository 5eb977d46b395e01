"""Records to measure with: cameras and alarms of some zones, as Kafka would deliver them. Deterministic.

The mix is that of a site: every zone has cameras of 10 frames a second, and one text per so many frames of the task.
Append times are those of a day's work, not of the benchmark: a task that reads them is catching up after an outage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from aiokafka.structs import ConsumerRecord

from stream_app.core.event_time import format_event_time
from stream_app.core.types import Side

if TYPE_CHECKING:
    from collections.abc import Iterator

#: An arbitrary beginning, 2023-11-14, so that times look like times.
START_MS = 1_700_000_000_000
ZONES = 8
CAMERAS_PER_ZONE = 2
FRAME_EVERY_MS = 100
FRAMES_PER_S = ZONES * CAMERAS_PER_ZONE * 1_000 // FRAME_EVERY_MS
#: From event time to append time, in ms.
_DELAY_MS = 40
#: Every tenth text says something that opens an incident: this word, with this severity.
_ALARM_EVERY = 10
ALARM_WORD = "fight"
SEVERE = 5


def jpeg(width: int, height: int, *, quality: int = 80, noise: float = 0.0, seed: int = 0) -> bytes:
    """Draw a picture of soft shapes as a JPEG file.

    Args:
        width: in pixels.
        height: in pixels.
        quality: of the JPEG, 1 to 100.
        noise: standard deviation of the noise of the camera, in grey levels; more of it makes larger files.
        seed: another one gives another picture.
    """
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float64)
    picture = np.clip(smooth + random.normal(0, noise, smooth.shape), 0, 255).astype(np.uint8)
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return bytes(encoded.tobytes())


def jpeg_of_size(size_bytes: int) -> bytes:
    """Return a whole JPEG of exactly so many bytes, at least 1,000: a picture, and a comment that fills it up."""
    picture = jpeg(16, 16, quality=40) if size_bytes < 8_000 else jpeg(640, 480)
    missing = size_bytes - len(picture)
    comments = b""
    while missing > 0:
        # A JPEG comment has a marker and a length of two bytes each; a rest too small for one goes into the last.
        part = missing if missing <= 65_000 else 60_000
        part = max(part, 4)
        comments += b"\xff\xfe" + (part - 2).to_bytes(2, "big") + bytes(part - 4)
        missing -= part
    # After the start-of-image marker and before everything else.
    return picture[:2] + comments + picture[2:]


def traffic(
    frames: int, *, frames_per_text: int, image: bytes, frames_per_s: int = FRAMES_PER_S
) -> Iterator[tuple[Side, ConsumerRecord]]:
    """Yield the records of one task in append order.

    Args:
        frames: how many frames.
        frames_per_text: one text comes after so many frames, its zone in turn.
        image: the value of every frame.
        frames_per_s: of all cameras together, in event time.
    """
    texts = 0
    for number in range(frames):
        # Cameras are not in step: they share the second.
        event_ms = START_MS + number * 1_000 // frames_per_s
        zone, camera = number % ZONES, number // ZONES % CAMERAS_PER_ZONE
        yield Side.FRAME, frame_record(number, event_ms, zone=zone, camera=camera, image=image)
        if number % frames_per_text == frames_per_text - 1:
            yield Side.TEXT, text_record(texts, event_ms, zone=texts % ZONES)
            texts += 1


def frame_record(offset: int, event_ms: int, *, zone: int, camera: int, image: bytes) -> ConsumerRecord:
    """Make a frame with the headers that `vigil feed` writes; the zone's number is its partition's business."""
    name = f"camera-{camera}"
    headers = (*_headers("vigil.frame", f"zone-{zone}/{name}", offset, event_ms), ("camera", name.encode()))
    return _record("frames", offset, event_ms, f"zone-{zone}", image, headers)


def text_record(offset: int, event_ms: int, *, zone: int) -> ConsumerRecord:
    """Make a text; every tenth tells of a fight and is severe, by which the constant scorers know it."""
    words, severity = (ALARM_WORD, SEVERE) if offset % _ALARM_EVERY == 0 else ("door", 2)
    value = f'{{"text": "two men at the gate, {words} {offset}", "severity": {severity}}}'.encode()
    return _record("texts", offset, event_ms, f"zone-{zone}", value, _headers("vigil.text", "alarms", offset, event_ms))


def zone_of(record: ConsumerRecord) -> int:
    """Return the number of a record's zone."""
    return int((record.key or b"").rpartition(b"-")[2])


def _record(
    topic: str, offset: int, event_ms: int, zone: str, value: bytes, headers: tuple[tuple[str, bytes], ...]
) -> ConsumerRecord:
    key = zone.encode()
    return ConsumerRecord(
        topic=topic,
        partition=0,
        offset=offset,
        timestamp=event_ms + _DELAY_MS,
        timestamp_type=1,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=len(key),
        serialized_value_size=len(value),
        headers=headers,
    )


def _headers(kind: str, source: str, number: int, event_ms: int) -> tuple[tuple[str, bytes], ...]:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", str(number).encode()),
        ("ce_source", f"/bench/{source}".encode()),
        ("ce_type", f"{kind}.v1".encode()),
        ("ce_time", format_event_time(event_ms).encode()),
    )
