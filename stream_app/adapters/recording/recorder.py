"""Records a range of the topics into files, once or for as long as it is not stopped.

In: a connection, what is wanted, where to. Out: files that are readable however it ends. It must not know settings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from stream_app.adapters.kafka.clients import consumer
from stream_app.adapters.kafka.to_the_end import EndNotReachedError
from stream_app.adapters.recording.kafka import FETCH_BYTES, Plan, TopicReader
from stream_app.adapters.recording.layout import Opening
from stream_app.clock import SystemClock
from stream_app.core.event_time import format_event_time
from stream_app.replay.recording import About

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import TopicPartition

    from stream_app.adapters.kafka.answering import Tell
    from stream_app.adapters.kafka.connection import Connection
    from stream_app.adapters.recording.sink import Sink
    from stream_app.runtime.ports.clock import Clock

#: How often the ends of the topics are looked at while they are followed, in seconds.
_FOLLOW_S: Final = 1.0
#: A chunk that does not fill is written this often, and it is said how far the recording has come. Seconds.
_FLUSH_S: Final = 5.0


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be recorded. ``tasks`` tells from their number which tasks are wanted.

    ``about`` says the rest; its partitions are found out. ``to_ms`` None: up to now, or on and on.
    """

    about: About
    to_ms: int | None
    tasks: Callable[[int], tuple[int, ...]]
    is_followed: bool = False


async def record(
    connection: Connection,
    wanted: Wanted,
    open_sink: Callable[[Opening], Sink],
    *,
    version: str,
    tell: Tell,
    clock: Clock | None = None,
) -> Sink:
    """Record; cancelled, end the file in hand before.

    Args:
        connection: the cluster.
        wanted: what.
        open_sink: opens the files.
        version: of Vigil.
        tell: is told what can be verified, how far it has come, and when the brokers no longer answer.
        clock: None for this machine's.

    Raises:
        BrokerUnreachableError: if no broker answers, or none any longer.
        TopicMissingError: if a topic does not exist.
        OSError: if the files cannot be written; what is in them stays readable.
    """
    async with consumer(connection, max_partition_fetch_bytes=FETCH_BYTES) as client:
        reader = TopicReader(client, wanted.about, tell)
        await reader.open()
        about = msgspec.structs.replace(wanted.about, partitions=wanted.tasks(reader.task_count))
        plan = await reader.plan(about, to_ms=wanted.to_ms)
        for remark in plan.remarks:
            tell(remark)
        sink = open_sink(_opening(plan, version))
        try:
            await _Recorder(reader, plan, sink, tell, clock or SystemClock()).run(is_followed=wanted.is_followed)
        except OSError as error:
            if isinstance(error, ConnectionError):
                sink.finish()
            else:
                sink.abandon()
            raise
        except asyncio.CancelledError:
            sink.finish()
            raise
        sink.finish()
        return sink


def _opening(plan: Plan, version: str) -> Opening:
    choice = plan.choice
    return Opening(
        version=version,
        about=choice.about,
        is_open_ended=choice.to_ms is None,
        begins=tuple((*place, offset) for place, offset in plan.begins.items()),
        in_force=tuple(start.in_force for start in choice.starts.values()),
    )


class _Recorder:
    """One run: reads, writes, and says how far it has come."""

    def __init__(self, reader: TopicReader, plan: Plan, sink: Sink, tell: Tell, clock: Clock) -> None:
        self._reader = reader
        self._plan = plan
        self._sink = sink
        self._tell = tell
        self._clock = clock
        self._said_at = clock.monotonic()

    async def run(self, *, is_followed: bool) -> None:
        self._reader.seek(self._plan)
        await self._read(self._plan.ends)
        while is_followed:
            await self._clock.sleep(_FOLLOW_S)
            try:
                await self._read(await self._reader.ends_now(self._plan))
            except EndNotReachedError as error:
                # Whoever follows waits an outage out.
                self._tell(str(error))

    async def _read(self, ends: Mapping[TopicPartition, int]) -> None:
        self._say()
        async for kind, record in self._reader.read(self._plan.choice, ends):
            self._sink.add(kind, record)
            self._say()
        self._sink.unreadable += self._reader.unreadable
        self._reader.unreadable.clear()

    def _say(self) -> None:
        if self._clock.monotonic() - self._said_at < _FLUSH_S:
            return
        self._said_at = self._clock.monotonic()
        self._sink.flush()
        if (newest_ms := self._sink.newest_ms) is not None:
            until, size = format_event_time(newest_ms), self._sink.size / 1e6
            self._tell(f"recorded until {until}: {self._sink.records} records, {size:.1f} MB")
