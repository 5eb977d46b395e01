"""Watching: alerts as a read_committed subscriber sees them, and when cameras and texts were last heard of.

In: a connection and topic names. Out: alerts and notices in order per partition, or a status of the inputs. It joins no
consumer group, so it takes nothing from anybody and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from aiokafka import TopicPartition

from stream_app.adapters.kafka.answering import Answers, Tell, tell_nobody
from stream_app.adapters.kafka.clients import METADATA_S, POLL_MS, BrokerUnreachableError, consumer
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.unpacking import UnreadableRecord
from stream_app.clock import SystemClock
from stream_app.core.heard import Heard
from stream_app.core.types import Side
from stream_app.runtime.ports.clock import Clock
from stream_app.wire.alerts import Alert, Notice
from stream_app.wire.topics import Topics

_METADATA_POLL_S = 0.02
#: Reading up to the end of a topic gives up when nothing came for this long, in seconds.
_SILENCE_S = 20.0


class TopicMissingError(Exception):
    """A topic that is to be read does not exist; the message names it."""


class AlertView(msgspec.Struct, frozen=True):
    """An alert as read from its topic. Fields that later versions add are ignored; absent ones have these values."""

    id: str
    incident: str
    phase: str
    label: str
    zone: str
    number: int = 0
    score: float = 0.0
    threshold: float = 0.0
    cameras: tuple[str, ...] = ()
    severity: int | None = None
    start: str = ""
    end: str = ""
    present: tuple[str, ...] = ()
    late: bool = False
    masked: bool = False
    reason: str = ""
    evidence: tuple[Mapping[str, Any], ...] = ()
    evidence_left_out: int = 0


class NoticeView(msgspec.Struct, frozen=True):
    """A notice as read from the alerts topic, such as a zone over its rate bound."""

    notice: str
    zone: str
    detail: str = ""


class Seen(msgspec.Struct, frozen=True):
    """One record of the alerts topic: what it says (None where it is neither alert nor notice) and its own JSON."""

    content: AlertView | NoticeView | None
    value: bytes
    partition: int
    offset: int


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts are of interest; an empty set takes all. Notices have no label and no phase to be chosen by."""

    zones: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    phases: frozenset[str] = frozenset()

    def takes(self, content: AlertView | NoticeView | Alert | Notice) -> bool:
        """Return whether a record passes."""
        if self.zones and content.zone not in self.zones:
            return False
        if isinstance(content, NoticeView | Notice):
            return not (self.labels or self.phases)
        return (not self.labels or content.label in self.labels) and (not self.phases or content.phase in self.phases)


class CameraStatus(msgspec.Struct, frozen=True):
    """A camera's newest frame, or a zone's newest text (``camera`` None), found near the ends of the inputs."""

    zone: str
    camera: str | None
    partition: int
    newest_ms: int


class InputStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the ends of the input topics say. ``looked_at`` records were read; older cameras are not in it.

    ``unreadable`` are those of them, and whole batches, that no client can read: `topic/partition/offsets: reason`.
    """

    cameras: tuple[CameraStatus, ...]
    texts: tuple[CameraStatus, ...]
    blind_zones: tuple[str, ...]
    looked_at: int
    unreadable: tuple[str, ...] = ()


def read_alert(value: bytes | None) -> AlertView | NoticeView | None:
    """Read a record of the alerts topic; None where it is neither an alert nor a notice."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(value or b"", type=AlertView)
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(value or b"", type=NoticeView)
    return None


async def watch_alerts(
    connection: Connection,
    topic: str,
    *,
    from_beginning: bool = False,
    tell: Tell = tell_nobody,
    clock: Clock | None = None,
) -> AsyncIterator[Seen]:
    """Yield what is committed to the alerts topic, until cancelled.

    Args:
        connection: the cluster.
        topic: the alerts topic.
        from_beginning: begin with the oldest record kept; else with the next.
        tell: is told within 5 s when the brokers no longer answer, and when they are back.
        clock: None for this machine's.

    Raises:
        BrokerUnreachableError: if no broker answers at the start; later outages are waited out.
        TopicMissingError: if there is no such topic.
    """
    async with consumer(connection) as client:
        partitions = await assign_all(client, topic)
        if from_beginning:
            await client.seek_to_beginning(*partitions)
        else:
            await client.seek_to_end(*partitions)
        polls = Polls(client, tell, clock)
        while True:
            batches = await polls.poll(partitions)
            for record in _in_order(batches.values()):
                yield Seen(read_alert(record.value), record.value or b"", record.partition, record.offset)


async def read_alerts(
    connection: Connection, topic: str, takes: Callable[[AlertView], bool], *, tell: Tell = tell_nobody
) -> list[Seen]:
    """Return those alerts that are committed to the alerts topic now and that ``takes`` says yes to.

    Raises:
        BrokerUnreachableError: if no broker answers, or none any longer.
        TopicMissingError: if there is no such topic.
    """
    found: list[Seen] = []
    async with consumer(connection) as client:
        partitions = await assign_all(client, topic)
        await client.seek_to_beginning(*partitions)
        async for record in read_to_the_end(client, await client.end_offsets(partitions), tell=tell):
            content = read_alert(record.value)
            if isinstance(content, AlertView) and takes(content):
                found.append(Seen(content, record.value, record.partition, record.offset))
    return found


async def input_status(
    connection: Connection, topics: Topics, *, now_ms: int, tail: int = 300, tell: Tell = tell_nobody
) -> InputStatus:
    """Read the last records of each input partition and say when each camera and zone was last heard of.

    Args:
        connection: the cluster.
        topics: names of the inputs.
        now_ms: wall time, for the zones without frames.
        tail: how many records per partition to look at.
        tell: is told when the brokers no longer answer, and when they are back.

    Raises:
        BrokerUnreachableError: if no broker answers.
        TopicMissingError: if an input topic does not exist.
    """
    heard = Heard()
    looked_at = 0
    unreadable: list[str] = []
    async with consumer(connection) as client:
        for topic, side in ((topics.frames, Side.FRAME), (topics.texts, Side.TEXT)):
            partitions = await assign_all(client, topic)
            ends = await client.end_offsets(partitions)
            begins = await client.beginning_offsets(partitions)
            for partition in partitions:
                client.seek(partition, max(begins[partition], ends[partition] - tail))
            async for record in read_to_the_end(client, ends, tell=tell):
                heard.note(record.partition, side, (record,), now_ms)
                looked_at += 1
                if isinstance(record, UnreadableRecord):
                    unreadable.append(f"{record.place}: {record.reason}, {record.detail}")
    return InputStatus(
        cameras=_statuses(CameraStatus(s.zone, s.camera, s.partition, s.append_ms) for s in heard.frames()),
        texts=_statuses(CameraStatus(s.zone, None, s.partition, s.append_ms) for s in heard.texts()),
        blind_zones=tuple(heard.blind_zones(now_ms)),
        looked_at=looked_at,
        unreadable=tuple(unreadable),
    )


async def require_topic(client: Any, topic: str) -> None:  # noqa: ANN401 - aiokafka has no types
    """Make sure that a topic is there, without asking for it by name: some brokers create topics on demand.

    Raises:
        TopicMissingError: if there is no such topic.
    """
    if topic not in await client.topics():
        raise TopicMissingError(_missing(topic))


def _missing(topic: str) -> str:
    return f"expected the topic {topic}, found none: `vigil topics create` makes it"


async def assign_all(client: Any, topic: str) -> list[TopicPartition]:  # noqa: ANN401 - aiokafka has no types
    """Assign all partitions of a topic to a consumer without group.

    Raises:
        TopicMissingError: if there is no such topic.
    """
    await require_topic(client, topic)
    numbers: set[int] | None = None
    # A consumer that has partitions assigned may not subscribe.
    client.unsubscribe()
    client.subscribe([topic])
    with suppress(TimeoutError):
        async with asyncio.timeout(METADATA_S):
            while not (numbers := client.partitions_for_topic(topic)):  # noqa: ASYNC110 - aiokafka tells nobody
                await asyncio.sleep(_METADATA_POLL_S)
    client.unsubscribe()
    if not numbers:
        raise TopicMissingError(_missing(topic))
    partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
    client.assign(partitions)
    return partitions


class Polls:
    """Polls of a consumer that say when the brokers no longer answer."""

    def __init__(self, client: Any, tell: Tell, clock: Clock | None = None) -> None:  # noqa: ANN401 - aiokafka
        self._client = client
        self._clock = SystemClock() if clock is None else clock
        self._answers = Answers(tell, self._clock)

    async def poll(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, Sequence[Any]]:
        """Return what has come for these partitions, after half a second at the latest."""
        places = tuple(partitions)
        began = self._clock.monotonic()
        batches: Mapping[TopicPartition, Sequence[Any]] = await self._client.getmany(*places, timeout_ms=POLL_MS)
        # It moves with each answer of a broker to a fetch, those without records too.
        self._answers.polled(began, {place: self._client.last_poll_timestamp(place) for place in places})
        return batches


async def read_to_the_end(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    ends: Mapping[TopicPartition, int],
    *,
    tell: Tell = tell_nobody,
) -> AsyncIterator[Any]:
    """Yield records of all assigned partitions up to these ends.

    Args:
        client: a consumer.
        ends: of each partition.
        tell: is told when the brokers no longer answer, and when they are back.

    Raises:
        BrokerUnreachableError: if nothing comes for 20 s before the ends.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _SILENCE_S
    left = set(ends)
    polls = Polls(client, tell)
    while left:
        for partition in list(left):
            # A position behind the end may still be the end: transaction markers take offsets too.
            if await client.position(partition) >= ends[partition]:
                left.discard(partition)
        if not left:
            return
        if loop.time() > until:
            message = f"the brokers have stopped answering: nothing for {_SILENCE_S:g} s"
            raise BrokerUnreachableError(message)
        for batch in (await polls.poll(left)).values():
            until = loop.time() + _SILENCE_S
            for record in batch:
                if record.offset < ends[TopicPartition(record.topic, record.partition)]:
                    yield record


def _in_order(batches: Iterable[Sequence[Any]]) -> Iterator[Any]:
    """Yield records by time across partitions; within one they stay as they are, whatever clocks stamped them."""
    return heapq.merge(*batches, key=_append_order)


def _append_order(record: Any) -> tuple[int, int, int]:  # noqa: ANN401 - aiokafka has no types
    return record.timestamp, record.partition, record.offset


def _statuses(found: Iterable[CameraStatus]) -> tuple[CameraStatus, ...]:
    return tuple(sorted(found, key=lambda status: (status.zone, status.camera or "")))
