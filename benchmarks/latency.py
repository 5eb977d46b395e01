"""From append to committed alert: latency at half load, and the worker's memory, with a real worker process.

In: a broker and a bundle. Out: figures. First a backlog shows how many frames a second the worker scores when it can
do no more. Then cameras and alarms come in real time, at half of what their publisher leaves of that on the same cores.
Each text opens an incident of its own (the thresholds are set so low that any does), and a read_committed subscriber
notes when it sees the alert.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
from aiokafka import AIOKafkaProducer

from benchmarks.measured import Figure, percentile
from benchmarks.records import jpeg
from benchmarks.topics import create_inputs_and_outputs
from stream_app.adapters.kafka.connection import Connection
from stream_app.bundle.load import load_bundle
from stream_app.core.event_time import format_event_time
from stream_app.demo.collecting import AlertWatcher
from stream_app.demo.workers import Worker
from stream_app.wire.topics import Topics

_FPS = 5
_TEXT_EVERY_S = 5.0
#: Small windows, so that an incident is closed before the next text of its zone; every frame of a window is scored.
_SEMANTIC = {"before_ms": 1_000, "after_ms": 1_000, "grace_ms": 500, "quiet_ms": 2_500, "sample_ms": 100}
#: Of all frames this share lies within the window of a text.
_SCORED_SHARE = 2.0 / _TEXT_EVERY_S
#: Live, the publisher and the subscriber need these cores too, while a backlog was published before: what that leaves
#: of the rate at which a backlog is scored. An estimate.
_LIVE_SHARE = 0.5
_BACKLOG_ZONES = 40
#: A backlog that a fast machine scores between two looks is made so many times larger, so often at most.
_BACKLOG_GROWTH = 4
_MOST_BACKLOGS = 4
_MOST_ZONES = 400
_PICTURES = 64
_LOOK_S = 0.1
_STUCK_S = 90.0
_REST_S = 1.0
#: After the last record its alert is still under way; on a machine that has other work, for a while.
_AFTER_S = 30.0
#: So many of the texts must have opened an incident, or something else was measured.
_LEAST_SHARE = 0.9


class LatencySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured: scored frames in the backlog, seconds at half load."""

    bundle: Path
    folder: Path
    backlog_scores: int = 2_500
    seconds: float = 20.0


class _Load(msgspec.Struct, frozen=True, kw_only=True):
    """Cameras and alarms: one camera per zone, and how long they run (s)."""

    zones: int
    seconds: float

    @property
    def frames(self) -> int:
        return int(self.zones * _FPS * self.seconds)


class _Sent(msgspec.Struct):
    """Append times (ms) of what was confirmed, by kind, partition and offset; and how many texts there were."""

    append_ms: dict[tuple[str, int, int], int] = {}
    texts: int = 0


async def measure_latency(connection: Connection, settings: LatencySettings) -> list[Figure]:
    """Measure saturation, then latency and memory at half of it.

    Args:
        connection: the broker.
        settings: how much.

    Returns:
        Scored frames per second at saturation, load, latency percentiles in ms, memory in MiB.
    """
    saturated = await saturation(connection, settings)
    frames_per_s = saturated * _LIVE_SHARE / 2 / _SCORED_SHARE
    load = _Load(zones=min(_MOST_ZONES, max(1, round(frames_per_s / _FPS))), seconds=settings.seconds)
    topics = await create_inputs_and_outputs(connection, "bench-half", has_append_time=True)
    watcher = AlertWatcher(connection, topics.alerts, lambda *_: None)
    async with _worker(connection, topics, settings, "bench-half") as worker:
        watching = asyncio.create_task(watcher.run())
        try:
            await asyncio.sleep(_REST_S)
            at_rest = _memory_mib(worker.pid)
            sampling = asyncio.create_task(_sample_memory(worker.pid))
            sent = await _play(connection, topics, load, is_live=True)
            await _until_seen(watcher, _label(settings.bundle), sent.texts)
            sampling.cancel()
            at_load = max(await asyncio.gather(sampling))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    latencies = _latencies(watcher, sent, _label(settings.bundle))
    if len(latencies) < _LEAST_SHARE * sent.texts:
        message = f"expected an opened alert of each of {sent.texts} texts, found {len(latencies)}"
        raise RuntimeError(message)
    return [
        _figure("whole worker at saturation, scored", "frames/s", saturated),
        _figure("half load, published", "frames/s", load.zones * _FPS),
        _figure("half load, append to committed alert, p50", "ms", percentile(latencies, 0.5)),
        _figure("half load, append to committed alert, p99", "ms", percentile(latencies, 0.99)),
        _figure("half load, alerts measured", "alerts", len(latencies)),
        _figure("worker and its decode children at rest", "MiB", at_rest),
        _figure("worker and its decode children at half load, peak", "MiB", at_load),
    ]


async def saturation(connection: Connection, settings: LatencySettings) -> float:
    """Let a worker catch up on a backlog; return the frames it scores per second.

    Raises:
        RuntimeError: even the largest backlog was scored between two looks at the worker.
    """
    sizes = [settings.backlog_scores * _BACKLOG_GROWTH**number for number in range(_MOST_BACKLOGS)]
    for scores in sizes:
        if (rate := steepness(await _catch_up(connection, settings, scores))) is not None:
            return rate
    message = f"expected a backlog that takes longer than two looks, found {sizes[-1]} scores in less"
    raise RuntimeError(message)


async def _catch_up(connection: Connection, settings: LatencySettings, scores: int) -> list[tuple[float, float]]:
    """Publish a backlog of about so many scored frames and let a worker read it.

    Returns:
        Looks at the worker: (monotonic seconds, frames scored by then).
    """
    name = f"bench-backlog-{scores}"
    topics = await create_inputs_and_outputs(connection, name, has_append_time=False)
    seconds = scores / _SCORED_SHARE / (_BACKLOG_ZONES * _FPS)
    load = _Load(zones=_BACKLOG_ZONES, seconds=max(seconds, _TEXT_EVERY_S))
    await _play(connection, topics, load, is_live=False)
    # Overload thins out, so how many scores there will be is not known before: it is over when no more come.
    samples: list[tuple[float, float]] = []
    async with _worker(connection, topics, settings, name) as worker:
        async with asyncio.timeout(_STUCK_S):
            while not _is_over(samples):
                await asyncio.sleep(_LOOK_S)
                page = await worker.metrics()
                samples.append((time.perf_counter(), page.get("vigil_items_scored_total", 0.0)))
    return samples


def _is_over(samples: list[tuple[float, float]]) -> bool:
    """Return whether scoring began and has stood still for two seconds."""
    if len(samples) < 2 or samples[-1][1] == 0:
        return False
    now, count = samples[-1]
    return count == next((one for at, one in reversed(samples) if now - at >= 2.0), -1.0)


def steepness(samples: list[tuple[float, float]]) -> float | None:
    """Return scores per second between a tenth and nine tenths of them: without the start and the last window.

    None where so few looks fell between the two that they say nothing: the backlog was too small for the machine.
    """
    total = samples[-1][1]
    middle = [(at, count) for at, count in samples if 0.1 * total <= count <= 0.9 * total]
    if len(middle) < 2 or middle[-1][1] <= middle[0][1]:
        return None
    return (middle[-1][1] - middle[0][1]) / (middle[-1][0] - middle[0][0])


@asynccontextmanager
async def _worker(
    connection: Connection, topics: Topics, settings: LatencySettings, deployment: str
) -> AsyncIterator[Worker]:
    label = _label(settings.bundle)
    given: dict[str, Any] = {
        **_SEMANTIC,
        **{f"{name}_topic": getattr(topics, name) for name in topics.__struct_fields__},
        "bootstrap": connection.bootstrap,
        "deployment": deployment,
        "bundle": settings.bundle,
        "allow_unsigned": True,
        "provider": "cpu",
        f"thresholds.{label}.open_at": 1e-8,
        f"thresholds.{label}.close_at": 5e-9,
    }
    worker = Worker(deployment, settings.folder / f"{deployment}.log", given)
    try:
        await worker.wait_ready()
        yield worker
    finally:
        await asyncio.shield(worker.stop())


async def _play(connection: Connection, topics: Topics, load: _Load, *, is_live: bool) -> _Sent:
    """Publish cameras and alarms: in real time, or all at once with the times they would have had."""
    producer = AIOKafkaProducer(**connection.client_arguments(), enable_idempotence=True, acks="all")
    pictures = [jpeg(640, 480, noise=4.0, seed=number) for number in range(_PICTURES)]
    sent, waiting = _Sent(), []
    per_s = load.zones * _FPS
    await producer.start()
    try:
        # A backlog lies behind now, so that no event time is ahead of its append time.
        start_s = time.time() - (0.0 if is_live else load.seconds + 1.0)
        for number in range(load.frames):
            at_s = start_s + number / per_s
            if is_live and (early_s := at_s - time.time()) > 0:
                await asyncio.sleep(early_s)
            zone, turn = number % load.zones, number // load.zones
            stamp = None if is_live else int(at_s * 1_000)
            frame = _event(at_s, "frame", number), pictures[number % _PICTURES]
            waiting.append((await _send(producer, topics.frames, zone, frame, stamp), "frame"))
            # Zones take turns, so that texts come evenly.
            if (turn + zone) % int(_TEXT_EVERY_S * _FPS) == 0:
                text = _event(at_s, "text", number), b'{"text": "two men are fighting at the gate", "severity": 4}'
                waiting.append((await _send(producer, topics.texts, zone, text, stamp), "text"))
                sent.texts += 1
        for confirmation, kind in waiting:
            done = await confirmation
            sent.append_ms[kind, done.partition, done.offset] = done.timestamp
    finally:
        await producer.stop()
    return sent


async def _send(
    producer: AIOKafkaProducer,
    topic: str,
    zone: int,
    event: tuple[list[tuple[str, bytes]], bytes],
    timestamp_ms: int | None,
) -> asyncio.Future[Any]:
    headers, value = event
    key = f"zone-{zone}".encode()
    sent: asyncio.Future[Any] = await producer.send(topic, value, key=key, headers=headers, timestamp_ms=timestamp_ms)
    return sent


def _event(at_s: float, kind: str, number: int) -> list[tuple[str, bytes]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(number).encode()),
        ("ce_source", b"/bench"),
        ("ce_type", f"vigil.{kind}.v1".encode()),
        ("ce_time", format_event_time(int(at_s * 1_000)).encode()),
        ("camera", b"camera-0"),
    ]


async def _until_seen(watcher: AlertWatcher, label: str, count: int) -> None:
    for _ in range(int(_AFTER_S / _LOOK_S)):
        if len(_opened(watcher, label)) >= count:
            return
        await asyncio.sleep(_LOOK_S)


def _opened(watcher: AlertWatcher, label: str) -> list[tuple[dict[str, Any], int]]:
    return [
        (alert.body, alert.seen_ms)
        for alert in watcher.alerts
        if alert.body.get("phase") == "opened" and alert.body.get("label") == label
    ]


def _latencies(watcher: AlertWatcher, sent: _Sent, label: str) -> list[float]:
    """Return for each opened incident the ms from the append of its newest evidence to the subscriber."""
    found: list[float] = []
    for body, seen_ms in _opened(watcher, label):
        evidence = [(one["kind"], one["partition"], one["offset"]) for one in body["evidence"]]
        found.append(float(seen_ms - max(sent.append_ms[where] for where in evidence)))
    return found


async def _sample_memory(pid: int) -> float:
    """Return the most memory seen until cancelled, in MiB."""
    most = 0.0
    try:
        for _ in itertools.count():
            most = max(most, _memory_mib(pid))
            await asyncio.sleep(0.5)
    except asyncio.CancelledError:
        return most
    return most


def _memory_mib(pid: int) -> float:
    """Return the resident memory of a process and its children, in MiB; pages that they share count more than once."""
    process = psutil.Process(pid)
    return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / 1_048_576


def _label(bundle: Path) -> str:
    """Return the first label of the bundle that alerts."""
    return next(label.name for label in load_bundle(bundle).manifest.labels if label.alerts)


def _figure(name: str, unit: str, value: float) -> Figure:
    return Figure(part="latency", name=name, unit=unit, values=(float(value),))
