"""Readers on a real Kafka: what is there is read, whatever retention took before it."""

import asyncio
from typing import Protocol

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete

from stream_app.adapters.reach import admin_client, consumer, producer
from stream_app.config import Operational
from stream_app.wiring.clients import connection_to

pytestmark = pytest.mark.kafka


class Broker(Protocol):
    @property
    def bootstrap(self) -> str: ...


def test_a_reader_that_retention_overtook_goes_on_with_the_oldest_record_that_is_left(
    kafka: Broker, topic_prefix: str
) -> None:
    async def scenario() -> None:
        connection, place = connection_to(Operational(bootstrap=kafka.bootstrap)), TopicPartition(topic_prefix, 0)
        async with admin_client(connection) as admin:
            await admin.create_topics([NewTopic(topic_prefix, 1, 1)])
            async with producer(connection) as writer:
                for value in (b"one", b"two", b"three"):
                    await writer.send_and_wait(topic_prefix, value, partition=0)
            await admin.delete_records({place: RecordsToDelete(before_offset=2)})
        async with consumer(connection) as reader, asyncio.timeout(10):
            reader.assign([place])
            reader.seek(place, 0)
            assert (await reader.getone(place)).value == b"three"

    asyncio.run(scenario())
