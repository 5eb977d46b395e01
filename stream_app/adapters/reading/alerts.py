"""Watching: alerts as a read_committed subscriber sees them, and when cameras and texts were last heard from.

In: a connection and topic names. Out: alerts and notices in order per partition, or a status of the inputs. It joins no
consumer group, so it takes nothing from anybody and leaves nothing behind.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from stream_app.adapters.kafka.answering import Tell, tell_nobody
from stream_app.adapters.kafka.clients import consumer
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.to_the_end import Polls, assign_all, read_to_the_end, read_topic
from stream_app.adapters.kafka.unpacking import UnreadableRecord
from stream_app.core.heard import Heard
from stream_app.core.types import Side
from stream_app.runtime.ports.clock import Clock
from stream_app.wire.alerts import Alert, Notice, decode_alert
from stream_app.wire.message import WireError
from stream_app.wire.topics import Topics


class Seen(msgspec.Struct, frozen=True):
    """One record of the alerts topic: what it says (None where it is neither alert nor notice) and its own JSON.

    ``unreadable`` says why a record that should be one of them is not: it does not fit its schema, or is damaged.
    """

    content: Alert | Notice | None
    value: bytes
    place: str
    unreadable: str = ""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts are of interest; an empty set takes all. Notices have no label and no phase to be chosen by."""

    zones: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    phases: frozenset[str] = frozenset()

    def takes(self, content: Alert | Notice) -> bool:
        """Return whether a record passes."""
        if self.zones and content.zone not in self.zones:
            return False
        if isinstance(content, Notice):
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


def read_alert(record: Any) -> Seen:  # noqa: ANN401 - aiokafka has no types
    """Read a record of the alerts topic."""
    if isinstance(record, UnreadableRecord):
        return Seen(None, b"", record.place, f"{record.reason}, {record.detail}")
    place = f"{record.topic}/{record.partition}/{record.offset}"
    value = record.value or b""
    try:
        return Seen(decode_alert(value, record.headers), value, place)
    except WireError as error:
        return Seen(None, value, place, str(error))


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
                yield read_alert(record)


async def read_alerts(
    connection: Connection, topic: str, takes: Callable[[Alert], bool], *, tell: Tell = tell_nobody
) -> list[tuple[Alert, bytes]]:
    """Return those alerts that are committed to the alerts topic now and that ``takes`` says yes to, with their JSON.

    Args:
        connection: the cluster.
        topic: the alerts topic.
        takes: which ones.
        tell: is told when the brokers no longer answer, and when they are back; and how many records cannot be read.

    Raises:
        BrokerUnreachableError: if no broker answers, or none any longer.
        TopicMissingError: if there is no such topic.
    """
    found: list[tuple[Alert, bytes]] = []
    unreadable: list[Seen] = []
    async with consumer(connection) as client:
        async for record in read_topic(client, topic, tell=tell):
            seen = read_alert(record)
            if isinstance(seen.content, Alert) and takes(seen.content):
                found.append((seen.content, seen.value))
            elif seen.unreadable:
                unreadable.append(seen)
    if unreadable:
        first = unreadable[0]
        tell(f"records that cannot be read: {len(unreadable)}, the first of them {first.place}: {first.unreadable}")
    return found


async def input_status(
    connection: Connection, topics: Topics, *, now_ms: int, tail: int = 300, tell: Tell = tell_nobody
) -> InputStatus:
    """Read the last records of each input partition and say when each camera and zone was last heard from.

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


def _in_order(batches: Iterable[Sequence[Any]]) -> Iterator[Any]:
    """Yield records by time across partitions; within one they stay as they are, whatever clocks stamped them."""
    return heapq.merge(*batches, key=_append_order)


def _append_order(record: Any) -> tuple[int, int, int]:  # noqa: ANN401 - aiokafka has no types
    return record.timestamp, record.partition, record.offset


def _statuses(found: Iterable[CameraStatus]) -> tuple[CameraStatus, ...]:
    return tuple(sorted(found, key=lambda status: (status.zone, status.camera or "")))
