"""Sending: records to one topic, at most so many bytes unconfirmed, with counts.

In: a started producer and records. Out: confirmed records and a report. It must not know where records come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka.errors import MessageSizeTooLargeError

from stream_app.adapters.feed.camera import FeedError
from stream_app.adapters.kafka.clients import METADATA_S


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


async def require_topic(client: Any, topic: str) -> None:  # noqa: ANN401 - aiokafka has no types
    """Require that a topic exists.

    Raises:
        FeedError: if it does not.
    """
    # Among all topics: asking for one by name makes it, where brokers create topics on demand.
    async with asyncio.timeout(METADATA_S):
        known = await client.client.fetch_all_metadata()
    if topic not in known.topics():
        message = f"expected the topic {topic}, found none: `vigil topics create` makes it"
        raise FeedError(message)


class Outbox:
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
        await self.send_as_it_is(value, Sent(zone, camera, -1, -1, len(value)), key=zone.encode(), headers=headers)

    async def send_as_it_is(self, value: bytes | None, sent: Sent, **options: Any) -> None:  # noqa: ANN401
        """Send one record with whatever key, headers and partition, likewise.

        Args:
            value: its value.
            sent: what is confirmed of it; the place is filled in.
            options: those of a producer's ``send``.
        """
        while self._bytes and self._bytes + sent.size > self._bound:
            self._has_room.clear()
            await self._has_room.wait()
        if self._failure is not None:
            raise self._failure
        try:
            future = await self._client.send(self._topic, value, **options)
        except MessageSizeTooLargeError:
            self.report = msgspec.structs.replace(self.report, too_large=self.report.too_large + 1)
            return
        self._bytes += sent.size
        self._pending.add(future)
        future.add_done_callback(lambda done: self._done(done, sent))

    async def drain(self) -> None:
        """Wait until everything sent is confirmed.

        Raises:
            KafkaError: if something was not.
        """
        while self._pending:
            await asyncio.wait(tuple(self._pending))
        if self._failure is not None:
            raise self._failure

    def _done(self, future: asyncio.Future[Any], sent: Sent) -> None:
        self._pending.discard(future)
        self._bytes -= sent.size
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
                sent=report.sent + 1, sent_bytes=report.sent_bytes + sent.size, too_large=report.too_large
            )
            if self._confirmed is not None:
                place = {"partition": metadata.partition, "offset": metadata.offset}
                self._confirmed(msgspec.structs.replace(sent, **place))
