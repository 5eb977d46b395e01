"""Whether this user may publish: found out without publishing anything, for a worker may run for days before it alerts.

In: a connection, the outputs, a transactional id. Out: the outputs that may not be written to. It leaves no record and
no transaction behind, and fences nobody, for no task has this transactional id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.produce import ProduceRequest

from stream_app.adapters.kafka.connection import Connection

#: For all answers together, in seconds.
_ANSWER_S: Final = 15.0
_ACKS_OF_ALL: Final = -1


async def unwritable(connection: Connection, outputs: Collection[str], *, transactional_id: str) -> tuple[str, ...]:
    """Return the outputs that may not be written to, by name.

    Args:
        connection: addresses and credentials.
        outputs: topics that exist.
        transactional_id: to be initialised; no task's own, or it would be fenced.

    Raises:
        TransactionalIdAuthorizationFailed: if such an id may not be used.
        KafkaError: if the brokers do not answer, or refuse.
    """
    producer = AIOKafkaProducer(**connection.client_arguments(), transactional_id=transactional_id, acks="all")
    try:
        async with asyncio.timeout(_ANSWER_S):
            await producer.start()
            return tuple([topic for topic in sorted(outputs) if not await _may_write(producer, topic)])
    except TimeoutError as error:
        raise KafkaTimeoutError(f"no answer within {_ANSWER_S:g} s") from error
    finally:
        await producer.stop()


async def _may_write(producer: Any, topic: str) -> bool:  # noqa: ANN401 - aiokafka has no types
    """Ask to append nothing: rights are looked at first, and then that there is nothing to append."""
    await producer.partitions_for(topic)
    leader = producer.client.cluster.leader_for_partition(TopicPartition(topic, 0))
    request = ProduceRequest(
        transactional_id=None,
        required_acks=_ACKS_OF_ALL,
        timeout=int(_ANSWER_S * 1_000),
        topics=[(topic, [(0, b"")])],
    )
    response = await producer.client.send(leader, request)
    ((_name, ((_partition, code, *_more),)),) = response.topics
    return for_code(code) is not TopicAuthorizationFailedError
