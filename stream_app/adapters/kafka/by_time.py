"""Reading partitions of several topics merged by append time, as a recording needs them.

In: a consumer with partitions assigned and positions set, and where to stop. Out: records, in the order in which the
brokers appended them. What no client can read comes as an
:class:`~stream_app.adapters.kafka.unpacking.UnreadableRecord` in its place.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from aiokafka import TopicPartition

from stream_app.adapters.kafka.answering import Tell, tell_nobody
from stream_app.adapters.kafka.to_the_end import SILENCE_S, EndNotReachedError, Polls, answered, stuck
from stream_app.clock import SystemClock
from stream_app.runtime.ports.clock import Clock

#: How long one call waits for records, in milliseconds: markers alone move the position and wake nobody.
_LOOK_MS = 200


class ByTime:
    """Reads up to one set of ends after the other, and loses nothing between.

    Of each partition one fetch is held at most. One partition's records come in order of their offsets.
    """

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - aiokafka has no types
        *,
        tell: Tell = tell_nobody,
        silence_s: float = SILENCE_S,
        clock: Clock | None = None,
    ) -> None:
        """Begin at the consumer's positions.

        Args:
            client: a consumer; whoever sets its positions does so before the first record.
            tell: is told when the brokers no longer answer, and when they are back.
            silence_s: how long to wait where nothing comes, in seconds.
            clock: None for this machine's.
        """
        self._client = client
        self._clock = clock or SystemClock()
        self._polls = Polls(client, tell, self._clock)
        self._silence_s = silence_s
        self._heard_at = self._clock.monotonic()
        #: What was fetched and lies behind the ends stays here.
        self._queues: defaultdict[TopicPartition, deque[Any]] = defaultdict(deque)
        self._newest_ms: defaultdict[TopicPartition, int] = defaultdict(int)

    def newest_ms(self, place: TopicPartition) -> int:
        """Return the newest append time of what was yielded of a partition; 0 where there was none."""
        return self._newest_ms[place]

    async def up_to(self, ends: Mapping[TopicPartition, int]) -> AsyncGenerator[Any, None]:
        """Yield what comes next, up to these ends.

        Raises:
            EndNotReachedError: if nothing comes for too long before the ends.
        """
        self._heard_at = self._clock.monotonic()
        heads: list[tuple[int, TopicPartition]] = []
        empty: set[TopicPartition] = set()
        for place in ends:
            self._show(place, ends, heads, empty)
        while empty or heads:
            # The order is known only once every partition has shown what comes next in it.
            while left := await answered(self._below(ends, empty), self._silence_s, self._clock):
                for place in await self._fetch(left):
                    empty.discard(place)
                    self._show(place, ends, heads, empty)
            # At their ends: nothing will come.
            empty.clear()
            if heads:
                newest_ms, place = heapq.heappop(heads)
                self._newest_ms[place] = newest_ms
                yield self._queues[place].popleft()
                # After its reader is done with it, for that may take its time.
                self._heard_at = self._clock.monotonic()
                self._show(place, ends, heads, empty)

    def _show(
        self,
        place: TopicPartition,
        ends: Mapping[TopicPartition, int],
        heads: list[tuple[int, TopicPartition]],
        empty: set[TopicPartition],
    ) -> None:
        """Put the next record of a partition among the heads, or the partition among those to be asked."""
        queue = self._queues[place]
        if not queue:
            empty.add(place)
        elif queue[0].offset < ends[place]:
            # A broker's clock may run back; the order of a partition stays.
            heapq.heappush(heads, (max(self._newest_ms[place], queue[0].timestamp), place))

    async def _below(
        self, ends: Mapping[TopicPartition, int], places: set[TopicPartition]
    ) -> dict[TopicPartition, int]:
        # A position behind the last record may still be the end: transaction markers take offsets too.
        return {place: ends[place] for place in sorted(places) if await self._client.position(place) < ends[place]}

    async def _fetch(self, left: Mapping[TopicPartition, int]) -> list[TopicPartition]:
        """Put what has come for these partitions into their queues; return for which something has."""
        # What has been fetched already is handed out without a pause; others of this loop have work to do, too.
        await self._clock.sleep(0)
        batches = await self._polls.poll(left, timeout_ms=_LOOK_MS)
        if not batches and self._clock.monotonic() - self._heard_at > self._silence_s:
            raise EndNotReachedError(stuck(left, self._silence_s, are_answered=self._polls.are_answered))
        for place, batch in batches.items():
            self._queues[place].extend(batch)
            self._heard_at = self._clock.monotonic()
        return list(batches)
