"""Recordings to test with: records of all kinds, and files of them with small chunks."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np

from stream_app.adapters.recording.layout import Ending, Opening
from stream_app.adapters.recording.read import open_recording
from stream_app.adapters.recording.write import RecordingWriter
from stream_app.replay.recording import About, Kind, RecordingError, TopicRecord
from stream_app.wire.topics import Topics

Entry = tuple[Kind, TopicRecord]
TOPICS = Topics(
    frames="vigil.frames",
    texts="vigil.texts",
    alerts="vigil.alerts",
    decisions="vigil.decisions",
    journal="vigil.journal",
    state="vigil.state",
    dead_letters="vigil.dead-letters",
)
START_MS = 1_767_232_800_000
CHUNK_BYTES = 20_000


def about(**changes: object) -> About:
    made = About(deployment="vigil", topics=TOPICS, partitions=(0,), from_ms=START_MS, to_ms=START_MS + 60_000)
    return msgspec.structs.replace(made, **changes)


def record(offset: int, timestamp: int, value: bytes | None, **changes: object) -> TopicRecord:
    made = TopicRecord(0, offset, timestamp, 1, b"yard", value, (), len(value or b""))
    return msgspec.structs.replace(made, **changes)


def jpeg(seed: int) -> bytes:
    """A picture of noise, some 5 KB: it does not compress."""
    noise = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


def night(*, frames: int = 40, start_ms: int = START_MS) -> list[Entry]:
    """Frames of two cameras, now and then a text, by append time."""
    found: list[Entry] = []
    for number in range(frames):
        at_ms = start_ms + 100 * number
        camera = (("camera", f"c{number % 2}".encode()),)
        found.append(("frames", record(number, at_ms, jpeg(number), headers=camera)))
        if number % 5 == 0:
            text = msgspec.json.encode({"text": f"smoke {number}", "severity": 4})
            found.append(("texts", record(number // 5, at_ms, text)))
    return found


def write(path: Path, entries: Iterable[Entry], *, opening: Opening | None = None, is_ended: bool = True) -> Path:
    """Write a file with small chunks; without an end as a killed writer leaves it, its last chunk lost."""
    opening = opening or Opening(version="1", about=about())
    writer = RecordingWriter(path, opening, chunk_bytes=CHUNK_BYTES)
    for kind, one in entries:
        writer.add(kind, one)
    if is_ended:
        writer.finish(Ending(to_ms=opening.about.to_ms))
    else:
        writer.abandon()
    return path


def read(*paths: Path, is_past_damage: bool = False) -> tuple[list[Entry], str]:
    """Return all records that can be read, and what is said to be lost."""
    found: list[Entry] = []
    with open_recording(*paths, is_past_damage=is_past_damage) as recording:
        try:
            found.extend(recording.records())
        except RecordingError as error:
            return found, str(error)
    return found, ""


def shuffled(entries: Sequence[Entry], seed: int) -> list[Entry]:
    """Entries in another order across topics; within one they stay in order."""
    kinds = [kind for kind, _ in entries]
    random.Random(seed).shuffle(kinds)
    queues = {kind: [one for other, one in entries if other == kind] for kind in kinds}
    return [(kind, queues[kind].pop(0)) for kind in kinds]
