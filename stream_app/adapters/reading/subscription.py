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
    reset = "earliest" if from_beginning else "latest"
    async with consumer(connection, group_id=group, auto_offset_reset=reset) as client:
        await _begin(client, topic, group, from_beginning=from_beginning)
        while True:
            batches = await client.getmany(timeout_ms=POLL_MS)
            for record in (record for batch in batches.values() for record in batch):
                found = _read(record)
                if isinstance(found, Notice):
                    (on_notice or _warn_of)(found)
                elif found is not None and _is_new(known, found.id) and wanted.takes(found):
                    yield found
                if group is not None:
                    await _handled(client, record)


async def _begin(client: Any, topic: str, group: str | None, *, from_beginning: bool) -> None:  # noqa: ANN401
    if group is not None:
        await require_topic(client, topic)
        client.subscribe([topic])
        return
    partitions = await assign_all(client, topic)
    # Asked for now: a position that is found at the first fetch would pass over what is committed before it.
    if from_beginning:
        await client.seek_to_beginning(*partitions)
    else:
        await client.seek_to_end(*partitions)


def _read(record: Any) -> Alert | Notice | None:  # noqa: ANN401 - aiokafka has no types
    seen = read_alert(record)
    if seen.unreadable:
        _log.warning("passed over %s: %s", seen.place, seen.unreadable)
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


async def _handled(client: Any, record: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """Commit the position behind a record; where another member has its partition now, that one reads it again."""
    with suppress(CommitFailedError, IllegalStateError):
        await client.commit({TopicPartition(record.topic, record.partition): record.offset + 1})
