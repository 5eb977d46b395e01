"""Reading topics without a consumer group: all partitions of one, up to where they end now, and not for ever.

In: a consumer, started with the isolation level that is wanted. Out: records in the order of their partition. What no
client can read comes as an :class:`~stream_app.adapters.kafka.unpacking.UnreadableRecord` in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition

from stream_app.adapters.kafka.answering import Answers, Tell, tell_nobody
from stream_app.adapters.kafka.clients import METADATA_S, POLL_MS, BrokerUnreachableError
from stream_app.clock import SystemClock
from stream_app.runtime.ports.clock import Clock
from stream_app.runtime.waiting import wait_for_any

_METADATA_POLL_S = 0.02
#: Reading up to the end of a topic gives up when nothing came for this long, in seconds.
SILENCE_S = 20.0
#: How long one call waits for records, in milliseconds: markers alone move the position and wake nobody.
_LOOK_MS = 200


class TopicMissingError(Exception):
    """A topic that is to be read does not exist; the message names it."""


class EndNotReachedError(BrokerUnreachableError):
    """Nothing came for too long before the end; the message says whether the brokers answered."""


async def require_topic(client: Any, topic: str) -> None:  # noqa: ANN401 - aiokafka has no types
    """Make sure that a topic is there, without asking for it by name: some brokers create topics on demand.

    Raises:
        TopicMissingError: if there is no such topic.
    """
    if topic not in await client.topics():
        raise TopicMissingError(_missing(topic))


def _missing(topic: str) -> str:
    return f"expected the topic {topic}, found none: `vigil topics create` makes it"


async def assign_all(client: Any, topic: str, *, clock: Clock | None = None) -> list[TopicPartition]:  # noqa: ANN401
    """Assign all partitions of a topic to a consumer without group.

    Raises:
        TopicMissingError: if there is no such topic.
    """
    clock = clock or SystemClock()
    await require_topic(client, topic)
    # A consumer that has partitions assigned may not subscribe.
    client.unsubscribe()
    client.subscribe([topic])
    until = clock.monotonic() + METADATA_S
    # aiokafka tells nobody when it learns of them.
    while not (numbers := client.partitions_for_topic(topic)) and clock.monotonic() < until:
        await clock.sleep(_METADATA_POLL_S)
    client.unsubscribe()
    if not numbers:
        raise TopicMissingError(_missing(topic))
    partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
    client.assign(partitions)
    return partitions


class Polls:
    """Polls of a consumer that say when the brokers no longer answer."""

    def __init__(self, client: Any, tell: Tell, clock: Clock | None = None) -> None:  # noqa: ANN401 - aiokafka
        self._client = client
        self._clock = clock or SystemClock()
        self._answers = Answers(tell, self._clock)

    @property
    def are_answered(self) -> bool:
        """Whether the brokers still answer."""
        return not self._answers.is_silent

    async def poll(
        self, partitions: Iterable[TopicPartition], *, timeout_ms: int = POLL_MS
    ) -> Mapping[TopicPartition, Sequence[Any]]:
        """Return what has come for these partitions, after this time at the latest."""
        places = tuple(partitions)
        began = self._clock.monotonic()
        batches: Mapping[TopicPartition, Sequence[Any]] = await self._client.getmany(*places, timeout_ms=timeout_ms)
        # It moves with each answer of a broker to a fetch, those without records too.
        self._answers.polled(began, {place: self._client.last_poll_timestamp(place) for place in places})
        return batches


async def read_to_the_end(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    ends: Mapping[TopicPartition, int],
    *,
    tell: Tell = tell_nobody,
    silence_s: float = SILENCE_S,
    clock: Clock | None = None,
) -> AsyncGenerator[Any, None]:
    """Yield records of assigned partitions from their positions up to these ends.

    Args:
        client: a consumer.
        ends: of each partition that is to be read, as the log has them.
        tell: is told when the brokers no longer answer, and when they are back.
        silence_s: how long to wait where nothing comes, in seconds.
        clock: None for this machine's.

    Raises:
        EndNotReachedError: if nothing comes for so long before the ends.
    """
    clock = clock or SystemClock()
    polls = Polls(client, tell, clock)
    heard_at = clock.monotonic()
    # A position behind the last record may still be the end: transaction markers take offsets too.
    while left := await answered(_still_below(client, ends), silence_s, clock):
        # What has been fetched already is handed out without a pause; others of this loop have work to do, too.
        await clock.sleep(0)
        batches = await polls.poll(left, timeout_ms=_LOOK_MS)
        for place, batch in batches.items():
            for record in batch:
                if record.offset < ends[place]:
                    yield record
        if batches:
            # Not before: a reader may take its time with each record.
            heard_at = clock.monotonic()
        elif clock.monotonic() - heard_at > silence_s:
            raise EndNotReachedError(stuck(left, silence_s, are_answered=polls.are_answered))


async def _still_below(client: Any, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:  # noqa: ANN401
    return {place: end for place, end in ends.items() if await client.position(place) < end}


async def answered(
    asked: Coroutine[Any, Any, dict[TopicPartition, int]], silence_s: float, clock: Clock
) -> dict[TopicPartition, int]:
    """Await a question that aiokafka asks for ever: a position that is not known is one that a broker has to tell.

    Raises:
        EndNotReachedError: if there is no answer for so long.
    """
    asking = asyncio.ensure_future(asked)
    try:
        await wait_for_any({asking}, silence_s, clock)
        if not asking.done():
            raise EndNotReachedError(_silent(silence_s))
        return asking.result()
    finally:
        asking.cancel()


def _silent(silence_s: float) -> str:
    return f"the brokers have stopped answering: nothing for {silence_s:g} s"


def stuck(left: Mapping[TopicPartition, int], silence_s: float, *, are_answered: bool) -> str:
    """Say why nothing comes below these ends."""
    if not are_answered:
        return _silent(silence_s)
    where, end = min(left.items())
    return (
        f"{where.topic}/{where.partition}: nothing came below offset {end} for {silence_s:g} s although the brokers "
        "answer: a transaction is open there"
    )


async def read_topic(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    topic: str,
    *,
    asker: Any | None = None,  # noqa: ANN401 - as above
    tell: Tell = tell_nobody,
    silence_s: float = SILENCE_S,
    clock: Clock | None = None,
) -> AsyncIterator[Any]:
    """Yield all that a topic holds now; see :func:`read_to_the_end`.

    Args:
        client: a consumer.
        topic: its name.
        asker: a consumer that reads what is not committed, too. Then all that has been committed comes: Kafka confirms
            a commit a moment before it lets readers of committed records past it. An open transaction is waited for.
        tell: is told when the brokers no longer answer, and when they are back.
        silence_s: how long to wait where nothing comes, in seconds.
        clock: None for this machine's.

    Raises:
        TopicMissingError: if there is no such topic.
        EndNotReachedError: if nothing comes for too long before its end.
    """
    partitions = await assign_all(client, topic, clock=clock)
    await client.seek_to_beginning(*partitions)
    ends = await (client if asker is None else asker).end_offsets(partitions)
    async for record in read_to_the_end(client, ends, tell=tell, silence_s=silence_s, clock=clock):
        yield record
