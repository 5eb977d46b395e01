"""The player: puts cameras and reports on the input topics at real time, and writes down what the broker confirmed.

In: cameras (drawn or from a video) and reports with their times. Out: records on the two input topics and a
:class:`Published`. Event time is the moment of the schedule, laid on the wall clock at the start.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

import msgspec
from aiokafka import AIOKafkaProducer

from stream_app.core.event_time import format_event_time
from stream_app.demo.truth import Published, PublishedRecord
from stream_app.runtime.together import run_together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stream_app.adapters.kafka.connection import Connection


class PlayedCamera(Protocol):
    """A camera that can be asked for its picture at a moment of the schedule; None where it has none (any more)."""

    @property
    def name(self) -> str:
        """The camera's name within its zone."""
        ...

    @property
    def zone(self) -> str:
        """The zone that it looks at."""
        ...

    def jpeg(self, t_ms: int) -> bytes | None:
        """Return the encoded picture of a moment, in ms of the schedule."""
        ...


class PlayedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A text of the schedule: what it says, when it is sent, and the moment it speaks of (both ms of the schedule)."""

    zone: str
    text: str
    severity: int
    sent_ms: int
    event_ms: int


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be played."""

    cameras: tuple[PlayedCamera, ...]
    reports: tuple[PlayedReport, ...]
    duration_ms: int
    fps: float
    frames_topic: str
    texts_topic: str


class Player:
    """Plays once."""

    def __init__(self, connection: Connection, play: Play) -> None:
        self._play = play
        self._producer = AIOKafkaProducer(
            **connection.client_arguments(), enable_idempotence=True, acks="all", max_request_size=9 * 1024 * 1024
        )
        self.published = Published()
        self.start_ms = 0

    async def run(self, on_progress: Callable[[int], None]) -> Published:
        """Play to the end.

        Args:
            on_progress: told the moment of the schedule, in ms, now and then.

        Returns:
            What the broker confirmed, with partitions, offsets and append times.
        """
        await self._producer.start()
        try:
            self.start_ms = int(time.time() * 1_000)
            films = (self._film(camera, number) for number, camera in enumerate(self._play.cameras))
            await run_together((*films, self._report(), self._tell(on_progress)))
        finally:
            await self._producer.stop()
        return self.published

    async def _film(self, camera: PlayedCamera, number: int) -> None:
        for count, moment in enumerate(moments(self._play, number)):
            await self._until(moment)
            jpeg = await asyncio.to_thread(camera.jpeg, moment)
            if jpeg is None:
                return
            event_ms = self.start_ms + moment
            record = await self._send(
                self._play.frames_topic, camera.zone, jpeg, frame_headers(camera, count, event_ms)
            )
            self.published.frames.append(msgspec.structs.replace(record, event_ms=event_ms, camera=camera.name))

    async def _report(self) -> None:
        for number, report in enumerate(sorted(self._play.reports, key=lambda report: report.sent_ms)):
            await self._until(report.sent_ms)
            event_ms = self.start_ms + report.event_ms
            headers = text_headers(number, event_ms)
            record = await self._send(self._play.texts_topic, report.zone, text_value(report), headers)
            self.published.texts.append(msgspec.structs.replace(record, event_ms=event_ms))

    async def _tell(self, on_progress: Callable[[int], None]) -> None:
        while (now := int(time.time() * 1_000) - self.start_ms) < self._play.duration_ms:
            on_progress(now)
            await asyncio.sleep(0.2)
        on_progress(self._play.duration_ms)

    async def _until(self, at_ms: int) -> None:
        await asyncio.sleep(max(0.0, (self.start_ms + at_ms) / 1_000 - time.time()))

    async def _send(self, topic: str, zone: str, value: bytes, headers: Sequence[tuple[str, bytes]]) -> PublishedRecord:
        confirmed = await self._producer.send_and_wait(topic, value, key=zone.encode(), headers=list(headers))
        return PublishedRecord(
            partition=confirmed.partition,
            offset=confirmed.offset,
            append_ms=confirmed.timestamp,
            event_ms=0,
            zone=zone,
        )


def moments(play: Play, number: int) -> Iterator[int]:
    """Yield when the camera of this number takes pictures, in ms of the schedule."""
    every_ms = 1_000 / play.fps
    # Cameras are not in step with each other.
    at_ms = every_ms * number / max(1, len(play.cameras))
    while at_ms < play.duration_ms:
        yield int(at_ms)
        at_ms += every_ms


def frame_headers(camera: PlayedCamera, number: int, event_ms: int) -> list[tuple[str, bytes]]:
    """Return the headers of a camera's frame of this number."""
    headers = _headers("vigil.frame", f"{camera.zone}/{camera.name}", number, event_ms)
    return [*headers, ("camera", camera.name.encode())]


def text_headers(number: int, event_ms: int) -> list[tuple[str, bytes]]:
    """Return the headers of the text of this number."""
    return _headers("vigil.text", "reports", number, event_ms)


def text_value(report: PlayedReport) -> bytes:
    """Return what is sent of a report."""
    return msgspec.json.encode({"text": report.text, "severity": report.severity, "sensor": "demo"})


def _headers(kind: str, source: str, number: int, event_ms: int) -> list[tuple[str, bytes]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(number).encode()),
        ("ce_source", f"/demo/{source}".encode()),
        ("ce_type", f"{kind}.v1".encode()),
        ("ce_time", format_event_time(event_ms).encode()),
    ]
