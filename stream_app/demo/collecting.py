"""Reading back what a deployment published: alerts as they come, and everything once all has settled.

Read_committed throughout: what is not committed was not published.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from stream_app.adapters.kafka.guarding import guarded_consumer
from stream_app.adapters.reading.alerts import assign_all
from stream_app.demo.truth import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka import AIOKafkaConsumer

    from stream_app.adapters.kafka.connection import Connection
    from stream_app.wire.topics import Topics

#: A topic whose end is not reached in this time is stuck behind an open transaction. In seconds.
_READ_S = 60.0


class SeenAlert(msgspec.Struct, frozen=True):
    """An alert and the wall time (ms since the epoch) at which a subscriber had it."""

    body: dict[str, Any]
    seen_ms: int


class AlertWatcher:
    """Subscribes to the alerts topic and notes when each alert came."""

    def __init__(self, connection: Connection, topic: str, on_alert: Callable[[dict[str, Any], str], None]) -> None:
        self._connection = connection
        self._topic = topic
        self._on_alert = on_alert
        self.alerts: list[SeenAlert] = []

    async def run(self) -> None:
        """Watch until cancelled."""
        # Not made before: a consumer that is never started complains when it is forgotten.
        consumer = guarded_consumer(
            self._connection,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
        )
        await consumer.start()
        try:
            consumer.subscribe([self._topic])
            async for record in consumer:
                body = msgspec.json.decode(record.value or b"{}")
                if "incident" in body:
                    self.alerts.append(SeenAlert(body, int(time.time() * 1_000)))
                    self._on_alert(body, dict(record.headers).get("ce_time", b"").decode())
        finally:
            await consumer.stop()


async def collect(connection: Connection, topics: Topics, *, isolation_level: str = "read_committed") -> Outputs:
    """Read the output topics from beginning to end.

    Args:
        connection: the brokers.
        topics: names of the topics.
        isolation_level: ``read_committed``, or ``read_uncommitted`` to see what subscribers without it would see.

    Raises:
        TimeoutError: if the end of a topic is not reached in a minute.
    """
    consumer = guarded_consumer(connection, isolation_level=isolation_level, auto_offset_reset="earliest")
    await consumer.start()
    outputs = Outputs()
    try:
        for name in (topics.alerts, topics.decisions, topics.dead_letters, topics.state):
            for record in await _read(consumer, name):
                if name == topics.alerts:
                    outputs.alerts.append(msgspec.json.decode(record.value))
                elif name == topics.decisions:
                    outputs.decisions.append(msgspec.json.decode(record.value))
                elif name == topics.state and record.value:
                    outputs.checkpoints[record.partition] = msgspec.json.decode(record.value)
                elif name == topics.dead_letters:
                    outputs.dead_letters.append(_dead_letter(record, topics))
    finally:
        await consumer.stop()
    return outputs


async def _read(consumer: AIOKafkaConsumer, topic: str) -> list[Any]:
    partitions = await assign_all(consumer, topic)
    await consumer.seek_to_beginning(*partitions)
    ends = await consumer.end_offsets(partitions)
    found: list[Any] = []
    async with asyncio.timeout(_READ_S):
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(batch)
    return found


def _dead_letter(record: Any, topics: Topics) -> dict[str, str]:  # noqa: ANN401 - aiokafka's record
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    side = "text" if headers["vigil_topic"] == topics.texts else "frame"
    return {
        "side": side,
        "partition": headers["vigil_partition"],
        "offset": headers["vigil_offset"],
        "reason": headers["vigil_reason"],
    }
