"""Reading back what a deployment published: alerts as they come, and everything once all has settled.

Read_committed throughout: what is not committed was not published.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from stream_app.adapters.kafka.guarding import guarded_consumer
from stream_app.adapters.kafka.to_the_end import read_topic
from stream_app.demo.states import read_state
from stream_app.demo.truth import Outputs
from stream_app.wire.dead_letters import decode_dead_letter

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.adapters.kafka.connection import Connection
    from stream_app.wire.topics import Topics

#: A topic of which nothing comes for this long before its end is stuck behind an open transaction. In seconds.
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
        EndNotReachedError: if nothing of a topic comes for a minute before its end.
    """
    consumer = guarded_consumer(connection, isolation_level=isolation_level, auto_offset_reset="earliest")
    asker = guarded_consumer(connection)
    outputs = Outputs()
    try:
        await asyncio.gather(consumer.start(), asker.start())
        for name in (topics.alerts, topics.decisions, topics.dead_letters, topics.state):
            async for record in read_topic(consumer, name, asker=asker, silence_s=_READ_S):
                if name == topics.alerts:
                    outputs.alerts.append(msgspec.json.decode(record.value))
                elif name == topics.decisions:
                    outputs.decisions.append(msgspec.json.decode(record.value))
                elif name == topics.state and record.value:
                    outputs.checkpoints[record.partition] = read_state(record.value)
                elif name == topics.dead_letters:
                    outputs.dead_letters.append(_dead_letter(record, topics))
    finally:
        await asyncio.gather(consumer.stop(), asker.stop())
    return outputs


def _dead_letter(record: Any, topics: Topics) -> dict[str, str]:  # noqa: ANN401 - aiokafka's record
    letter = decode_dead_letter(record.headers)
    return {
        "side": "text" if letter.topic == topics.texts else "frame",
        "partition": str(letter.partition),
        "offset": str(letter.offset),
        "reason": letter.reason,
    }
