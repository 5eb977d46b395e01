"""Where a task takes up its work: the newest checkpoint, the log's bounds, the group's committed offsets.

In: a partition. Out: a :class:`StartingPoint`, or a :class:`GapError` that says what is missing. To be called only after the
task's transactional id was initialised: before that the previous owner could still write.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream_app.core.checkpoint import Checkpoint, CheckpointError, decode_checkpoint
from stream_app.core.event_time import parse_event_time
from stream_app.core.types import Side

if TYPE_CHECKING:
    from stream_app.adapters.connection import Connection
    from stream_app.adapters.events import Topics

#: How far before the end of the state partition the search for the newest checkpoint starts; doubled until found.
_FIRST_LOOK = 64
#: A read of the state partition that gets nothing for this long is over, or stuck behind a foreign transaction.
_STATE_READ_S = 15.0


class GapError(Exception):
    """Input that the task still needs is gone: expected and found, and what to do. The task must not go on by itself."""


class RecoveryError(Exception):
    """The state could not be read (now); the epoch may be tried again."""


class StartingPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where to start. ``start`` are the next text and frame offsets; ``said`` is what an operator should read."""

    checkpoint: Checkpoint | None
    start: tuple[int, int]
    open_at: tuple[int, int]
    said: tuple[str, ...] = ()


class RecoverySettings(msgspec.Struct, frozen=True, kw_only=True):
    """``start_from`` (earliest, latest, or an RFC 3339 time) counts only where there is no checkpoint and no offset."""

    deployment: str
    group: str
    start_from: str = "earliest"


class Recovery:
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
        consumer = AIOKafkaConsumer(
            **self._connection.client_arguments(),
            group_id=self._settings.group,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
            return await self._find(consumer, partition)
        except (KafkaError, TimeoutError, OSError, CheckpointError) as error:
            message = f"task {partition}: state could not be read: {type(error).__name__} {error}"
            raise RecoveryError(message) from error
        finally:
            await consumer.stop()

    async def log_start(self, side: Side, partition: int) -> int:
        """Return the first offset that the log of one side still has.

        Raises:
            RecoveryError: if the brokers cannot be asked.
        """
        consumer = AIOKafkaConsumer(**self._connection.client_arguments())
        where = TopicPartition(self._topics.of(side), partition)
        try:
            await consumer.start()
            return int((await consumer.beginning_offsets([where]))[where])
        except (KafkaError, TimeoutError, OSError) as error:
            message = f"{where.topic}/{partition}: the log start could not be read: {type(error).__name__} {error}"
            raise RecoveryError(message) from error
        finally:
            await consumer.stop()

    async def _find(self, consumer: AIOKafkaConsumer, partition: int) -> StartingPoint:
        inputs = [TopicPartition(self._topics.of(side), partition) for side in Side]
        state = TopicPartition(self._topics.state, partition)
        consumer.assign([*inputs, state])
        consumer.pause(*inputs)
        key = f"{self._settings.deployment}/{partition}".encode()
        found = await _newest(consumer, state, key)
        committed = [await consumer.committed(side) for side in inputs]
        first = await consumer.beginning_offsets(inputs)
        last = await consumer.end_offsets(inputs)
        bounds = [(first[side], last[side]) for side in inputs]
        if found is None:
            return await self._first_start(consumer, inputs, committed, bounds)
        return self._resume(decode_checkpoint(found), committed, bounds, inputs)

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
                    f"{where}: the checkpoint stands at offset {positions[side]}, but the log ends at {log_end}: the "
                    f"topic was deleted and made again, or truncated. To give up what is missing: vigil task reset"
                )
                raise GapError(message)
            if lowest[side] < log_start:
                message = (
                    f"{where}: offset {lowest[side]} is still needed, but the log starts at {log_start}: retention has "
                    f"passed over it. To give up what is missing: vigil task reset"
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
                    f"{bounds[side][0]}-{bounds[side][1]}. To start anew: vigil task reset"
                )
                raise GapError(message)
            start[side] = offset if offset is not None else await self._from(consumer, inputs[side], bounds[side])
            origin = "committed offset" if offset is not None else f"start_from {self._settings.start_from}"
            said.append(f"{where}: no checkpoint; starting at offset {start[side]} ({origin})")
        first = (start[0], start[1])
        return StartingPoint(checkpoint=None, start=first, open_at=first, said=tuple(said))

    async def _from(self, consumer: AIOKafkaConsumer, side: TopicPartition, bounds: tuple[int, int]) -> int:
        wanted = self._settings.start_from
        if wanted == "earliest":
            return bounds[0]
        if wanted == "latest":
            return bounds[1]
        found = (await consumer.offsets_for_times({side: parse_event_time(wanted)}))[side]
        return bounds[1] if found is None else int(found.offset)


async def _newest(consumer: AIOKafkaConsumer, state: TopicPartition, key: bytes) -> bytes | None:
    """Read the newest value under ``key``, from near the end of the partition, doubling back until found."""
    start = (await consumer.beginning_offsets([state]))[state]
    end = (await consumer.end_offsets([state]))[state]
    look = _FIRST_LOOK
    while True:
        begin = max(start, end - look)
        consumer.seek(state, begin)
        found = await _last_value(consumer, state, key, end)
        if found is not None or begin == start:
            return found or None
        look *= 2


async def _last_value(consumer: AIOKafkaConsumer, state: TopicPartition, key: bytes, end: int) -> bytes | None:
    newest: bytes | None = None
    quiet_since = time.monotonic()
    while await consumer.position(state) < end:
        batch = (await consumer.getmany(state, timeout_ms=200)).get(state, [])
        for record in batch:
            if record.key == key:
                newest = record.value if record.value is not None else b""
        if batch:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > _STATE_READ_S:
            message = f"{state.topic}/{state.partition}: nothing came below offset {end} for {_STATE_READ_S:.0f} s"
            raise TimeoutError(message)
        await asyncio.sleep(0)
    return newest
