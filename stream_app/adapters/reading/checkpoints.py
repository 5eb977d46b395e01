"""Reading the newest checkpoints of all tasks of a deployment, for people who look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.adapters.kafka.clients import consumer
from stream_app.adapters.kafka.to_the_end import read_topic
from stream_app.core.checkpoint import Checkpoint, decode_checkpoint
from stream_app.wire.checkpoints import state_key

if TYPE_CHECKING:
    from stream_app.adapters.kafka.connection import Connection
    from stream_app.wire.topics import Topics


async def read_checkpoints(connection: Connection, topics: Topics, deployment: str) -> dict[int, Checkpoint]:
    """Return each task's newest checkpoint by partition; tasks without one are left out.

    Raises:
        BrokerUnreachableError: if no broker answers, or none any longer.
        TopicMissingError: if there is no state topic.
        CheckpointError: if a checkpoint cannot be read.
    """
    newest: dict[int, bytes | None] = {}
    async with consumer(connection) as client:
        async for record in read_topic(client, topics.state):
            if record.key == state_key(deployment, record.partition):
                newest[record.partition] = record.value
    return {partition: decode_checkpoint(value) for partition, value in newest.items() if value}
