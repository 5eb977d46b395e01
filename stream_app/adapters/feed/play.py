"""Playing: footage and texts go to the input topics at their times, as CloudEvents in binary mode.

In: a started producer, cameras or texts, speed and start. Out: records with key = zone, and counts. Per camera, records
are sent in order; what is in flight is bounded in bytes. The same file with the same start gives the same ids.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import quote

import msgspec
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from stream_app.adapters.connection import Connection
from stream_app.adapters.feed.camera import Camera, FeedError, Footage, Shot
from stream_app.adapters.feed.texts import TimedText
from stream_app.adapters.reach import producer
from stream_app.core.event_time import format_event_time

MAX_REQUEST_BYTES = 8 * 1024 * 1024
_REQUEST_TIMEOUT_MS = 10_000
_BATCH_BYTES = 256 * 1024
_METADATA_S = 10.0
#: After a live source broke off, before it is tried again.
_RECONNECT_S = 1.0


class FeedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to play. ``speed`` 0 is as fast as possible; ``start_ms`` is the event time of the first frame.

    ``is_looping`` begins again when a file ends or a live source breaks off. ``in_flight_bytes`` bounds what is sent
    and not yet confirmed.
    """

    speed: float = 1.0
    start_ms: int
    is_looping: bool = False
    in_flight_bytes: int = 32 * 1024 * 1024


class Sent(msgspec.Struct, frozen=True, gc=False):
    """One record that a broker confirmed: of which zone and camera ('' for texts), where it lies, how large it is."""

    zone: str
    camera: str
    partition: int
    offset: int
    size: int


class FeedReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was played: records confirmed, their bytes, records that were too large to be sent."""

    sent: int = 0
    sent_bytes: int = 0
    too_large: int = 0


Confirmed = Callable[[Sent], None]


def feeding_producer(connection: Connection) -> AbstractAsyncContextManager[Any]:
    """Return a producer as feeding wants it: idempotent, acks of all, Kafka's own partitioner, frames up to 8 MiB.

    Raises:
        BrokerUnreachableError: on entering, if no broker answers.
    """
    return producer(
        connection,
        max_request_size=MAX_REQUEST_BYTES,
        max_batch_size=_BATCH_BYTES,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        linger_ms=5,
    )


async def feed_frames(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    topic: str,
    cameras: Sequence[tuple[Camera, Footage]],
    settings: FeedSettings,
    *,
    confirmed: Confirmed | None = None,
) -> FeedReport:
    """Play cameras to the frames topic, all at once, each in its own order.

    Args:
        client: a started producer, see :func:`feeding_producer`.
        topic: the frames topic.
        cameras: who and what.
        settings: how.
        confirmed: called for each confirmed record, on the event loop.

    Returns:
        Counts over all cameras, when the last one ended.

    Raises:
        FeedError: if a source breaks, or the topic is missing.
        KafkaError: if the brokers no longer confirm.
    """
    await _require_topic(client, topic)
    outbox = _Outbox(client, topic, settings.in_flight_bytes, confirmed)
    begun = time.monotonic()
    try:
        async with asyncio.TaskGroup() as group:
            for camera, footage in cameras:
                group.create_task(_play_camera(outbox, camera, footage, settings, begun=begun))
    except* (FeedError, KafkaError) as errors:
        raise errors.exceptions[0] from None
    await outbox.drain()
    return outbox.report


async def feed_texts(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    topic: str,
    texts: Sequence[TimedText],
    settings: FeedSettings,
    *,
    zone: str,
    source: str = "texts",
    confirmed: Confirmed | None = None,
) -> FeedReport:
    """Play texts to the texts topic, in the order of their times. Texts do not loop.

    Args:
        client: a started producer, see :func:`feeding_producer`.
        topic: the texts topic.
        texts: what; a text with an own time keeps it as its event time, and is sent when its turn comes.
        settings: how.
        zone: for texts that name none.
        source: a name for where they come from; part of the CloudEvents source.
        confirmed: called for each confirmed record, on the event loop.

    Returns:
        Counts, when the last text is confirmed.

    Raises:
        FeedError: if the topic is missing.
        KafkaError: if the brokers no longer confirm.
    """
    await _require_topic(client, topic)
    outbox = _Outbox(client, topic, settings.in_flight_bytes, confirmed)
    begun = time.monotonic()
    timed = ((_event_ms(text, settings.start_ms), number, text) for number, text in enumerate(texts))
    for event_ms, number, text in sorted(timed, key=_turn):
        await _until(begun, event_ms - settings.start_ms, settings.speed)
        body = {"text": text.text, "severity": text.severity, "sensor": text.sensor}
        value = msgspec.json.encode({name: content for name, content in body.items() if content is not None})
        headers = _headers("text", f"/vigil/feed/{quote(source)}", f"{number}-{event_ms}", event_ms)
        headers.append(("content-type", b"application/json"))
        await outbox.send("", text.zone or zone, value, headers)
    await outbox.drain()
    return outbox.report


async def _play_camera(
    outbox: _Outbox, camera: Camera, footage: Footage, settings: FeedSettings, *, begun: float
) -> None:
    index = 0
    round_ms = 0
    while True:
        last_ms = 0
        async for shot in _shots(footage, is_patient=settings.is_looping):
            if shot.offset_ms is None:
                event_ms = time.time_ns() // 1_000_000
            else:
                last_ms = shot.offset_ms
                event_ms = settings.start_ms + round_ms + last_ms
                await _until(begun, round_ms + last_ms, settings.speed)
            await outbox.send(camera.name, camera.zone, shot.data, _frame_headers(camera, shot, index, event_ms))
            index += 1
        if not settings.is_looping:
            return
        round_ms += footage.length_ms or last_ms + 1
        if footage.is_live:
            await asyncio.sleep(_RECONNECT_S)


async def _shots(footage: Footage, *, is_patient: bool) -> AsyncIterator[Shot]:
    """Yield a source's frames; a patient player takes the failure of a live source for its end, to try it again."""
    try:
        async for shot in footage.shots():
            yield shot
    except FeedError:
        if not (is_patient and footage.is_live):
            raise


def _frame_headers(camera: Camera, shot: Shot, index: int, event_ms: int) -> list[tuple[str, bytes]]:
    source = f"/vigil/feed/{quote(camera.zone)}/{quote(camera.name)}"
    headers = _headers("frame", source, f"{index}-{event_ms}", event_ms)
    return [*headers, ("content-type", shot.content_type.encode()), ("camera", camera.name.encode())]


def _headers(kind: str, source: str, event_id: str, event_ms: int) -> list[tuple[str, bytes]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", f"vigil.{kind}.v1".encode()),
        ("ce_time", format_event_time(event_ms).encode()),
    ]


def _event_ms(text: TimedText, start_ms: int) -> int:
    return text.time_ms if text.time_ms is not None else start_ms + (text.offset_ms or 0)


def _turn(timed: tuple[int, int, TimedText]) -> tuple[int, int]:
    return timed[:2]


async def _until(begun: float, offset_ms: int, speed: float) -> None:
    """Sleep until what lies so far into the footage is due."""
    if speed > 0:
        wait_s = begun + offset_ms / 1_000 / speed - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)


async def _require_topic(client: Any, topic: str) -> None:  # noqa: ANN401 - aiokafka has no types
    # Among all topics: asking for one by name makes it, where brokers create topics on demand.
    async with asyncio.timeout(_METADATA_S):
        known = await client.client.fetch_all_metadata()
    if topic not in known.topics():
        message = f"expected the topic {topic}, found none: `vigil topics create` makes it"
        raise FeedError(message)


class _Outbox:
    """Sends records, at most so many bytes unconfirmed; a failure of one is raised at the next."""

    def __init__(self, client: Any, topic: str, bound: int, confirmed: Confirmed | None) -> None:  # noqa: ANN401
        self._client = client
        self._topic = topic
        self._bound = bound
        self._confirmed = confirmed
        self._bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._pending: set[asyncio.Future[Any]] = set()
        self._failure: BaseException | None = None
        self.report = FeedReport()

    async def send(self, camera: str, zone: str, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        """Send one record; waits while too much is in flight, counts one that is too large."""
        while self._bytes and self._bytes + len(value) > self._bound:
            self._has_room.clear()
            await self._has_room.wait()
        if self._failure is not None:
            raise self._failure
        try:
            future = await self._client.send(self._topic, value, key=zone.encode(), headers=headers)
        except MessageSizeTooLargeError:
            self.report = msgspec.structs.replace(self.report, too_large=self.report.too_large + 1)
            return
        self._bytes += len(value)
        self._pending.add(future)
        future.add_done_callback(lambda done: self._done(done, zone, camera, len(value)))

    async def drain(self) -> None:
        """Wait until everything sent is confirmed.

        Raises:
            KafkaError: if something was not.
        """
        while self._pending:
            await asyncio.wait(tuple(self._pending))
        if self._failure is not None:
            raise self._failure

    def _done(self, future: asyncio.Future[Any], zone: str, camera: str, size: int) -> None:
        self._pending.discard(future)
        self._bytes -= size
        self._has_room.set()
        error = None if future.cancelled() else future.exception()
        if isinstance(error, MessageSizeTooLargeError):
            self.report = msgspec.structs.replace(self.report, too_large=self.report.too_large + 1)
        elif error is not None:
            self._failure = self._failure or error
        elif not future.cancelled():
            metadata = future.result()
            report = self.report
            self.report = FeedReport(
                sent=report.sent + 1, sent_bytes=report.sent_bytes + size, too_large=report.too_large
            )
            if self._confirmed is not None:
                self._confirmed(Sent(zone, camera, metadata.partition, metadata.offset, size))
