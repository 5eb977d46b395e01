"""Waiting until a deployment has nothing left to do: all inputs judged, windows empty, incidents closed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition

from stream_app.adapters.kafka.guarding import guarded_consumer
from stream_app.demo.states import count_held, read_state

if TYPE_CHECKING:
    from stream_app.adapters.kafka.connection import Connection
    from stream_app.demo.truth import Published


async def wait_settled(
    connection: Connection, state_topic: str, published: Published, *, partitions: int, timeout_s: float
) -> None:
    """Wait until the newest checkpoint of every task says that it has nothing left to do.

    Args:
        connection: the brokers.
        state_topic: where the checkpoints are.
        published: what has to be judged.
        partitions: number of tasks.
        timeout_s: how long to wait, in seconds.

    Raises:
        TimeoutError: if it does not settle in time; the message says which tasks have what left.
    """
    consumer = guarded_consumer(connection, isolation_level="read_committed", auto_offset_reset="earliest")
    due = _due(published)
    checkpoints: dict[int, dict[str, Any]] = {}
    await consumer.start()
    try:
        consumer.assign([TopicPartition(state_topic, number) for number in range(partitions)])
        async with asyncio.timeout(timeout_s):
            while any(_left(number, checkpoints.get(number), due) for number in range(partitions)):
                for where, batch in (await consumer.getmany(timeout_ms=200)).items():
                    if batch[-1].value:
                        checkpoints[where.partition] = read_state(batch[-1].value)
    except TimeoutError as error:
        left = {number: _left(number, checkpoints.get(number), due) for number in range(partitions)}
        message = f"not settled after {timeout_s:.0f} s: { ({n: words for n, words in left.items() if words}) }"
        raise TimeoutError(message) from error
    finally:
        await consumer.stop()


def _due(published: Published) -> dict[tuple[str, int], int]:
    """Return per side and partition the offset that must have been passed."""
    due: dict[tuple[str, int], int] = defaultdict(int)
    for side, records in (("text", published.texts), ("frame", published.frames)):
        for record in records:
            due[side, record.partition] = max(due[side, record.partition], record.offset + 1)
    return due


def _left(partition: int, checkpoint: dict[str, Any] | None, due: dict[tuple[str, int], int]) -> str:
    if checkpoint is None:
        return "no checkpoint" if ("text", partition) in due or ("frame", partition) in due else ""
    for side in ("text", "frame"):
        if checkpoint[f"next_{side}"] < due.get((side, partition), 0):
            return f"{side}s: at {checkpoint[f'next_{side}']}, due {due[side, partition]}"
    held = count_held(checkpoint)
    if held:
        return f"{held} records in the window"
    return f"{len(checkpoint['incidents'])} open incidents" if checkpoint["incidents"] else ""
