"""What the proofs share: a Kafka and workers of their own, a planter of records, and what has to come out.

The expected alerts come from what was planted, by rules written here; nothing of the core is imported. The tiny bundle
gives every planted text a score that opens its incident, with or without its frames.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import murmur2

from stream_app.adapters.kafka.connection import MAX_REQUEST_BYTES, Connection
from stream_app.config import Operational
from stream_app.demo.collecting import collect
from stream_app.demo.settling import wait_settled
from stream_app.demo.truth import Published, PublishedRecord, Window
from stream_app.demo.workers import Worker
from stream_app.wire.topics import Topics
from stream_app.wiring.clients import connection_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from stream_app.demo.collecting import AlertWatcher
    from stream_app.demo.truth import Outputs

PARTITIONS = 4
LABELS = ("fight", "fire")
#: Small windows: a proof lasts minutes, not hours. quiet_ms is at least before + after + grace.
SETTINGS: dict[str, Any] = {
    "before_ms": 500,
    "after_ms": 500,
    "grace_ms": 500,
    "quiet_ms": 1_600,
    "sample_ms": 100,
    "session_timeout_ms": 6_000,
    "heartbeat_ms": 1_500,
    "commit_ms": 300,
    "decode_children": 1,
    "ort_threads": 1,
    "provider": "cpu",
}
#: For everything published to be judged: seconds on an idle machine, minutes on a busy one. In seconds.
SETTLE_S = 180.0
#: A command that reads or writes a few topics is done in this time, on a busy machine too. In seconds.
_COMMAND_S = 120.0
WINDOW = Window(before_ms=500, after_ms=500, grace_ms=500, sample_ms=100)


def jpeg(colour: tuple[int, int, int] = (255, 255, 0), size: tuple[int, int] = (64, 48)) -> bytes:
    """Draw a plain picture (RGB, width x height); yellow lifts both labels of the tiny bundle."""
    picture = np.full((size[1], size[0], 3), colour[::-1], dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", picture)[1].tobytes())


def now_ms() -> int:
    """Wall time, ms since the epoch."""
    return int(time.time() * 1_000)


def rfc3339(moment_ms: int) -> bytes:
    """Write a time as the wire wants it."""
    return datetime.fromtimestamp(moment_ms / 1_000, UTC).isoformat(timespec="milliseconds").encode()


@dataclass
class Rig:
    """A deployment under test."""

    connection: Connection
    topics: Topics
    deployment: str
    folder: Path
    bundle: Path
    settings: dict[str, Any]
    workers: list[Worker] = field(default_factory=list)
    published: Published = field(default_factory=Published)

    async def create_topics(self, *, timestamp_type: str = "LogAppendTime") -> None:
        """Create all topics; the inputs with the broker's append time, or with timestamps that the test gives."""
        topics = self.topics
        inputs = {"message.timestamp.type": timestamp_type, "max.message.bytes": "8388608"}
        outputs = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "8388608"}
        wanted = {
            topics.frames: inputs,
            topics.texts: inputs,
            topics.state: {**outputs, "cleanup.policy": "compact"},
            **dict.fromkeys((topics.alerts, topics.decisions, topics.journal, topics.dead_letters), outputs),
        }
        async with self.admin() as admin:
            await admin.create_topics(
                [NewTopic(name, PARTITIONS, 1, topic_configs=configs) for name, configs in wanted.items()]
            )

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """Give an admin client."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.connection.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    def start_worker(self, *, environment: Mapping[str, str] | None = None, **more: object) -> Worker:
        """Start one more worker, with these variables added to its environment."""
        number = len(self.workers) + 1
        given = {
            **SETTINGS,
            **self.settings,
            **self._names(),
            "bundle": self.bundle,
            "allow_unsigned": True,
            **more,
        }
        log = self.folder / f"{self.deployment}-worker-{number}.log"
        worker = Worker(f"worker {number}", log, given, environment=environment)
        self.workers.append(worker)
        return worker

    async def replace(self, victim: Worker, **more: Any) -> Worker:  # noqa: ANN401 - settings
        """Kill a worker, start another in its place, and wait until it is ready."""
        victim.kill()
        successor = self.start_worker(**more)
        await successor.wait_ready()
        return successor

    def start_command(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command of Vigil on this deployment; both its outputs go to ``log``."""
        flags = [part for name, value in self._names().items() for part in ("--set", f"{name}={value}")]
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "stream_app", *words, *flags],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    async def run_command(self, *words: str) -> str:
        """Run a command of Vigil on this deployment, to its end, which has to be a good one; return what it said."""
        log = self.folder / f"{self.deployment}-{'-'.join(words[:2])}.log"
        process = self.start_command(*words, log=log)
        status = await asyncio.to_thread(process.wait, _COMMAND_S)
        said = log.read_text(errors="replace")
        assert status == 0, f"{words}: status {status}\n{said}"
        return said

    def _names(self) -> dict[str, str]:
        topics = {f"{name}_topic": getattr(self.topics, name) for name in self.topics.__struct_fields__}
        return {"bootstrap": self.connection.bootstrap, "deployment": self.deployment, **topics}

    async def settle(self, *, timeout_s: float = SETTLE_S) -> Outputs:
        """Wait until everything published is judged and all incidents are closed; return what is on the outputs."""
        await wait_settled(
            self.connection, self.topics.state, self.published, partitions=PARTITIONS, timeout_s=timeout_s
        )
        return await collect(self.connection, self.topics)

    async def stop(self) -> None:
        """End every worker that still runs."""
        for worker in self.workers:
            if worker.is_running:
                worker.resume()
                await worker.stop()

    @asynccontextmanager
    async def planter(self) -> AsyncIterator[Planter]:
        """Give a planter on the input topics."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.connection.bootstrap,
            enable_idempotence=True,
            acks="all",
            max_request_size=MAX_REQUEST_BYTES,
            request_timeout_ms=60_000,
        )
        await producer.start()
        try:
            yield Planter(self, producer)
        finally:
            await producer.stop()


@dataclass
class Planter:
    """Puts records on the input topics and writes down what the broker confirmed."""

    rig: Rig
    producer: AIOKafkaProducer

    async def frame(
        self, zone: str, event_ms: int, data: bytes | None = None, camera: str = "c1", identity: str = ""
    ) -> PublishedRecord:
        """Publish a frame; with an identity, for whoever sees it again."""
        headers = [("ce_time", rfc3339(event_ms)), ("camera", camera.encode()), *_identified(identity)]
        record = await self._send(self.rig.topics.frames, zone, data if data is not None else _YELLOW, headers)
        placed = msgspec.structs.replace(record, event_ms=event_ms, camera=camera)
        self.rig.published.frames.append(placed)
        return placed

    async def text(self, zone: str, event_ms: int, text: str, identity: str = "") -> PublishedRecord:
        """Publish a text; with an identity, for whoever sees it again."""
        value = msgspec.json.encode({"text": text, "severity": 3})
        headers = [("ce_time", rfc3339(event_ms)), *_identified(identity)]
        record = await self._send(self.rig.topics.texts, zone, value, headers)
        placed = msgspec.structs.replace(record, event_ms=event_ms)
        self.rig.published.texts.append(placed)
        return placed

    async def alarm(self, zone: str, label: str, event_ms: int) -> PublishedRecord:
        """Publish a text that opens an incident of its label, with a frame just before and one just after it."""
        await self.frame(zone, event_ms - 120)
        text = await self.text(zone, event_ms, f"a {label}")
        await self.frame(zone, event_ms + 120)
        return text

    async def alarms(self, count: int, *, per_s: float, zones: int, until: Callable[[], bool] = lambda: False) -> None:
        """Publish alarms at real time; each (zone, label) comes again only after ``zones * 2 / per_s`` seconds."""
        waiting: list[asyncio.Task[PublishedRecord]] = []
        for number in range(count):
            if until():
                break
            zone, label = f"zone-{number % zones}", LABELS[number // zones % len(LABELS)]
            waiting.append(asyncio.create_task(self.alarm(zone, label, now_ms())))
            await asyncio.sleep(1 / per_s)
        await asyncio.gather(*waiting)

    async def _send(
        self, topic: str, zone: str, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> PublishedRecord:
        done = await self.producer.send_and_wait(topic, value, key=zone.encode(), headers=headers)
        return PublishedRecord(
            partition=done.partition, offset=done.offset, append_ms=done.timestamp, event_ms=0, zone=zone
        )


_YELLOW = jpeg()


def _identified(identity: str) -> list[tuple[str, bytes]]:
    return [("ce_source", b"/proof"), ("ce_id", identity.encode())] if identity else []


#: What an alarm takes to its alert at most on an idle machine, append to subscriber, in ms.
_IDLE_MS = 1_000
#: Partition and places among its zones of what is planted to see how fast the machine is; no proof uses these.
_CALM = (1, 100, 102)


async def slowness(planter: Planter, watcher: AlertWatcher) -> tuple[list[PublishedRecord], float]:
    """Plant two alarms, one after the other, before the trouble begins; the worker is warm with the second.

    Returns:
        Their texts, and by how much this machine is slower now than an idle one, at least 1.
    """
    partition, start, stop = _CALM
    alarms: list[PublishedRecord] = []
    took_ms = 0
    for zone in zones_of(partition, stop)[start:]:
        alarms.append(await planter.alarm(zone, "fight", now_ms()))
        async with asyncio.timeout(SETTLE_S):
            while not (seen := [alert.seen_ms for alert in watcher.alerts if alert.body["zone"] == zone]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        took_ms = seen[0] - alarms[-1].append_ms
    return alarms, max(1.0, took_ms / _IDLE_MS)


def late_zones(published: Published, window: Window) -> set[str]:
    """Return zones of which a record was appended so late that it may be judged late: the machine did not keep up."""
    reach_ms = min(window.before_ms, window.after_ms) + window.grace_ms
    records = (*published.frames, *published.texts)
    return {record.zone for record in records if record.append_ms > record.event_ms + reach_ms}


def make_rig(bootstrap: str, folder: Path, name: str, bundle: Path, **settings: Any) -> Rig:  # noqa: ANN401 - settings
    """Describe a deployment with topics of its own, so that several can share one Kafka."""
    topics = Topics(**{field: f"{name}.{field}" for field in Topics.__struct_fields__})
    return Rig(connection_to(Operational(bootstrap=bootstrap)), topics, name, folder, bundle, settings)


def partition_of(zone: str) -> int:
    """Return the partition that Kafka's own partitioner gives a zone."""
    return int(murmur2(zone.encode()) & 0x7FFFFFFF) % PARTITIONS


def zones_of(partition: int, count: int) -> list[str]:
    """Return names of zones that lie in one partition."""
    names = (f"zone-{number}" for number in itertools.count())
    return list(itertools.islice((name for name in names if partition_of(name) == partition), count))


def openings(alerts: list[dict[str, Any]]) -> set[tuple[str, str, int, int]]:
    """Return zone, label and the coordinates of the opening text of every incident."""
    return {
        (alert["zone"], alert["label"], evidence["partition"], evidence["offset"])
        for alert in alerts
        if alert.get("phase") == "opened"
        for evidence in alert["evidence"]
        if evidence["kind"] == "text"
    }


def pairs(decisions: list[dict[str, Any]]) -> list[tuple[int, int | None, int | None]]:
    """Return partition, text offset and frame offset of every decision, sorted."""
    found = []
    for decision in decisions:
        offsets = {evidence["kind"]: evidence["offset"] for evidence in decision["evidence"]}
        found.append((decision["evidence"][0]["partition"], offsets.get("text"), offsets.get("frame")))
    return sorted(found, key=str)


def missing_or_repeated(published: Published, alerts: list[dict[str, Any]]) -> list[str]:
    """Compare opened alerts with planted texts: each text opens exactly one incident, and nothing else does."""
    openings: dict[tuple[int, int], int] = {(text.partition, text.offset): 0 for text in published.texts}
    faults: list[str] = []
    for alert in alerts:
        if alert.get("phase") != "opened":
            continue
        at = next(((e["partition"], e["offset"]) for e in alert["evidence"] if e["kind"] == "text"), None)
        if at not in openings:
            faults.append(f"an alert that nothing planted explains: {alert['id']}")
        else:
            openings[at] += 1
    faults += [f"text {at}: {count} opened alerts, expected 1" for at, count in openings.items() if count != 1]
    return faults
