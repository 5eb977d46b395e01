"""A subscription to alerts, for other programs: read_committed, checked, each alert once.

In: addresses, and what is wanted. Out: alerts, one by one. It joins a consumer group only where it is given one.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from stream_app.adapters.kafka.clients import POLL_MS, consumer
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.to_the_end import assign_all, require_topic
from stream_app.adapters.reading.alerts import Wanted, read_alert
from stream_app.wire.alerts import Alert, Notice

_log = logging.getLogger("vigil")
#: A record comes again after a crash of this program at most; so many ids back are remembered.
REMEMBERED_IDS = 10_000


async def subscribe(
    connection: Connection,
    topic: str,
    *,
    group: str | None,
    from_beginning: bool,
    wanted: Wanted,
    on_notice: Callable[[Notice], object] | None,
) -> AsyncGenerator[Alert, None]:
    """Yield alerts as they are committed, each once; see :func:`vigil.alerts`, which calls it.

    Args:
        connection: the cluster.
        topic: the alerts topic.
        group: a consumer group that remembers how far it read, or None.
        from_beginning: begin with the oldest alert that is kept, where the group has not read before.
        wanted: which alerts.
        on_notice: is called with each notice; None: they are logged.

    Raises:
        BrokerUnreachableError: if no broker answers at the start.
        TopicMissingError: if there is no such topic.
    """
    known: OrderedDict[str, None] = OrderedDict()
    async with consumer(connection, group_id=group) as client:
        places = _Places(client, is_shared=group is not None, from_beginning=from_beginning)
        await places.begin(topic)
        while True:
            await places.pin()
            batches = await client.getmany(timeout_ms=POLL_MS)
            for record in (record for batch in batches.values() for record in batch):
                if not places.holds(record):
                    continue
                found = _read(record)
                if isinstance(found, Notice):
                    (on_notice or _warn_of)(found)
                elif found is not None and _is_new(known, found.id) and wanted.takes(found):
                    yield found
                    await places.handled(record)
                places.passed(record)
            await places.commit()


class _Places:
    """Where a subscription reads, and how far its group has handled; without a group it remembers nothing."""

    def __init__(self, client: Any, *, is_shared: bool, from_beginning: bool) -> None:  # noqa: ANN401 - aiokafka's
        self._client = client
        self._is_shared = is_shared
        self._from_beginning = from_beginning
        self._pinned: set[TopicPartition] = set()
        self._passed: dict[TopicPartition, int] = {}

    async def begin(self, topic: str) -> None:
        """Subscribe, or take all partitions."""
        if self._is_shared:
            await require_topic(self._client, topic)
            self._client.subscribe([topic])
            return
        partitions = await assign_all(self._client, topic)
        # Asked for now: a position that is found at the first fetch would pass over what is committed before it.
        if self._from_beginning:
            await self._client.seek_to_beginning(*partitions)
        else:
            await self._client.seek_to_end(*partitions)
        self._pinned.update(partitions)

    async def pin(self) -> None:
        """Commit where the group begins on a partition: else it would skip what comes before it has handled any."""
        if not self._is_shared:
            return
        assigned = self._client.assignment()
        self._pinned &= assigned
        for place in assigned - self._pinned:
            with suppress(CommitFailedError, IllegalStateError):
                offset = await self._client.committed(place)
                if offset is None:
                    ask = self._client.beginning_offsets if self._from_beginning else self._client.end_offsets
                    offset = (await ask([place]))[place]
                    await self._client.commit({place: offset})
                # What was fetched before this was not handed out.
                self._client.seek(place, offset)
                self._pinned.add(place)

    def holds(self, record: Any) -> bool:  # noqa: ANN401 - aiokafka has no types
        """Return whether a record is ours to hand out; one that another member reads now is not."""
        place = TopicPartition(record.topic, record.partition)
        return place in self._pinned and (not self._is_shared or place in self._client.assignment())

    def passed(self, record: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        """Note that everything up to a record was handled."""
        self._passed[TopicPartition(record.topic, record.partition)] = record.offset + 1

    async def handled(self, record: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        """Commit the position behind an alert as soon as it was handled."""
        self.passed(record)
        await self.commit()

    async def commit(self) -> None:
        """Commit what was handled; where another member has a partition now, that one reads it again."""
        passed, self._passed = self._passed, {}
        if self._is_shared and passed:
            with suppress(CommitFailedError, IllegalStateError):
                await self._client.commit(passed)


def _read(record: Any) -> Alert | Notice | None:  # noqa: ANN401 - aiokafka has no types
    seen = read_alert(record)
    if seen.unreadable:
        _log.warning("skipped %s: %s", seen.place, seen.unreadable)
    return seen.content


def _warn_of(notice: Notice) -> None:
    _log.warning("notice %r of zone %r: %s", notice.notice, notice.zone, notice.detail)


def _is_new(known: OrderedDict[str, None], alert_id: str) -> bool:
    if alert_id in known:
        return False
    known[alert_id] = None
    if len(known) > REMEMBERED_IDS:
        known.popitem(last=False)
    return True
