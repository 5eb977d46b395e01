"""Playing: footage and texts go to the input topics at their times, as CloudEvents in binary mode.

In: a started producer, cameras or texts, speed and start. Out: records with key = zone, and counts. Per camera, records
are sent in order; what is in flight is bounded in bytes. The same file with the same start gives the same ids.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import msgspec

from stream_app.adapters.feed.camera import Camera, FeedError, Footage, Shot
from stream_app.adapters.feed.confirming import confirming
from stream_app.adapters.feed.outbox import Confirmed, FeedReport, Outbox, require_topic
from stream_app.adapters.feed.texts import TimedText, body_of
from stream_app.adapters.feed.turns import Turns
from stream_app.adapters.kafka.answering import Confirmations, Tell, tell_nobody
from stream_app.adapters.kafka.clients import producer
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.topic_plans import MAX_MESSAGE_BYTES
from stream_app.clock import SystemClock
from stream_app.core.event_time import format_event_time
from stream_app.runtime.together import run_together

_BATCH_BYTES = 256 * 1024
#: After a live source broke off, before it is tried again.
_RECONNECT_S = 1.0


class FeedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to play. ``speed`` 0 is as fast as possible; ``start_ms`` is the event time of the first frame.

    ``is_looping`` begins again when a file ends or a live source breaks off. ``in_flight_bytes`` bounds what is sent
    and not yet confirmed.
    """

    speed: float
    start_ms: int
    is_looping: bool
    in_flight_bytes: int = 32 * 1024 * 1024


#: Called with a camera and something that a person should know of it.
Noted = Callable[[Camera, str], None]


@asynccontextmanager
async def feeding_producer(connection: Connection, *, tell: Tell = tell_nobody) -> AsyncIterator[Any]:
    """Yield a producer as feeding wants it: idempotent, acks of all, Kafka's own partitioner, frames up to 8 MiB.

    Args:
        connection: the cluster.
        tell: is told within 5 s when the brokers no longer confirm, and when they are back.

    Raises:
        BrokerUnreachableError: on entering, if no broker answers.
    """
    async with (
        producer(
            connection,
            max_request_size=MAX_MESSAGE_BYTES,
            max_batch_size=_BATCH_BYTES,
            linger_ms=5,
        ) as client,
        confirming(client, Confirmations(tell, SystemClock())) as watched,
    ):
        yield watched


async def feed_frames(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    topic: str,
    cameras: Sequence[tuple[Camera, Footage]],
    settings: FeedSettings,
    *,
    confirmed: Confirmed | None = None,
    noted: Noted | None = None,
    turns: Turns | None = None,
) -> FeedReport:
    """Play cameras to the frames topic, all at once, each in its own order.

    Args:
        client: a started producer, see :func:`feeding_producer`.
        topic: the frames topic.
        cameras: who and what.
        settings: how.
        confirmed: called for each confirmed record, on the event loop.
        noted: called when a live source is tried again, and when a file ends before the length that it claims.
        turns: shared with whoever else is played; each camera is one player. None: each goes at its own pace.

    Returns:
        Counts over all cameras, when the last one ended.

    Raises:
        FeedError: if a source breaks, a live one ends without ``is_looping``, or the topic is missing.
        KafkaError: if the brokers no longer confirm.
    """
    await require_topic(client, topic)
    outbox = Outbox(client, topic, settings.in_flight_bytes, confirmed)
    begun = time.monotonic()
    await run_together(
        _play_camera(outbox, camera, footage, settings, begun=begun, noted=noted, turns=turns)
        for camera, footage in cameras
    )
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
    turns: Turns | None = None,
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
        turns: shared with whoever else is played; the texts are one player. None: they go at their own pace.

    Returns:
        Counts, when the last text is confirmed.

    Raises:
        FeedError: if the topic is missing.
        KafkaError: if the brokers no longer confirm.
    """
    await require_topic(client, topic)
    outbox = Outbox(client, topic, settings.in_flight_bytes, confirmed)
    begun = time.monotonic()
    timed = ((_event_ms(text, settings.start_ms), number, text) for number, text in enumerate(texts))
    for event_ms, number, text in sorted(timed, key=_turn):
        await _until(begun, event_ms - settings.start_ms, settings.speed)
        if turns is not None:
            await turns.wait(outbox, event_ms - settings.start_ms, outbox)
        headers = _headers("text", f"/vigil/feed/{quote(source)}", f"{number}-{event_ms}", event_ms)
        headers.append(("content-type", b"application/json"))
        await outbox.send("", text.zone or zone, body_of(text), headers)
    await outbox.drain()
    if turns is not None:
        await turns.leave(outbox, outbox)
    return outbox.report


async def _play_camera(
    outbox: Outbox,
    camera: Camera,
    footage: Footage,
    settings: FeedSettings,
    *,
    begun: float,
    noted: Noted | None,
    turns: Turns | None,
) -> None:
    index = 0
    round_ms = 0
    said = ""
    while True:
        last_ms = 0
        first = index
        end = _End()
        async for shot in _shots(camera, footage, end, is_patient=settings.is_looping):
            if shot.offset_ms is None:
                event_ms = time.time_ns() // 1_000_000
            else:
                last_ms = shot.offset_ms
                event_ms = settings.start_ms + round_ms + last_ms
                await _until(begun, round_ms + last_ms, settings.speed)
                if turns is not None:
                    await turns.wait(camera, round_ms + last_ms, outbox)
            await outbox.send(camera.name, camera.zone, shot.data, _frame_headers(camera, shot, index, event_ms))
            index += 1
        word = _last_word(footage, end, index - first)
        if noted is not None and word and (word != said or (footage.is_live and index > first)):
            noted(camera, word)
            said = word
        if not settings.is_looping:
            if turns is not None and not footage.is_live:
                await turns.leave(camera, outbox)
            return
        round_ms += footage.length_ms or last_ms + 1
        if footage.is_live:
            await asyncio.sleep(_RECONNECT_S)


class _End:
    """How a source ended; '' where it just did."""

    reason = ""


async def _shots(camera: Camera, footage: Footage, end: _End, *, is_patient: bool) -> AsyncIterator[Shot]:
    """Yield a source's frames; a patient player takes the failure of a live source for its end, to try it again."""
    try:
        async for shot in footage.shots():
            yield shot
    except FeedError as error:
        if not (is_patient and footage.is_live):
            raise
        end.reason = str(error)
    else:
        if footage.is_live and not is_patient:
            message = f"{camera.name} ({camera.zone}): the live source ended its stream; with --loop it is tried again"
            raise FeedError(message)


def _last_word(footage: Footage, end: _End, played: int) -> str:
    """Return what is to be said when a source has ended, '' where all is as expected."""
    if footage.is_live:
        return f"{end.reason or 'the stream ended'}; trying again every {_RECONNECT_S:g} s"
    if footage.count is not None and played < footage.count:
        return f"ended after {played} frames, although the file declares {footage.count}"
    return ""


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
