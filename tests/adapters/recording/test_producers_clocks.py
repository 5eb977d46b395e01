"""Where producers stamp the inputs, a range takes what the journal's steps took, whatever the clocks said."""

import asyncio
import time

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from stream_app.adapters.kafka.clients import admin_client, consumer
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.recording.kafka import TopicReader
from stream_app.config import Operational
from stream_app.core.checkpoint import Checkpoint, encode_checkpoint
from stream_app.core.settings import Semantic
from stream_app.replay.recording import About
from stream_app.wire.journal import SCHEMA, JournalKeyframe, JournalRecord, JournalStep, encode_journal
from stream_app.wire.topics import Topics
from stream_app.wiring.clients import connection_to
from tests.adapters.recording.recordings import about
from tests.cli.deployment import Kafka
from tests.wire.test_events import MODEL

HOUR_MS = 3_600_000


def _step(number: int, next_text: int, next_frame: int, *, has_keyframe: bool = False) -> bytes:
    state = Checkpoint(
        deployment="vigil", partition=0, sequence=number, stream_ms=0, append_ms=0, next_text=next_text,
        next_frame=next_frame, model=MODEL, settings=Semantic(),
    )  # fmt: skip
    return encode_journal(
        JournalRecord(
            schema=SCHEMA,
            partition=0,
            entries=(),
            step=JournalStep(sequence=number, stream_ms=0, next_text=next_text, next_frame=next_frame),
            keyframe=JournalKeyframe(checkpoint=encode_checkpoint(state)) if has_keyframe else None,
        )
    )


async def _make(connection: Connection, topics: Topics) -> None:
    async with admin_client(connection) as admin:
        for name in msgspec.structs.astuple(topics):
            kind = "CreateTime" if name in {topics.frames, topics.texts} else "LogAppendTime"
            configs = {"message.timestamp.type": kind, "retention.ms": "-1"}
            await admin.create_topics([NewTopic(name, 1, 1, topic_configs=configs)])


async def _send(bootstrap: str, topics: Topics, now_ms: int) -> int:
    """Send what two producers stamp, one of them an hour slow, then fast; return a time behind the journal's."""
    slow_ms, fast_ms = now_ms - HOUR_MS, now_ms + HOUR_MS
    done = None
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for at_ms in (slow_ms - 1, slow_ms, fast_ms, now_ms, fast_ms + 1, fast_ms + 2):
            await producer.send_and_wait(topics.frames, b"x", key=b"yard", timestamp_ms=at_ms)
        for at_ms in (fast_ms, slow_ms, fast_ms):
            await producer.send_and_wait(topics.texts, b"x", key=b"yard", timestamp_ms=at_ms)
        for value in (_step(1, 0, 1, has_keyframe=True), _step(2, 1, 3), _step(3, 2, 5)):
            done = await producer.send_and_wait(topics.journal, value, key=b"vigil/0")
    assert done is not None
    return int(done.timestamp) + 1


async def _recorded(connection: Connection, wanted: About) -> list[tuple[str, int]]:
    async with consumer(connection) as client:
        reader = TopicReader(client, wanted, lambda _: None)
        await reader.open()
        plan = await reader.plan(wanted, to_ms=wanted.to_ms)
        reader.seek(plan)
        return [(kind, record.offset) async for kind, record in reader.read(plan.choice, plan.ends)]


@pytest.mark.kafka
def test_a_range_takes_all_inputs_of_its_steps_though_a_producers_clock_is_an_hour_off(
    kafka: Kafka, topic_prefix: str
) -> None:
    topics = Topics(**{name: f"{topic_prefix}.{name}" for name in Topics.__struct_fields__})
    connection = connection_to(Operational(bootstrap=kafka.bootstrap))
    now_ms = time.time_ns() // 1_000_000

    async def whole() -> list[tuple[str, int]]:
        await _make(connection, topics)
        to_ms = await _send(kafka.bootstrap, topics, now_ms)
        wanted = about(topics=topics, from_ms=now_ms - 60_000, to_ms=to_ms)
        return await _recorded(connection, wanted)

    found = asyncio.run(whole())
    # Frame 0 was judged before the keyframe; frame 5 and text 2 are in no step, and of another time.
    assert [offset for kind, offset in found if kind == "frames"] == [1, 2, 3, 4]
    assert [offset for kind, offset in found if kind == "texts"] == [0, 1]
