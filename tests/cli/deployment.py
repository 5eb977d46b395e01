"""Topics of one test on the real Kafka, and the commands run against them."""

import asyncio
import sys
from collections.abc import Collection
from typing import Any, Protocol

import pytest
from aiokafka import AIOKafkaProducer

from stream_app.adapters.kafka.clients import consumer
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.to_the_end import read_topic
from stream_app.adapters.kafka.topics import partition_counts
from stream_app.cli import main
from stream_app.config import Operational
from stream_app.wiring.clients import connection_to

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

        return asyncio.run(asyncio.wait_for(read(), 30))

    def publish(self, topic: str, *values: bytes) -> None:
        async def send() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
                for value in values:
                    await producer.send_and_wait(self.names[topic], value, key=b"yard")

        asyncio.run(send())
