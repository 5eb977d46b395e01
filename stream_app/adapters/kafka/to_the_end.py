"""Reading topics without a consumer group: all partitions of one, up to where they end now, and not for ever.

In: a consumer, started with the isolation level that is wanted. Out: records in the order of their partition. What no
client can read comes as an :class:`~stream_app.adapters.kafka.unpacking.UnreadableRecord` in its place.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition

from stream_app.adapters.kafka.answering import Answers, Tell, tell_nobody
from stream_app.adapters.kafka.clients import METADATA_S, POLL_MS, BrokerUnreachableError
from stream_app.clock import SystemClock
from stream_app.runtime.ports.clock import Clock

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
    look = _Look(client, ends, tell, silence_s, clock or SystemClock())
    while left := await look.left(ends):
        for batch in (await look.batches(left)).values():
            for record in batch:
                yield record
            look.heard()


async def read_by_time(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    ends: Mapping[TopicPartition, int],
    *,
    tell: Tell = tell_nobody,
    silence_s: float = SILENCE_S,
    clock: Clock | None = None,
) -> AsyncGenerator[Any, None]:
    """Yield what :func:`read_to_the_end` yields, merged by append time; of one partition in order of offsets.

    Args and errors are the same. Of each partition one fetch is held at most.
    """
    look = _Look(client, ends, tell, silence_s, clock or SystemClock())
    queues: dict[TopicPartition, deque[Any]] = {place: deque() for place in ends}
    newest_ms = dict.fromkeys(ends, 0)
    heads: list[tuple[int, TopicPartition]] = []
    empty = set(ends)
    while empty or heads:
        while left := await look.left(empty):
            for place, batch in (await look.batches(left)).items():
                queues[place].extend(batch)
                look.heard()
                if batch:
                    empty.discard(place)
                    heapq.heappush(heads, (max(newest_ms[place], batch[0].timestamp), place))
        # At their ends: nothing will come.
        empty.clear()
        if heads:
            newest, place = heapq.heappop(heads)
            newest_ms[place] = newest
            queue = queues[place]
            yield queue.popleft()
            look.heard()
            if queue:
                heapq.heappush(heads, (max(newest, queue[0].timestamp), place))
            else:
                empty.add(place)


class _Look:
    """Looks for records up to these ends, and gives up when nothing came for too long."""

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - aiokafka has no types
        ends: Mapping[TopicPartition, int],
        tell: Tell,
        silence_s: float,
        clock: Clock,
    ) -> None:
        self._client = client
        self._ends = ends
        self._silence_s = silence_s
        self._clock = clock
        self._polls = Polls(client, tell, clock)
        self._heard_at = clock.monotonic()

    async def left(self, places: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Return which of these partitions have not been read to their ends."""
        # A position behind the last record may still be the end: transaction markers take offsets too.
        return [place for place in places if await self._client.position(place) < self._ends[place]]

    async def batches(self, left: list[TopicPartition]) -> dict[TopicPartition, list[Any]]:
        """Return what has come, none of it behind the ends."""
        # What has been fetched already is handed out without a pause; others of this loop have work to do, too.
        await self._clock.sleep(0)
        batches = await self._polls.poll(left, timeout_ms=_LOOK_MS)
        if not batches and self._clock.monotonic() - self._heard_at > self._silence_s:
            where = min(left)
            raise EndNotReachedError(
                _stuck(where, self._ends[where], self._silence_s, are_answered=self._polls.are_answered)
            )
        return {
            place: [record for record in batch if record.offset < self._ends[place]] for place, batch in batches.items()
        }

    def heard(self) -> None:
        """Note that something came; after its reader is done with it, for that may take its time."""
        self._heard_at = self._clock.monotonic()


def _stuck(where: TopicPartition, end: int, silence_s: float, *, are_answered: bool) -> str:
    if not are_answered:
        return f"the brokers have stopped answering: nothing for {silence_s:g} s"
    return (
        f"{where.topic}/{where.partition}: nothing came below offset {end} for {silence_s:g} s although the brokers "
        "answer: a transaction is open there"
    )


async def read_topic(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    topic: str,
    *,
    tell: Tell = tell_nobody,
    silence_s: float = SILENCE_S,
    clock: Clock | None = None,
) -> AsyncIterator[Any]:
    """Yield all that a topic holds now; see :func:`read_to_the_end`.

    Raises:
        TopicMissingError: if there is no such topic.
        EndNotReachedError: if nothing comes for too long before its end.
    """
    partitions = await assign_all(client, topic, clock=clock)
    await client.seek_to_beginning(*partitions)
    ends = await client.end_offsets(partitions)
    async for record in read_to_the_end(client, ends, tell=tell, silence_s=silence_s, clock=clock):
        yield record
