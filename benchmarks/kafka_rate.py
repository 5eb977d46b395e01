"""Records per second from a real Kafka: the worker's way, beside a bare Faust agent and bare aiokafka, in turn.

In: a broker. Out: figures. The same backlog is read to its end by each reader of a round, each in a group of its own:
by a worker (source, core, transactions; only the model is replaced by constant scores), by a Faust agent that does
nothing but count (`async for event in stream.events()`), and by `getmany`. The clock runs from the first record that
a reader gets to the last; the worker's runs on until its last step is committed. Starting and joining is not counted.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from benchmarks.bare_readers import STUCK_S, Backlog, Clock, read_with_faust, read_with_getmany
from benchmarks.constant import MODEL, ConstantScorer
from benchmarks.measured import Figure, ratios
from benchmarks.records import START_MS, jpeg_of_size, traffic, zone_of
from benchmarks.topics import PARTITIONS, create_inputs_and_outputs
from stream_app.adapters.kafka.connection import MAX_REQUEST_BYTES, Connection
from stream_app.adapters.kafka.publisher import KafkaPublisher
from stream_app.adapters.kafka.recovery import KafkaRecovery
from stream_app.adapters.kafka.source import FaustSource
from stream_app.adapters.observing.metrics import Metrics
from stream_app.adapters.observing.status import WorkerStatus
from stream_app.clock import SystemClock
from stream_app.config import Operational
from stream_app.core.effects import Step
from stream_app.core.event_time import format_event_time
from stream_app.core.settings import Semantic
from stream_app.core.types import RawRecord, Side
from stream_app.core.view import TaskView
from stream_app.runtime.ports.task import Ports, RunnerSettings
from stream_app.runtime.runner import TaskRunner
from stream_app.runtime.shell import Shell
from stream_app.wire.context import Context
from stream_app.wire.topics import Topics
from stream_app.wiring.clients import publisher_settings, recovery_settings
from stream_app.wiring.garbage import seldom_collected
from stream_app.wiring.worker import source_settings

#: Goal: as many times the records of a bare Faust agent.
GOAL_RATIO = 2.0
#: Goal: what is left of a worker's throughput while a recorder reads the same backlog.
GOAL_BESIDE = 0.95
_FRAMES_PER_TEXT = 100
_LOOK_S = 0.005
_TIME = SystemClock()


def measure_kafka(connection: Connection, *, rounds: int, sizes: Sequence[tuple[int, int]]) -> list[Figure]:
    """Measure all readers on backlogs of several sizes of frames.

    Args:
        connection: the broker.
        rounds: how often each reader reads each backlog, in turn.
        sizes: bytes of a frame (at least 1,000), and how many frames.

    Returns:
        Per size: the worker's, Faust's and aiokafka's records per second, and the worker's as a multiple of Faust's.
    """
    figures: list[Figure] = []
    for size, frames in sizes:
        backlog = asyncio.run(fill(connection, f"bench-{size}", jpeg_of_size(size), frames=frames))
        rates: dict[str, list[float]] = {name: [] for name in _READERS}
        for number in range(rounds):
            for name, read in _READERS.items():
                gc.collect()
                rates[name].append(asyncio.run(read(connection, backlog, f"{backlog.name}-{name}-{number}")))
        figures += _figures(f"{size / 1000:g} KB frames", {name: tuple(values) for name, values in rates.items()})
    return figures


def _figures(what: str, rates: dict[str, tuple[float, ...]]) -> list[Figure]:
    worker, bare = rates["worker"], rates["faust"]
    return [
        Figure(part="kafka", name=f"worker, {what}", unit="records/s", values=worker),
        Figure(part="kafka", name=f"bare Faust events(), {what}", unit="records/s", values=bare),
        Figure(part="kafka", name=f"bare aiokafka getmany, {what}", unit="records/s", values=rates["getmany"]),
        Figure(
            part="kafka",
            name=f"worker / bare Faust, {what}",
            unit="times",
            values=ratios(worker, bare),
            goal=GOAL_RATIO,
            digits=2,
        ),
        Figure(
            part="kafka",
            name=f"worker beside `vigil record --follow` / alone, {what}",
            unit="times",
            values=ratios(rates["beside"], worker),
            goal=GOAL_BESIDE,
            digits=2,
        ),
    ]


async def fill(connection: Connection, name: str, image: bytes, *, frames: int) -> Backlog:
    """Create topics and put a backlog on them: what came in over a while, with its times, not those of the filling."""
    topics = await create_inputs_and_outputs(connection, name, has_append_time=False)
    producer = AIOKafkaProducer(
        **connection.client_arguments(), linger_ms=20, max_batch_size=512 * 1024, max_request_size=MAX_REQUEST_BYTES
    )
    ends = {(side, partition): 0 for side in Side for partition in range(PARTITIONS)}
    count = 0
    await producer.start()
    try:
        sent = []
        for side, record in traffic(frames, frames_per_text=_FRAMES_PER_TEXT, image=image):
            sent.append(
                await producer.send(
                    topics.of(side),
                    record.value,
                    key=record.key,
                    # Zones in turn: by their keys one partition would get most of so few zones.
                    partition=zone_of(record) % PARTITIONS,
                    headers=list(record.headers),
                    timestamp_ms=record.timestamp,
                )
            )
            count += 1
        sides = {topics.of(side): side for side in Side}
        for confirmed in await asyncio.gather(*sent):
            where = (sides[confirmed.topic], confirmed.partition)
            ends[where] = max(ends[where], confirmed.offset + 1)
    finally:
        await producer.stop()
    return Backlog(name=name, topics=topics, records=count, ends=ends)


async def read_with_worker(connection: Connection, backlog: Backlog, deployment: str) -> float:
    """Read a backlog as a worker does; return records per second."""
    clock = Clock()
    status = _ClockedStatus(clock)
    source: FaustSource
    shell = _ClockedShell(lambda task: _runner(connection, backlog, deployment, source, status, task), status, clock)
    told = Operational(deployment=deployment, frames_topic=backlog.topics.frames, texts_topic=backlog.topics.texts)
    source = FaustSource(msgspec.structs.replace(source_settings(told), connection=connection), shell)
    status.group = source
    with seldom_collected():
        await _read_to_end(source, shell, backlog)
    return clock.rate(backlog.records)


async def _read_to_end(source: FaustSource, shell: Shell, backlog: Backlog) -> None:
    await source.start()
    broken = asyncio.ensure_future(shell.wait())
    try:
        async with asyncio.timeout(STUCK_S):
            while not _is_read(shell, backlog):
                await asyncio.wait([broken], timeout=_LOOK_S)
                if broken.done():
                    broken.result()
        await shell.stop()
    finally:
        broken.cancel()
        await source.stop()


async def read_beside_recorder(connection: Connection, backlog: Backlog, deployment: str) -> float:
    """Read a backlog as a worker does, while `vigil record` reads the same; return the worker's records per second.

    Raises:
        RuntimeError: if the recorder does not record: then nothing was measured.
    """
    with tempfile.TemporaryDirectory(prefix="vigil-bench-") as folder:
        recorder = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stream_app", "record", "--follow", "--out", f"{folder}/out"),
            *("--from", format_event_time(START_MS), "--bootstrap", connection.bootstrap),
            *(word for name in Topics.__struct_fields__ for word in _setting(f"{name}_topic", backlog.topics, name)),
            *("--set", f"deployment={deployment}"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(STUCK_S):
                while not _recorded_bytes(folder) and recorder.returncode is None:  # noqa: ASYNC110 - another process's
                    await asyncio.sleep(0.1)
            rate = await read_with_worker(connection, backlog, deployment)
            is_recording = recorder.returncode is None
        finally:
            if recorder.returncode is None:
                recorder.send_signal(signal.SIGINT)
            status = await recorder.wait()
        if status or not is_recording:
            message = f"expected a recorder at work to the worker's end, found one that ended with status {status}"
            raise RuntimeError(message)
        return rate


def _recorded_bytes(folder: str) -> int:
    return sum(path.stat().st_size for path in Path(folder).rglob("*.mcap"))


def _setting(setting: str, topics: Topics, name: str) -> tuple[str, str]:
    return "--set", f"{setting}={getattr(topics, name)}"


_READERS = {
    "worker": read_with_worker,
    "beside": read_beside_recorder,
    "faust": read_with_faust,
    "getmany": read_with_getmany,
}


class _ClockedShell(Shell):
    """The worker's shell, with a clock at its door."""

    def __init__(self, make_runner: Any, telemetry: WorkerStatus, clock: Clock) -> None:  # noqa: ANN401 - see Shell
        super().__init__(make_runner, telemetry)
        self._clock = clock

    def on_records(self, side: Side, partition: int, records: Sequence[RawRecord]) -> None:
        """Note when records come, and hand them on."""
        self._clock.tick()
        super().on_records(side, partition, records)


class _ClockedStatus(WorkerStatus):
    """The worker's telemetry, with a clock that stops at the last confirmed commit."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(Metrics(now_ms=_TIME.wall_ms), {}, lambda: 0.0, clock=_TIME.monotonic)
        self._clock = clock

    def committed(self, partition: int, view: TaskView, step: Step, seconds: float) -> None:
        """Note when a step is confirmed, and hand it on."""
        self._clock.tick()
        super().committed(partition, view, step, seconds)


def _is_read(shell: Shell, backlog: Backlog) -> bool:
    """Return whether every record is admitted and decided, so that only a last commit is missing."""
    runners = shell.runners
    for (side, partition), end in backlog.ends.items():
        task = runners[partition].task if partition in runners else None
        if task is None or task.next_admitted(side) < end or task.in_flight:
            return False
    return True


def _runner(
    connection: Connection,
    backlog: Backlog,
    deployment: str,
    source: FaustSource,
    status: WorkerStatus,
    partition: int,
) -> TaskRunner:
    operational, semantic = Operational(deployment=deployment), Semantic()
    context = Context(
        deployment=deployment,
        partition=partition,
        topics=backlog.topics,
        model=MODEL,
        settings_sha256=semantic.sha256,
        provider="none",
    )
    settings = RunnerSettings(
        semantic=semantic,
        limits=operational.limits,
        context=context,
        commit_ms=operational.commit_ms,
        keyframe_ms=operational.keyframe_ms,
        idle_ms=operational.idle_ms,
        caught_up_ms=operational.caught_up_ms,
    )
    ports = Ports(
        source=source,
        scorer=ConstantScorer(),
        make_publisher=lambda task: KafkaPublisher(connection, publisher_settings(operational), f"{deployment}-{task}"),
        recovery=KafkaRecovery(connection, backlog.topics, recovery_settings(operational)),
        telemetry=status,
        clock=_TIME,
    )
    return TaskRunner(settings, ports)
