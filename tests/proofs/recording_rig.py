"""What proofs of recordings share: a subscriber that keeps what it saw, `vigil record` beside workers, verification.

A recording has to hold what a read_committed subscriber saw, to the byte, and all of it has to be verified.
"""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import TopicPartition

from stream_app.adapters.kafka.guarding import guarded_consumer
from stream_app.adapters.kafka.to_the_end import read_to_the_end
from stream_app.adapters.recording.kafka import as_topic_record
from stream_app.adapters.recording.read import open_recording
from stream_app.core.event_time import parse_event_time
from stream_app.replay.verify import verify
from tests.proofs.rig import PARTITIONS, SETTLE_S, now_ms, rfc3339

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiokafka import AIOKafkaConsumer

    from stream_app.replay.recording import Kind, TopicRecord
    from stream_app.replay.verification import Verification
    from tests.proofs.rig import Rig

KINDS: tuple[Kind, ...] = ("frames", "texts", "alerts", "decisions", "journal", "dead_letters")
OUTPUTS: tuple[Kind, ...] = ("alerts", "decisions", "dead_letters")
#: An end behind an open transaction is waited for as long as a killed worker's transaction lasts, and more. In seconds.
_SILENCE_S = 150.0

Seen = dict[tuple["Kind", int], list["TopicRecord"]]


@dataclass
class Subscriber:
    """Reads a deployment's topics as they come, and keeps all of it."""

    rig: Rig
    seen: Seen = field(default_factory=dict)

    @property
    def tasks_begun(self) -> set[bytes | None]:
        """The keys of the tasks whose first step was seen."""
        return {record.key for (kind, _), records in self.seen.items() if kind == "journal" for record in records}

    def bodies(self, kind: Kind) -> list[Any]:
        """Return what was seen of a topic of JSON objects."""
        found = [record for (one, _), records in self.seen.items() if one == kind for record in records]
        return [msgspec.json.decode(record.value or b"") for record in found]

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Read until cancelled."""
        async for record in consumer:
            self._keep(record)

    @property
    def newest_ms(self) -> int:
        """The newest append time, in ms."""
        return max(records[-1].timestamp for records in self.seen.values())

    async def rest(self, consumer: AIOKafkaConsumer) -> None:
        """Read up to where the log ends: Kafka confirms a commit before it lets all readers past it."""
        asker = guarded_consumer(self.rig.connection)
        await asker.start()
        try:
            ends = await asker.end_offsets(list(consumer.assignment()))
        finally:
            await asker.stop()
        async for record in read_to_the_end(consumer, ends, silence_s=_SILENCE_S):
            self._keep(record)

    def _keep(self, record: object) -> None:
        kinds: dict[str, Kind] = {getattr(self.rig.topics, kind): kind for kind in KINDS}
        found = as_topic_record(record)
        self.seen.setdefault((kinds[record.topic], found.partition), []).append(found)  # type: ignore[attr-defined]


@asynccontextmanager
async def subscriber(rig: Rig) -> AsyncIterator[Subscriber]:
    """Give a subscriber that reads along; at the end of the block it has seen everything."""
    consumer = guarded_consumer(rig.connection, isolation_level="read_committed", auto_offset_reset="earliest")
    await consumer.start()
    found = Subscriber(rig)
    try:
        places = [TopicPartition(getattr(rig.topics, kind), task) for kind in KINDS for task in range(PARTITIONS)]
        consumer.assign(places)
        reading = asyncio.create_task(found.run(consumer))
        try:
            yield found
        finally:
            reading.cancel()
            await asyncio.wait([reading])
        await found.rest(consumer)
    finally:
        await consumer.stop()


@asynccontextmanager
async def following(rig: Rig, seen: Subscriber, out: Path, *more: str) -> AsyncIterator[None]:
    """Run `vigil record --follow` to a folder beside the block; once it has all that was seen, end it by Ctrl-C."""
    log = rig.folder / f"{rig.deployment}-follow.log"
    process = rig.start_command("record", "--follow", "--out", str(out), *more, log=log)
    try:
        await until(lambda: process.poll() is not None or any(out.glob("*.mcap")))
        yield
        await until(lambda: process.poll() is not None or _recorded_until(log) >= seen.newest_ms)
        # The newest is not the last where partitions have one of the same time; it looks once a second.
        await asyncio.sleep(2)
        process.send_signal(signal.SIGINT)
        status = await asyncio.to_thread(process.wait, SETTLE_S)
        assert status == 0, log.read_text(errors="replace")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _recorded_until(log: Path) -> int:
    """Return the append time up to which the command said that it has recorded, in ms."""
    said = re.findall(r"recorded until ([^:]+:\d\d:\d\d\.\d+Z)", log.read_text(errors="replace"))
    return parse_event_time(said[-1]) if said else 0


async def record_range(rig: Rig, from_ms: int, to_ms: int, out: Path) -> Path:
    """Run `vigil record --from --to` to its end; return the file."""
    times = ("--from", rfc3339(from_ms).decode(), "--to", rfc3339(to_ms).decode())
    await rig.run_command("record", *times, "--out", str(out))
    return out


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds that nobody tells."""
    async with asyncio.timeout(SETTLE_S):
        while not holds():  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(0.2)


async def until_all_begun(seen: Subscriber) -> int:
    """Wait until every task has made its first step, which is where verification can begin; return the time."""
    await until(lambda: len(seen.tasks_begun) == PARTITIONS)
    return now_ms()


def recorded(*paths: Path) -> Seen:
    """Read a recording, topic by topic and partition by partition."""
    found: Seen = {}
    with open_recording(*paths) as recording:
        for kind, record in recording.records():
            found.setdefault((kind, record.partition), []).append(record)
    return found


def verified(*paths: Path) -> Verification:
    """Verify a recording; it has to be equal, without a gap."""
    with open_recording(*paths) as recording:
        verdict = verify(recording)
    assert [difference.words() for difference in verdict.differences] == []
    assert [gap for task in verdict.tasks for gap in task.gaps] == []
    assert (verdict.status, verdict.torn) == ("equal", "")
    return verdict


def assert_whole(seen: Seen, *paths: Path) -> Verification:
    """Make sure that a recording holds what was seen, no more and no less, and that all of the outputs is verified."""
    assert recorded(*paths) == seen
    verdict = verified(*paths)
    counts = {kind: sum(len(records) for (found, _), records in seen.items() if found == kind) for kind in OUTPUTS}
    assert {kind: sum(task.verified.get(kind, 0) for task in verdict.tasks) for kind in OUTPUTS} == counts
    assert all(counts[kind] for kind in ("alerts", "decisions")), counts
    return verdict


def assert_part(*paths: Path) -> Verification:
    """Make sure that a recording that begins and ends anywhere is verified, and what lies outside is counted."""
    verdict = verified(*paths)
    held = recorded(*paths)
    for kind in OUTPUTS:
        counted = sum(
            counts.get(kind, 0) for task in verdict.tasks for counts in (task.verified, task.before, task.after)
        )
        assert counted == sum(len(records) for (found, _), records in held.items() if found == kind), kind
    return verdict
