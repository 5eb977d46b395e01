"""Playing recordings: records go to the input topics as they came, at their distances or as fast as brokers take them.

In: a started producer, records, a speed. Out: records on the topics in the order of their append times, over both; and
counts. It must not know files.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

import msgspec

from stream_app.adapters.feed.camera import FeedError
from stream_app.adapters.feed.outbox import FeedReport, Outbox, Sent, require_topic
from stream_app.adapters.feed.turns import STEP_MS
from stream_app.adapters.kafka.clients import METADATA_S, consumer
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.to_the_end import assign_all, read_to_the_end
from stream_app.adapters.kafka.unpacking import UnreadableRecord
from stream_app.replay.played import Played

#: Bytes that are sent and not yet confirmed, of each topic.
_IN_FLIGHT_BYTES = 32 * 1024 * 1024
#: So many of a partition's newest records tell whose topic it is; some places are markers of transactions.
_LOOKED_AT = 8
_OUTPUT_TYPES = (b"vigil.alert.", b"vigil.notice.", b"vigil.decision.")


class Progress(msgspec.Struct):
    """How far a play has come: the append time of what was sent last, in ms, and what was confirmed of all."""

    moment_ms: int | None = None
    frames: FeedReport = FeedReport()
    texts: FeedReport = FeedReport()

    @property
    def sent(self) -> int:
        """Records that were confirmed."""
        return self.frames.sent + self.texts.sent

    @property
    def too_large(self) -> int:
        """Records that the brokers do not take."""
        return self.frames.too_large + self.texts.too_large


async def feed_recorded(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    records: Iterable[Played],
    progress: Progress,
    *,
    frames: str,
    texts: str,
    speed: float,
) -> None:
    """Send records, each when its turn comes; where there is a key the producer's partitioner finds the place.

    Args:
        client: a started producer, see :func:`stream_app.adapters.feed.play.feeding_producer`.
        records: by their moments.
        progress: is kept up to date, and says how far it came however this ends.
        frames: the frames topic.
        texts: the texts topic.
        speed: 1 is real time; 0 is as fast as possible.

    Raises:
        FeedError: if a topic is missing, or the two differ in their partitions.
        KafkaError: if the brokers no longer confirm.
    """
    count = await _require_inputs(client, frames, texts)
    outboxes = {"frames": Outbox(client, frames, _IN_FLIGHT_BYTES, None)}
    outboxes["texts"] = Outbox(client, texts, _IN_FLIGHT_BYTES, None)

    def note() -> None:
        progress.frames, progress.texts = outboxes["frames"].report, outboxes["texts"].report

    begun = time.monotonic()
    first_ms: int | None = None
    steps = dict.fromkeys(outboxes, 0)
    try:
        for record in records:
            first_ms = record.moment_ms if first_ms is None else first_ms
            due = begun + (record.moment_ms - first_ms) / 1_000 / speed if speed else 0
            await asyncio.sleep(max(due - time.monotonic(), 0))
            step = steps[record.kind] = record.moment_ms // STEP_MS
            # Texts are small: without this they would all be there before the frames to which they belong.
            for kind, outbox in outboxes.items():
                if steps[kind] < step:
                    await outbox.drain()
            partition = record.partition % count if record.key is None else None
            sent = Sent("", "", -1, -1, len(record.value or b""))
            await outboxes[record.kind].send_as_it_is(
                record.value, sent, key=record.key, headers=list(record.headers), partition=partition
            )
            progress.moment_ms = record.moment_ms
            note()
        for outbox in outboxes.values():
            await outbox.drain()
    finally:
        note()


async def require_no_outputs(connection: Connection, *topics: str) -> None:
    """Look at the newest records of topics, and refuse those that a worker publishes to.

    Raises:
        FeedError: if there is such a record.
        BrokerUnreachableError: if no broker answers.
    """
    async with consumer(connection) as client:
        for topic in topics:
            places = await assign_all(client, topic)
            ends = await client.end_offsets(places)
            begins = await client.beginning_offsets(places)
            for place in places:
                client.seek(place, max(begins[place], ends[place] - _LOOKED_AT))
            async with aclosing(read_to_the_end(client, ends)) as records:
                async for record in records:
                    if not isinstance(record, UnreadableRecord) and _is_output(dict(record.headers)):
                        raise FeedError(f"expected an input topic, found alerts, decisions or dead letters on {topic}")


def _is_output(headers: dict[str, bytes | None]) -> bool:
    return "vigil_reason" in headers or (headers.get("ce_type") or b"").startswith(_OUTPUT_TYPES)


async def _require_inputs(client: Any, frames: str, texts: str) -> int:  # noqa: ANN401 - aiokafka has no types
    """Return how many partitions both topics have."""
    for topic in (frames, texts):
        await require_topic(client, topic)
    async with asyncio.timeout(METADATA_S):
        known = await client.client.fetch_all_metadata()
    counts = {topic: len(known.partitions_for_topic(topic) or ()) for topic in (frames, texts)}
    if len(set(counts.values())) != 1:
        found = ", ".join(f"{count} of {topic}" for topic, count in counts.items())
        raise FeedError(f"expected as many partitions of texts as of frames, found {found}")
    return counts[frames]
