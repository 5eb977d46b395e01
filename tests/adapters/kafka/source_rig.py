"""What the tests of the source share: topics, producers, and a handler that writes down what it is told."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_app.adapters.kafka.source import FaustSource, SourceSettings
from stream_app.config import Operational
from stream_app.core.types import RawRecord, Side, Unreadable
from stream_app.wiring.worker import source_settings

Offsets = dict[tuple[Side, int], list[int]]


class Recorder:
    """A handler: notes assignments, revocations and offsets; fails once where told to."""

    def __init__(self) -> None:
        self.events: list[tuple[str, frozenset[int]]] = []
        self.offsets: Offsets = defaultdict(list)
        self.keys: dict[tuple[Side, int], list[bytes | None]] = defaultdict(list)
        self.unreadable: list[Unreadable] = []
        self.batches = 0
        self.fail_with: Exception | None = None
        self.on_batch: Callable[[Side, int], None] = lambda _side, _partition: None

    def on_assigned(self, partitions: frozenset[int]) -> None:
        self.events.append(("assigned", partitions))

    def on_revoked(self, partitions: frozenset[int]) -> None:
        self.events.append(("revoked", partitions))

    def on_records(self, side: Side, partition: int, records: Sequence[RawRecord]) -> None:
        if self.fail_with is not None:
            raise self.fail_with
        self.batches += 1
        self.offsets[side, partition].extend(record.offset for record in records)
        self.keys[side, partition].extend(record.key for record in records)
        self.unreadable.extend(record for record in records if isinstance(record, Unreadable))
        self.on_batch(side, partition)


def settings_for(bootstrap: str, prefix: str, *, fetch_bytes: int = 65_536) -> SourceSettings:
    """Return settings with short time-outs and small fetches, so that a backlog takes many of them."""
    operational = Operational(
        bootstrap=bootstrap,
        group=prefix,
        frames_topic=f"{prefix}.frames",
        texts_topic=f"{prefix}.texts",
        fetch_bytes=fetch_bytes,
        session_timeout_ms=6_000,
        heartbeat_ms=1_000,
    )
    return source_settings(operational)


async def make_topics(bootstrap: str, prefix: str, *, partitions: int = 1) -> None:
    """Make both input topics with the broker's time as timestamps."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics(
            [
                NewTopic(
                    f"{prefix}.{name}",
                    num_partitions=partitions,
                    replication_factor=1,
                    topic_configs={"message.timestamp.type": "LogAppendTime"},
                )
                for name in ("frames", "texts")
            ]
        )
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def producing(
    bootstrap: str, *, transactional_id: str | None = None, compression_type: str | None = None
) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer that waits for all replicas."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        transactional_id=transactional_id,
        compression_type=compression_type,
        linger_ms=2,
        max_batch_size=65_536,
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def fill(producer: AIOKafkaProducer, topic: str, count: int, *, partition: int = 0, size: int = 100) -> None:
    """Write `count` records of `size` bytes to one partition and wait for their acknowledgement."""
    pending = [
        await producer.send(topic, value=b"x" * size, key=str(number).encode(), partition=partition)
        for number in range(count)
    ]
    await asyncio.gather(*pending)


@contextlib.asynccontextmanager
async def running(settings: SourceSettings, recorder: Recorder) -> AsyncIterator[FaustSource]:
    """A started source that is stopped in any case."""
    source = FaustSource(settings, recorder)
    await asyncio.wait_for(source.start(), timeout=60)
    try:
        yield source
    finally:
        await asyncio.wait_for(source.stop(), timeout=60)


async def until(claim: Callable[[], bool], *, timeout_s: float = 60.0, what: str = "") -> None:
    """Wait until a claim holds; fail with its name when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        if time.monotonic() > deadline:
            message = f"did not come true within {timeout_s} s: {what or claim}"
            raise AssertionError(message)
        await asyncio.sleep(0.01)
