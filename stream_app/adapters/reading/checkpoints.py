"""Reading the newest checkpoints of all tasks of a deployment, for people who look."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stream_app.adapters.kafka.clients import consumer
from stream_app.adapters.reading.alerts import assign_all
from stream_app.core.checkpoint import Checkpoint, decode_checkpoint

if TYPE_CHECKING:
    from stream_app.adapters.kafka.connection import Connection
    from stream_app.wire.topics import Topics

_READ_S = 30.0


async def read_checkpoints(connection: Connection, topics: Topics, deployment: str) -> dict[int, Checkpoint]:
    """Return each task's newest checkpoint by partition; tasks without one are left out.

    Raises:
        BrokerUnreachableError: if no broker answers.
        TopicMissingError: if there is no state topic.
        TimeoutError: if the end of the state topic is not reached in half a minute.
        CheckpointError: if a checkpoint cannot be read.
    """
    newest: dict[int, bytes | None] = {}
    async with consumer(connection, isolation_level="read_committed", auto_offset_reset="earliest") as reader:
        partitions = await assign_all(reader, topics.state)
        ends = await reader.end_offsets(partitions)
        async with asyncio.timeout(_READ_S):
            while [1 for partition, end in ends.items() if await reader.position(partition) < end]:
                for where, batch in (await reader.getmany(timeout_ms=200)).items():
                    for record in batch:
                        if record.key == f"{deployment}/{where.partition}".encode():
                            newest[where.partition] = record.value
    return {partition: decode_checkpoint(value) for partition, value in newest.items() if value}
