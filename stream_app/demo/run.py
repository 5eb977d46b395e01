"""The demo from start to end: a Kafka, two workers, a play, a SIGKILL on the way, and a judgement.

In: what to play. Out: an exit status, and everything that was published in a folder. Nothing is left running.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeRemainingColumn
from rich.text import Text

from stream_app.adapters.kafka.topic_plans import plan_topics
from stream_app.adapters.kafka.topics import create_topics
from stream_app.config import Operational
from stream_app.demo.books import balance
from stream_app.demo.collecting import AlertWatcher, collect
from stream_app.demo.judge import judge
from stream_app.demo.player import Player
from stream_app.demo.settling import wait_settled
from stream_app.demo.summary import show
from stream_app.demo.truth import Outputs, PlantedIncident, Published, Window
from stream_app.demo.workers import Worker
from stream_app.local_kafka import LocalKafka
from stream_app.terminal.console import PicturedConsole, words_column
from stream_app.terminal.sanitise import visible
from stream_app.wiring.clients import connection_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from stream_app.adapters.kafka.connection import Connection
    from stream_app.demo.scenes import Scene
    from stream_app.wire.topics import Topics

#: After the play: the window closes, incidents go quiet, and a dead worker's tasks are taken over. In seconds.
_SETTLE_S = 90.0
_PARTITIONS = 4


class DemoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the demo runs. ``kill_at`` is the share of the play after which a worker is killed; None: never."""

    out: Path
    bootstrap: str
    topics: Topics
    deployment: str
    window: Window
    worker_settings: dict[str, Any]
    kill_at: float | None


async def run_demo(scene: Scene, settings: DemoSettings, console: PicturedConsole) -> bool:
    """Run the demo.

    Args:
        scene: what is played.
        settings: where and how; the folder ``out`` exists.
        console: for people; what it shows is kept as a picture, too.

    Returns:
        Whether everything came out as promised.
    """
    connection = connection_to(Operational(bootstrap=settings.bootstrap))
    await create_topics(connection, plan_topics(settings.topics, _PARTITIONS))
    is_right = await _play(scene, settings, console, connection)
    (settings.out / "summary.svg").write_text(console.svg("vigil demo"), "utf-8")
    return is_right


@contextmanager
def demo_kafka(bootstrap: str | None, console: Console) -> Iterator[str]:
    """Yield the addresses of a Kafka: the given ones, else those of a local one that is stopped at the end.

    Call it on the main thread, outside of an event loop: there Ctrl-C ends the start at once, without leavings.

    Raises:
        LocalKafkaError: if the local one does not come up.
    """
    if bootstrap is not None:
        yield bootstrap
        return
    console.print("Starting a local Apache Kafka ...")
    with LocalKafka() as kafka:
        yield kafka.bootstrap


async def _play(scene: Scene, settings: DemoSettings, console: Console, connection: Connection) -> bool:
    watcher = AlertWatcher(
        connection, settings.topics.alerts, lambda alert, moment: _print_alert(console, alert, moment)
    )
    async with AsyncExitStack() as stack:
        workers = await stack.enter_async_context(_workers(settings, console, connection))
        watching = asyncio.create_task(watcher.run())
        stack.callback(watching.cancel)
        player = Player(connection, scene.play)
        killing = asyncio.create_task(_kill_one(workers, scene, settings, console))
        stack.callback(killing.cancel)
        published = await _with_progress(player, scene, console)
        _lay_truth(published, scene, player.start_ms)
        console.print("Played to the end. Waiting until every window is closed and every incident quiet ...")
        problems = await _settle(connection, settings, published)
        problems += [
            f"{worker.name} ended by itself:\n{worker.last_lines()}" for worker in workers if _has_died(worker, killing)
        ]
        decoded = await _decoded(workers)
        for worker in workers:
            if worker.is_running and (status := await worker.stop()) != 0:
                problems.append(f"{worker.name}: exit status {status} after SIGTERM, expected 0")
    outputs = await collect(connection, settings.topics)
    _keep(settings.out, published, outputs)
    books = balance(published, outputs)
    faults = [*problems, *judge(published, outputs, settings.window)]
    if settings.kill_at is None and decoded != books.distinct_frames_scored:
        faults.append(f"{decoded} frames decoded, but {books.distinct_frames_scored} distinct frames in decisions")
    is_killed = _victim(killing) is not None
    show(console, published, outputs, books, watcher.alerts, faults, is_killed=is_killed)
    console.print(f"       frames decoded by the workers that lived to the end: {decoded}")
    kept = "published.json, outputs.json, worker-*.log; this screen: summary.svg"
    console.print(f"What was published and what came out: {settings.out}/{kept}", soft_wrap=True)
    console.print("Next: your own Kafka and cameras, README.md; how it works, docs/architecture.md", soft_wrap=True)
    return not faults and books.is_balanced


@asynccontextmanager
async def _workers(settings: DemoSettings, console: Console, connection: Connection) -> AsyncIterator[list[Worker]]:
    started: list[Worker] = []
    # A worker that is killed cannot remove its temporary folder: it lies in one of ours.
    temporary = TemporaryDirectory(prefix="vigil-demo-", ignore_cleanup_errors=True)
    try:
        for number in (1, 2):
            log = settings.out / f"worker-{number}.log"
            log.unlink(missing_ok=True)
            given = {**settings.worker_settings, "bootstrap": connection.bootstrap, "deployment": settings.deployment}
            started.append(Worker(f"worker {number}", log, given, environment={"TMPDIR": temporary.name}))
        console.print("Starting two workers ...")
        for worker in started:
            await worker.wait_ready()
        console.print(f"Workers are ready (processes {', '.join(str(worker.pid) for worker in started)}).")
        yield started
    finally:
        for worker in started:
            if worker.is_running:
                await asyncio.shield(worker.stop())
        temporary.cleanup()


async def _kill_one(workers: list[Worker], scene: Scene, settings: DemoSettings, console: Console) -> Worker | None:
    if settings.kill_at is None:
        return None
    await asyncio.sleep(scene.play.duration_ms / 1_000 * settings.kill_at)
    victim = workers[0]
    victim.kill()
    said = f"kill -9 {victim.name} (process {victim.pid}): the other one takes its tasks over"
    console.print(said, style="bold")
    return victim


async def _decoded(workers: list[Worker]) -> int:
    """Return how many images the workers that still run have decoded, the undecodable included."""
    pages = [await worker.metrics() for worker in workers if worker.is_running]
    names = ("vigil_decoded_total", 'vigil_scoring_failures_total{reason="undecodable"}')
    return int(sum(page.get(name, 0.0) for page in pages for name in names))


def _has_died(worker: Worker, killing: asyncio.Task[Worker | None]) -> bool:
    return not worker.is_running and _victim(killing) is not worker


def _victim(killing: asyncio.Task[Worker | None]) -> Worker | None:
    return killing.result() if killing.done() and not killing.cancelled() else None


async def _with_progress(player: Player, scene: Scene, console: Console) -> Published:
    columns = (
        words_column("playing"),
        BarColumn(),
        words_column("{task.completed:.0f} of {task.total:.0f} s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("playing", total=scene.play.duration_ms / 1_000)
        return await player.run(lambda moment_ms: progress.update(bar, completed=moment_ms / 1_000))


async def _settle(connection: Connection, settings: DemoSettings, published: Published) -> list[str]:
    try:
        await wait_settled(connection, settings.topics.state, published, partitions=_PARTITIONS, timeout_s=_SETTLE_S)
    except TimeoutError as error:
        return [str(error)]
    return []


def _lay_truth(published: Published, scene: Scene, start_ms: int) -> None:
    """Lay the planted incidents on the wall clock of the play."""
    published.has_truth = scene.has_truth
    published.kinds = scene.kinds
    published.incidents = [
        PlantedIncident(
            zone=planted.zone,
            label=planted.label,
            start_ms=start_ms + planted.start_ms,
            end_ms=start_ms + planted.end_ms,
        )
        for planted in scene.incidents
    ]


def _keep(out: Path, published: Published, outputs: Outputs) -> None:
    (out / "published.json").write_bytes(msgspec.json.encode(published))
    (out / "outputs.json").write_bytes(msgspec.json.encode(outputs))


def _print_alert(console: Console, alert: dict[str, Any], moment: str) -> None:
    style = {"opened": "bold red", "updated": "yellow", "closed": "dim"}[alert["phase"]]
    cameras = ", ".join(alert["cameras"]) or "no camera"
    said = visible(
        f"{alert['label']:<10} {alert['zone']:<8} score {alert['score']:.4f}  {cameras}  "
        f"from {' and '.join(alert['present'])}"
    )
    line = Text.assemble(f"{moment[11:23]}  ", (f"{alert['phase']:<7}", style), f" {said}")
    console.print(line, highlight=False, soft_wrap=True)
