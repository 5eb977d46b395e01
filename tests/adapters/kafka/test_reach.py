"""Readers on a real Kafka: what is there is read, whatever retention took before it."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete

from stream_app.adapters.kafka.clients import admin_client, consumer, producer
from stream_app.adapters.kafka.connection import Connection
from stream_app.config import Operational
from stream_app.wiring.clients import connection_to
from tests.adapters.kafka.log_cues import at_line

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
        async with consumer(connection) as reader, asyncio.timeout(60):
            reader.assign([place])
            reader.seek(place, 0)
            assert (await reader.getone(place)).value == b"three"

    asyncio.run(scenario())


@pytest.mark.parametrize("request_number", [1, 2])
@pytest.mark.parametrize("make", [admin_client, consumer, producer])
def test_a_start_that_is_cancelled_leaves_no_connection_open(
    kafka: Broker, make: Callable[[Connection], AbstractAsyncContextManager[Any]], request_number: int
) -> None:
    complaints: list[dict[str, Any]] = []

    async def use() -> None:
        async with make(connection_to(Operational(bootstrap=kafka.bootstrap))):
            await asyncio.Event().wait()

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        await _cancel_at_request(request_number, use())
        gc.collect()

    asyncio.run(scenario())
    assert complaints == []


async def _cancel_at_request(number: int, work: Coroutine[Any, Any, None]) -> None:
    loop, job = asyncio.get_running_loop(), asyncio.create_task(work)
    with (
        at_line("aiokafka.conn", "Request to", number, lambda: loop.call_soon(job.cancel)),
        pytest.raises(asyncio.CancelledError),
    ):
        await job
