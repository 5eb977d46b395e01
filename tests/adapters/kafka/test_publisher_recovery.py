"""On a real Kafka: a step becomes visible as one, an owner fences the one before, and a task finds where it stood."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from stream_app.adapters.kafka.clients import admin_client, consumer
from stream_app.adapters.kafka.publisher import KafkaPublisher
from stream_app.adapters.kafka.recovery import KafkaRecovery
from stream_app.adapters.kafka.to_the_end import read_topic
from stream_app.config import Operational
from stream_app.core.checkpoint import Checkpoint, encode_checkpoint
from stream_app.core.settings import Semantic
from stream_app.core.types import LabelRule, Model
from stream_app.runtime.ports.publishing import EpochEndedError
from stream_app.runtime.ports.recovery import GapError
from stream_app.wire.message import Message
from stream_app.wire.topics import Topics
from stream_app.wiring.clients import connection_to, publisher_settings, recovery_settings
from tests.adapters.batches import batch, bomb_record, pack
from tests.adapters.kafka.raw_produce import produce_raw
from tests.conftest import Broker

pytestmark = pytest.mark.kafka

MODEL = Model("constant", "1", "0" * 64, (LabelRule("fight", is_alerting=True, open_at=0, close_at=-1),))


class World:
    """The topics of one test on the shared broker."""

    def __init__(self, broker: Broker, prefix: str) -> None:
        self.connection = connection_to(Operational(bootstrap=broker.bootstrap))
        names = ("frames", "texts", "alerts", "decisions", "journal", "state", "dead_letters")
        self.topics = Topics(**{name: f"{prefix}.{name}" for name in names})
        self.group = prefix

    async def create(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.connection.bootstrap)
        await admin.start()
        try:
            topics = (self.topics.frames, self.topics.texts, self.topics.alerts, self.topics.state)
            await admin.create_topics([NewTopic(name, 1, 1) for name in topics])
        finally:
            await admin.close()

    def publisher(self) -> KafkaPublisher:
        return KafkaPublisher(self.connection, publisher_settings(Operational(group=self.group)), f"{self.group}-0")

    def recovery(self, start_from: str = "earliest") -> KafkaRecovery:
        operational = Operational(deployment="d", group=self.group, start_from=start_from)
        return KafkaRecovery(self.connection, self.topics, recovery_settings(operational))

    async def feed(self, topic: str, count: int) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.connection.bootstrap)
        await producer.start()
        try:
            for number in range(count):
                await producer.send_and_wait(topic, value=b"%d" % number, key=b"zone")
        finally:
            await producer.stop()

    async def spoil(self, topic: str) -> None:
        """Append a batch that nobody can read: unpacked it takes more than any client here has room for."""
        async with AIOKafkaProducer(bootstrap_servers=self.connection.bootstrap) as producer:
            await producer.partitions_for(topic)
            data = batch([], codec="zstd", packed=pack("zstd", bomb_record(200 << 20)), count=1, attributes=0)
            await produce_raw(producer.client, TopicPartition(topic, 0), data)

    async def read(self, topic: str) -> list[bytes | None]:
        asking = consumer(self.connection, isolation_level="read_uncommitted")
        async with consumer(self.connection) as client, asking as asker:
            return [record.value async for record in read_topic(client, topic, asker=asker)]

    def state(self, next_text: int, next_frame: int, sequence: int = 1) -> Message:
        checkpoint = Checkpoint(
            deployment="d",
            partition=0,
            sequence=sequence,
            stream_ms=5,
            append_ms=5,
            next_text=next_text,
            next_frame=next_frame,
            model=MODEL,
            settings=Semantic(),
        )
        return Message(self.topics.state, b"d/0", encode_checkpoint(checkpoint), (), 0)

    async def step(self, *messages: Message, text: int = 0, frame: int = 0) -> None:
        publisher = self.publisher()
        await publisher.start()
        try:
            await publisher.publish(messages, {(self.topics.texts, 0): text, (self.topics.frames, 0): frame})
        finally:
            await publisher.stop()


InWorld = Callable[[Callable[[World], Awaitable[None]]], None]


@pytest.fixture
def in_world(kafka: Broker, topic_prefix: str) -> InWorld:
    """Run a coroutine with its own topics."""

    def run(body: Callable[[World], Awaitable[None]]) -> None:
        async def whole() -> None:
            world = World(kafka, topic_prefix)
            await world.create()
            await body(world)

        main: Coroutine[Any, Any, None] = whole()
        asyncio.run(main)

    return run


def test_a_step_is_visible_whole_and_its_offsets_are_where_the_next_owner_starts(in_world: InWorld) -> None:
    async def body(world: World) -> None:
        await world.feed(world.topics.frames, 3)
        await world.feed(world.topics.texts, 2)
        await world.step(Message(world.topics.alerts, b"z", b"alert"), world.state(2, 3), text=1, frame=2)
        assert await world.read(world.topics.alerts) == [b"alert"]
        point = await world.recovery().find(0)
        assert point.checkpoint is not None
        assert (point.checkpoint.next_text, point.checkpoint.next_frame) == (2, 3)
        assert point.start == (2, 3)
        assert any("the checkpoint is the truth" in line for line in point.said)

    in_world(body)


def test_a_commit_that_the_broker_refuses_for_a_wrong_clock_says_so_and_what_to_do(in_world: InWorld) -> None:
    async def body(world: World) -> None:
        name = f"{world.topics.alerts}.stamped"
        async with admin_client(world.connection) as admin:
            # As strict as can be, so that any clock is wrong: what is appended has been stamped a while ago.
            configs = {"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": "0"}
            await admin.create_topics([NewTopic(name, 1, 1, topic_configs=configs)])
        word = r"InvalidTimestampError.*set the clock right, or let the broker stamp the outputs \(`vigil topics fix`\)"
        with pytest.raises(EpochEndedError, match=word):
            await world.step(Message(name, b"z", b"alert"))

    in_world(body)


def test_a_new_owner_fences_the_old_one_whose_output_is_never_seen(in_world: InWorld) -> None:
    async def body(world: World) -> None:
        old, new = world.publisher(), world.publisher()
        await old.start()
        await new.start()
        with pytest.raises(EpochEndedError) as ended:
            await old.publish([Message(world.topics.alerts, b"z", b"zombie")], {(world.topics.texts, 0): 1})
        assert ended.value.is_fenced
        await new.publish([Message(world.topics.alerts, b"z", b"owner")], {(world.topics.texts, 0): 1})
        await old.stop()
        await new.stop()
        assert await world.read(world.topics.alerts) == [b"owner"]

    in_world(body)


def test_a_client_that_is_cancelled_within_a_commit_ends_the_epoch_and_does_not_pass_for_our_own_cancellation(
    in_world: InWorld,
) -> None:
    async def body(world: World) -> None:
        publisher = world.publisher()
        await publisher.start()
        committing = publisher.publish([Message(world.topics.alerts, b"z", b"alert")], {(world.topics.texts, 0): 1})
        publishing = asyncio.create_task(committing)
        # Begun, and not yet confirmed.
        transaction = publisher._producer._txn_manager
        while not transaction.is_in_transaction():  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(0)
        transaction.wait_for_transaction_end().cancel()
        with pytest.raises(EpochEndedError, match="the commit was not confirmed: the client was cancelled"):
            await publishing
        await publisher.stop()

    in_world(body)


def test_a_commit_that_we_cancel_ourselves_is_cancelled(in_world: InWorld) -> None:
    async def body(world: World) -> None:
        publisher = world.publisher()
        await publisher.start()
        committing = publisher.publish([Message(world.topics.alerts, b"z", b"alert")], {(world.topics.texts, 0): 1})
        publishing = asyncio.create_task(committing)
        await asyncio.sleep(0)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        await publisher.stop()

    in_world(body)


def test_the_newest_checkpoint_is_found_behind_hundreds_of_others(in_world: InWorld) -> None:
    async def body(world: World) -> None:
        await world.feed(world.topics.texts, 1)
        await world.step(world.state(0, 0), world.state(1, 0, sequence=7))
        foreign = Message(world.topics.state, b"other/0", b"{}", (), 0)
        await world.step(*[foreign] * 300)
        point = await world.recovery().find(0)
        assert point.checkpoint is not None
        assert point.checkpoint.sequence == 7

    in_world(body)


def test_a_checkpoint_beyond_the_end_of_the_log_is_a_gap(in_world: InWorld) -> None:
    async def body(world: World) -> None:
        await world.step(world.state(10, 0))
        with pytest.raises(GapError, match="deleted and recreated"):
            await world.recovery().find(0)

    in_world(body)


@pytest.mark.parametrize("is_ahead", [True, False])
def test_an_older_checkpoint_is_not_taken_up_where_a_newer_one_may_lie_in_what_cannot_be_read(
    in_world: InWorld, *, is_ahead: bool
) -> None:
    async def body(world: World) -> None:
        await world.feed(world.topics.texts, 2)
        await world.step(world.state(1, 0), text=1)
        await world.spoil(world.topics.state)
        if not is_ahead:
            assert (await world.recovery().find(0)).start == (1, 0), "what is lost there was of another"
            return
        # Its checkpoint is what cannot be read.
        await world.step(Message(world.topics.alerts, b"z", b"alert"), text=2)
        said = rf"{re.escape(world.topics.state)}/0/\d+: what is there cannot be read, .* vigil task reset"
        with pytest.raises(GapError, match=said):
            await world.recovery().find(0)

    in_world(body)


def test_a_log_start_above_what_the_checkpoint_needs_is_a_gap(in_world: InWorld) -> None:
    async def body(world: World) -> None:
        await world.feed(world.topics.texts, 5)
        await world.step(world.state(2, 0))
        admin = AIOKafkaAdminClient(bootstrap_servers=world.connection.bootstrap)
        await admin.start()
        await admin.delete_records({TopicPartition(world.topics.texts, 0): RecordsToDelete(before_offset=4)})
        await admin.close()
        with pytest.raises(GapError, match="retention has passed"):
            await world.recovery().find(0)

    in_world(body)


@pytest.mark.parametrize(
    ("start_from", "expected"),
    [("earliest", 0), ("latest", 4), ("2200-01-01T00:00:00Z", 4), ("1969-12-31T23:59:59.999Z", 0)],
)
def test_without_checkpoint_and_offset_start_from_decides(in_world: InWorld, start_from: str, expected: int) -> None:
    async def body(world: World) -> None:
        await world.feed(world.topics.texts, 4)
        point = await world.recovery(start_from).find(0)
        assert point.checkpoint is None
        assert point.start == (expected, 0)
        (line,) = point.said
        assert line.count(f"start_from {start_from}") == 2, "one line for both sides"

    in_world(body)


def test_an_open_transaction_of_another_deployment_hides_no_newer_checkpoint(in_world: InWorld) -> None:
    async def body(world: World) -> None:
        await world.feed(world.topics.texts, 2)
        await world.step(world.state(1, 0, sequence=1))
        foreign = AIOKafkaProducer(
            bootstrap_servers=world.connection.bootstrap, transactional_id=f"{world.group}-foreign", acks="all"
        )
        await foreign.start()
        try:
            await foreign.begin_transaction()
            await foreign.send_and_wait(world.topics.state, value=b"{}", key=b"other/0", partition=0)
            await world.step(world.state(2, 0, sequence=2))
            finding = asyncio.create_task(world.recovery().find(0))
            await asyncio.wait([finding], timeout=2)
            await foreign.abort_transaction()
            point = await finding
        finally:
            await foreign.stop()
        assert point.checkpoint is not None
        assert point.checkpoint.sequence == 2

    in_world(body)
