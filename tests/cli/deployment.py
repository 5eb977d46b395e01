"""Topics of one test on the real Kafka, and the commands run against them."""

import asyncio
import json
import sys
from collections.abc import Collection
from typing import Any, Protocol

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from stream_app.adapters.kafka.clients import consumer
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.to_the_end import read_topic
from stream_app.adapters.kafka.topics import partition_counts
from stream_app.cli import main
from stream_app.config import Operational
from stream_app.wire.alerts import render_alert
from stream_app.wire.decisions import render_decision
from stream_app.wire.message import Message
from stream_app.wiring.clients import connection_to
from tests.adapters.batches import batch, record
from tests.adapters.kafka.raw_produce import produce_raw
from tests.wire.test_events import CONTEXT, decision, opened

TOPICS = ("frames", "texts", "alerts", "decisions", "journal", "state", "dead_letters")
VIGIL = [sys.executable, "-c", "from stream_app.cli import main; main()"]


class Kafka(Protocol):
    """The fixture `kafka`."""

    @property
    def bootstrap(self) -> str: ...


async def until_known(connection: Connection, names: Collection[str]) -> None:
    """Wait for topics that the controller has made: the broker that answers learns of them a moment later."""
    while len(await partition_counts(connection, list(names))) < len(names):  # noqa: ASYNC110 - the broker tells nobody
        await asyncio.sleep(0.1)


def alert_message(**changes: Any) -> Message:  # noqa: ANN401 - the properties of an alert
    """An alert as a worker publishes it, with other properties."""
    message = render_alert(opened(), CONTEXT)
    return msgspec.structs.replace(message, value=json.dumps(json.loads(message.value or b"") | changes).encode())


def decision_value(**changes: Any) -> bytes:  # noqa: ANN401 - the properties of a decision
    """A decision as a worker publishes it, with other properties, on several lines."""
    return json.dumps(json.loads(render_decision(decision(), CONTEXT).value or b"") | changes, indent=1).encode()


class Deployment:
    """Topics of one test, and the options that name them."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.bootstrap = bootstrap
        self.names = {topic: f"{prefix}.{topic}" for topic in TOPICS}
        self.options = ["--bootstrap", bootstrap]
        for topic, name in self.names.items():
            self.options += ["--set", f"{topic}_topic={name}"]

    def run(self, *arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *self.options])
        return int(ended.value.code or 0)

    def records(self, topic: str) -> list[Any]:
        async def read() -> list[Any]:
            async with consumer(connection_to(Operational(bootstrap=self.bootstrap))) as client:
                return [record async for record in read_topic(client, self.names[topic])]

        return asyncio.run(asyncio.wait_for(read(), 90))

    def publish(self, topic: str, *values: bytes | Message) -> None:
        async def send() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
                for value in values:
                    message = value if isinstance(value, Message) else Message(topic, None, value)
                    headers = list(message.headers)
                    await producer.send_and_wait(self.names[topic], message.value, key=b"yard", headers=headers)

        asyncio.run(send())

    def spoil(self, topic: str, partition: int) -> None:
        """Append a record that nobody can read: its header has a name that is no UTF-8."""

        async def send() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
                await producer.partitions_for(self.names[topic])
                data = batch([record(0, b"{}", key=b"yard", headers=((b"\xff", b"x"),))], attributes=0)
                await produce_raw(producer.client, TopicPartition(self.names[topic], partition), data)

        asyncio.run(send())
