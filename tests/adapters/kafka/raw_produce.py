"""Sending a batch that was made by hand: no client would, but other software does, and disks rot."""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.protocol.produce import ProduceRequest


async def produce_raw(client: Any, place: TopicPartition, data: bytes) -> int:  # noqa: ANN401 - aiokafka has no types
    """Send one batch over a producer's client; return the offset of its first record."""
    leader = client.cluster.leader_for_partition(place)
    request = ProduceRequest(
        transactional_id=None, required_acks=-1, timeout=30_000, topics=[(place.topic, [(place.partition, data)])]
    )
    response = await client.send(leader, request)
    ((_, ((_, error, base, *_),)),) = response.topics
    assert error == 0, error
    return int(base)
