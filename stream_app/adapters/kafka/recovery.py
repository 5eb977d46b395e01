"""Where a task takes up its work: the newest checkpoint, the log's bounds, the group's committed offsets.

In: a partition. Out: a :class:`StartingPoint`, or a :class:`GapError` that says what is missing. To be called only
after the task's transactional id was initialised: before that the previous owner could still write.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from stream_app.adapters.kafka.guarding import guarded_consumer
from stream_app.adapters.kafka.to_the_end import read_to_the_end
from stream_app.adapters.kafka.unpacking import UnreadableRecord
from stream_app.core.checkpoint import NO_RECORD_MS, Checkpoint, CheckpointError, decode_checkpoint
from stream_app.core.event_time import parse_event_time
from stream_app.core.types import NO_TIME_MS, Side, Unreadable
from stream_app.runtime.ports.recovery import GapError, RecoveryError, StartingPoint
from stream_app.wire.checkpoints import state_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import AIOKafkaConsumer

    from stream_app.adapters.kafka.connection import Connection
    from stream_app.wire.topics import Topics

#: How far before the end of the state partition the search for the newest checkpoint starts; doubled until found.
_FIRST_LOOK = 64
#: A read of the state partition that gets nothing for this long is over, or stuck behind a foreign transaction.
_STATE_READ_S = 15.0
#: The clients ask for offsets for ever while a broker or a coordinator is away. In seconds.
_ASK_S = 30.0
_RETRY_BACKOFF_MS = 20


class RecoverySettings(msgspec.Struct, frozen=True, kw_only=True):
    """``start_from`` (earliest, latest, or an RFC 3339 time) counts only where there is no checkpoint and no offset."""

    deployment: str
    group: str
    start_from: str


class KafkaRecovery:
    """Reads starting points; one object serves all tasks of a worker."""

    def __init__(self, connection: Connection, topics: Topics, settings: RecoverySettings) -> None:
        self._connection = connection
        self._topics = topics
        self._settings = settings

    async def find(self, partition: int) -> StartingPoint:
        """Find where a task takes up.

        Raises:
            GapError: if input that the checkpoint needs is gone, or lies beyond the end of the log.
            RecoveryError: if the brokers cannot be asked, or the checkpoint cannot be read.
        """
        try:
            async with (
                self._client(group_id=self._settings.group, isolation_level="read_committed") as reader,
                self._client() as asker,
            ):
                return await self._find(reader, asker, partition)
        except (KafkaError, TimeoutError, OSError, CheckpointError) as error:
            message = f"task {partition}: state could not be read: {type(error).__name__} {error}"
            raise RecoveryError(message) from error

    async def log_start(self, side: Side, partition: int) -> int:
        """Return the first offset that the log of one side still has.

        Raises:
            RecoveryError: if the brokers cannot be asked.
        """
        where = TopicPartition(self._topics.of(side), partition)
        try:
            async with self._client() as asker, asyncio.timeout(_ASK_S):
                return int((await asker.beginning_offsets([where]))[where])
        except (KafkaError, TimeoutError, OSError) as error:
            message = f"{where.topic}/{partition}: the log start could not be read: {type(error).__name__} {error}"
            raise RecoveryError(message) from error

    @asynccontextmanager
    async def _client(self, **options: str) -> AsyncIterator[AIOKafkaConsumer]:
        """Start a consumer that commits nothing, and close it at the end."""
        client = guarded_consumer(
            self._connection,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # The first question about a topic is answered after one wait of this length, 100 ms by default.
            retry_backoff_ms=_RETRY_BACKOFF_MS,
            **options,
        )
        try:
            await client.start()
            yield client
        finally:
            await client.stop()

    async def _find(self, consumer: AIOKafkaConsumer, asker: AIOKafkaConsumer, partition: int) -> StartingPoint:
        inputs = [TopicPartition(self._topics.of(side), partition) for side in Side]
        state = TopicPartition(self._topics.state, partition)
        consumer.assign([*inputs, state])
        consumer.pause(*inputs)
        key = state_key(self._settings.deployment, partition)
        # Of the log, not of what is committed in it: the reader's own answer would end at the first open transaction,
        # and in a state topic that deployments share a newer checkpoint may lie behind another's.
        async with asyncio.timeout(_ASK_S):
            last = await asker.end_offsets([*inputs, state])
            first = await asker.beginning_offsets([*inputs, state])
            committed = [await consumer.committed(side) for side in inputs]
        found, unread = await _newest(consumer, state, key, (first[state], last[state]))
        bounds = [(first[side], last[side]) for side in inputs]
        if found is None:
            return await self._first_start(consumer, inputs, committed, bounds)
        checkpoint = decode_checkpoint(found)
        if unread is not None and any((committed[side] or 0) > checkpoint.lowest(side) for side in Side):
            message = (
                f"{unread}: what is there cannot be read, and the group's offsets are ahead of the newest checkpoint "
                f"that can be: a newer one may be lost, and to judge from the older one would publish alerts twice. To "
                f"skip what is missing: vigil task reset"
            )
            raise GapError(message)
        point = self._resume(checkpoint, committed, bounds, inputs)
        lasts = ((checkpoint.next_text - 1, checkpoint.text_ms), (checkpoint.next_frame - 1, checkpoint.frame_ms))
        for where, (offset, append_ms), (log_start, log_end) in zip(inputs, lasts, bounds, strict=True):
            if append_ms not in {NO_RECORD_MS, NO_TIME_MS} and offset >= log_start:
                await _require_known(consumer, where, offset, append_ms, log_end)
        return point

    async def positions(self, partition: int, start_from: str) -> tuple[int, int]:
        """Return the text and frame offsets that ``earliest``, ``latest`` or an RFC 3339 time stand for.

        Raises:
            RecoveryError: if the brokers cannot be asked.
        """
        inputs = [TopicPartition(self._topics.of(side), partition) for side in Side]
        try:
            async with self._client() as asker, asyncio.timeout(_ASK_S):
                first = await asker.beginning_offsets(inputs)
                last = await asker.end_offsets(inputs)
                found = [await _from(asker, side, (first[side], last[side]), start_from) for side in inputs]
        except (KafkaError, TimeoutError, OSError) as error:
            message = f"task {partition}: offsets could not be read: {type(error).__name__} {error}"
            raise RecoveryError(message) from error
        return found[0], found[1]

    def _resume(
        self,
        checkpoint: Checkpoint,
        committed: list[int | None],
        bounds: list[tuple[int, int]],
        inputs: list[TopicPartition],
    ) -> StartingPoint:
        said: list[str] = []
        lowest = (checkpoint.lowest(Side.TEXT), checkpoint.lowest(Side.FRAME))
        positions = (checkpoint.next_text, checkpoint.next_frame)
        for side in Side:
            where = f"{inputs[side].topic}/{inputs[side].partition}"
            log_start, log_end = bounds[side]
            if positions[side] > log_end:
                message = (
                    f"{where}: the checkpoint is at offset {positions[side]}, but the log ends at {log_end}: the "
                    f"topic was deleted and recreated, or truncated. To skip what is missing: vigil task reset"
                )
                raise GapError(message)
            if lowest[side] < log_start:
                message = (
                    f"{where}: offset {lowest[side]} is still needed, but the log starts at {log_start}: retention has "
                    f"passed it. To skip what is missing: vigil task reset"
                )
                raise GapError(message)
            if committed[side] != lowest[side]:
                said.append(
                    f"{where}: the group's committed offset is {committed[side]}, the checkpoint needs {lowest[side]}; "
                    f"the checkpoint is the truth"
                )
        return StartingPoint(checkpoint=checkpoint, start=positions, open_at=lowest, said=tuple(said))

    async def _first_start(
        self,
        consumer: AIOKafkaConsumer,
        inputs: list[TopicPartition],
        committed: list[int | None],
        bounds: list[tuple[int, int]],
    ) -> StartingPoint:
        start = [0, 0]
        said: list[str] = []
        for side in Side:
            where = f"{inputs[side].topic}/{inputs[side].partition}"
            offset = committed[side]
            if offset is not None and not bounds[side][0] <= offset <= bounds[side][1]:
                message = (
                    f"{where}: no checkpoint, and the committed offset {offset} lies outside the log "
                    f"{bounds[side][0]}-{bounds[side][1]}. To start over: vigil task reset"
                )
                raise GapError(message)
            wanted = self._settings.start_from
            start[side] = offset if offset is not None else await _from(consumer, inputs[side], bounds[side], wanted)
            origin = "committed offset" if offset is not None else f"start_from {self._settings.start_from}"
            said.append(f"{where} at offset {start[side]} ({origin})")
        first = (start[0], start[1])
        return StartingPoint(
            checkpoint=None, start=first, open_at=first, said=("no checkpoint; starting " + " and ".join(said),)
        )


async def _from(consumer: AIOKafkaConsumer, side: TopicPartition, bounds: tuple[int, int], start_from: str) -> int:
    if start_from == "earliest":
        return bounds[0]
    if start_from == "latest":
        return bounds[1]
    # Kafka takes -1, the last millisecond before 1970, for the newest record, and refuses what lies before.
    found = (await consumer.offsets_for_times({side: max(parse_event_time(start_from), 0)}))[side]
    return bounds[1] if found is None else int(found.offset)


async def _require_known(
    consumer: AIOKafkaConsumer, where: TopicPartition, offset: int, append_ms: int, end: int
) -> None:
    """Compare the last judged record with what the log holds at its place: another one means another topic."""
    consumer.resume(where)
    consumer.seek(where, offset)
    async with aclosing(read_to_the_end(consumer, {where: end}, silence_s=_STATE_READ_S)) as records:
        found = await anext(records, None)
    consumer.pause(where)
    if found is None:
        message = f"{where.topic}/{where.partition}: expected a record at offset {offset}, found none up to {end}"
        raise RecoveryError(message)
    # What cannot be read (any more) tells nothing of which topic this is.
    if not isinstance(found, Unreadable) and (found.offset, found.timestamp) != (offset, append_ms):
        message = (
            f"{where.topic}/{where.partition}: offset {offset} was judged with append time {append_ms}, but "
            f"the log now holds offset {found.offset} with {found.timestamp}: the topic was deleted and "
            f"recreated, or truncated. To continue with the new one: vigil task reset"
        )
        raise GapError(message)


async def _newest(
    consumer: AIOKafkaConsumer, state: TopicPartition, key: bytes, bounds: tuple[int, int]
) -> tuple[bytes | None, str | None]:
    """Read the newest committed value under ``key``, from near the end of the partition, doubling back until found.

    Returns:
        The value, and the place of what no client can read behind it, where there is such.
    """
    start, end = bounds
    look = _FIRST_LOOK
    while True:
        begin = max(start, end - look)
        consumer.seek(state, begin)
        found: bytes | None = None
        unread: str | None = None
        async for record in read_to_the_end(consumer, {state: end}, silence_s=_STATE_READ_S):
            if record.key == key:
                found, unread = record.value or b"", None
            elif isinstance(record, UnreadableRecord):
                unread = record.place
        if found is not None or begin == start:
            return found or None, unread
        look *= 2
