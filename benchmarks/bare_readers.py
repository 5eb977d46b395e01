"""What the worker is compared with: a bare Faust agent and bare aiokafka, each reading a backlog to its end.

In: a broker and a backlog. Out: records per second, from the first record that a reader gets to the last.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import faust
import msgspec
from aiokafka import AIOKafkaConsumer

from stream_app.adapters.kafka.connection import Connection
from stream_app.config import Operational
from stream_app.core.types import Side
from stream_app.wire.topics import Topics

#: All readers ask for as much per partition and fetch: the worker's default.
FETCH_BYTES = Operational().fetch_bytes
#: A reader that is not through after this long is stuck.
STUCK_S = 120.0


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """Records that wait on the two input topics: how many, and the end of each partition."""

    name: str
    topics: Topics
    records: int
    ends: dict[tuple[Side, int], int]


class Clock:
    """The moments of the first and the last record, in seconds of the performance counter."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last = 0.0

    def tick(self) -> None:
        """Note that records are here."""
        self.last = time.perf_counter()
        if self.first is None:
            self.first = self.last

    def rate(self, records: int) -> float:
        """Return records per second.

        Raises:
            RuntimeError: if there were none.
        """
        if self.first is None or self.last <= self.first:
            message = f"expected {records} records in more than one batch, found nothing to measure"
            raise RuntimeError(message)
        return records / (self.last - self.first)


async def read_with_faust(connection: Connection, backlog: Backlog, group: str) -> float:
    """Read a backlog with a bare Faust agent that only counts; return records per second."""
    clock = Clock()
    app = faust.App(
        group,
        env={},
        broker=f"kafka://{connection.bootstrap}",
        processing_guarantee="at_least_once",
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
    )
    topics = app.topic(
        backlog.topics.frames, backlog.topics.texts, key_type=bytes, value_type=bytes, value_serializer="raw"
    )
    count = 0
    through = asyncio.Event()

    async def only_count(stream: Any) -> None:  # noqa: ANN401 - Faust's stream is untyped
        nonlocal count
        async for _event in stream.events():
            if count == 0:
                clock.tick()
            count += 1
            if count == backlog.records:
                clock.tick()
                through.set()

    app.agent(topics, name=f"{group}-count")(only_count)
    await app.start()
    try:
        async with asyncio.timeout(STUCK_S):
            await through.wait()
    finally:
        await app.stop()
    return clock.rate(backlog.records)


async def read_with_getmany(connection: Connection, backlog: Backlog, group: str) -> float:
    """Read a backlog with aiokafka's consumer in batches; return records per second."""
    clock = Clock()
    consumer = AIOKafkaConsumer(
        backlog.topics.frames,
        backlog.topics.texts,
        **connection.client_arguments(),
        group_id=group,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
        isolation_level="read_committed",
    )
    count = 0
    await consumer.start()
    try:
        async with asyncio.timeout(STUCK_S):
            while count < backlog.records:
                batches = await consumer.getmany(timeout_ms=100)
                if batches:
                    clock.tick()
                count += sum(len(batch) for batch in batches.values())
        clock.tick()
    finally:
        await consumer.stop()
    return clock.rate(backlog.records)
