"""The worker, composed: settings in, a running worker out, until it is cancelled or something breaks."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from stream_app import __version__
from stream_app.adapters.kafka.preflight import PreflightSettings, preflight
from stream_app.adapters.kafka.publisher import KafkaPublisher
from stream_app.adapters.kafka.recovery import KafkaRecovery
from stream_app.adapters.kafka.source import FaustSource, SourceSettings
from stream_app.adapters.observing.health import HealthRules, HealthServer
from stream_app.adapters.observing.metrics import Metrics
from stream_app.adapters.observing.status import WorkerStatus
from stream_app.adapters.observing.work_metrics import WorkMetrics
from stream_app.clock import SystemClock
from stream_app.core.checkpoint_bound import largest_checkpoint
from stream_app.runtime.ports.task import Ports, RunnerSettings
from stream_app.runtime.runner import TaskRunner
from stream_app.runtime.shell import Shell
from stream_app.wire.context import Context
from stream_app.wiring.clients import connection_to, publisher_settings, recovery_settings, topics_of, worker_name
from stream_app.wiring.garbage import seldom_collected
from stream_app.wiring.model import inference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_app.adapters.kafka.preflight import PreflightReport
    from stream_app.config import LoadedSettings, Operational
    from stream_app.runtime.ports.clock import Clock
    from stream_app.wiring.model import Inference

_log = structlog.get_logger("vigil.worker")


async def run_worker(loaded: LoadedSettings) -> None:
    """Run a worker until it is cancelled; then commit what is decided, leave the group and close everything.

    Raises:
        PreflightError: if topics, rights or the partitioner are not as needed.
        BundleError: if the bundle is refused.
        ProviderError: if a required execution provider does not run.
        BaseException: whatever broke a task or the source; nothing is swallowed.
    """
    operational = loaded.operational
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(inference(loaded))
        clock = SystemClock()
        metrics = Metrics(now_ms=clock.wall_ms)
        metrics.add(WorkMetrics(model.scorer.stats, model.decoder.stats))
        about = _about(loaded, model)
        metrics.model(
            provider=model.engine.provider,
            requested=operational.provider,
            bundle=f"{model.model.name}/{model.model.version}",
            sha256=model.model.sha256,
            settings=loaded.sha256,
        )
        status = WorkerStatus(metrics, about, model.scorer.oldest_batch_s, clock=clock.monotonic)
        status.is_model_warm = True
        health = HealthServer(
            status,
            metrics=metrics.page,
            host=operational.health_host,
            port=operational.health_port,
            rules=HealthRules(watchdog_s=operational.watchdog_s),
        )
        port = await health.start()
        stack.push_async_callback(health.stop)
        _log.info("model ready", health=f"http://{operational.health_host}:{port}/health/ready", **about)
        report = await _check_kafka(loaded, model)
        with seldom_collected():
            await _consume(loaded, model, status, report, clock)


async def _check_kafka(loaded: LoadedSettings, model: Inference) -> PreflightReport:
    operational = loaded.operational
    report = await preflight(
        PreflightSettings(
            connection=connection_to(operational),
            topics=topics_of(operational),
            group=operational.group_id,
            transactional_id=f"{operational.deployment}-preflight",
            partitioner=operational.partitioner,
            max_image_bytes=loaded.semantic.max_image_bytes,
            checkpoint_bytes=largest_checkpoint(loaded.semantic, model.model),
        )
    )
    for warning in report.warnings:
        _log.warning("preflight", found=warning)
    _log.info("preflight passed", partitions=report.partitions)
    return report


async def _consume(
    loaded: LoadedSettings, model: Inference, status: WorkerStatus, report: PreflightReport, clock: Clock
) -> None:
    operational = loaded.operational
    connection, topics = connection_to(operational), topics_of(operational)
    publishing = publisher_settings(operational)
    ports: Ports
    shell = Shell(lambda partition: _runner(loaded, model, ports, partition, report), status)
    source = FaustSource(source_settings(operational), shell)
    ports = Ports(
        source=source,
        scorer=model.scorer,
        make_publisher=lambda task: KafkaPublisher(connection, publishing, f"{operational.deployment}-{task}"),
        recovery=KafkaRecovery(connection, topics, recovery_settings(operational)),
        telemetry=status,
        clock=clock,
    )
    status.group = source
    try:
        _log.info("joining group", group=operational.group_id)
        await source.start()
        _log.info("group joined", group=operational.group_id)
        await _first_to_end(source.wait(), shell.wait())
    finally:
        _log.info("stopping")
        await shell.stop()
        await source.stop()
        _log.info("stopped")


def source_settings(operational: Operational) -> SourceSettings:
    """Return what the source is told."""
    return SourceSettings(
        connection=connection_to(operational),
        group=operational.group_id,
        frames_topic=operational.frames_topic,
        texts_topic=operational.texts_topic,
        fetch_bytes=operational.fetch_bytes,
        session_ms=operational.session_timeout_ms,
        heartbeat_ms=operational.heartbeat_ms,
    )


def _runner(
    loaded: LoadedSettings, model: Inference, ports: Ports, partition: int, report: PreflightReport
) -> TaskRunner:
    operational = loaded.operational
    settings = RunnerSettings(
        semantic=loaded.semantic,
        limits=operational.limits,
        context=Context(
            deployment=operational.deployment,
            partition=partition,
            topics=topics_of(operational),
            model=model.model,
            settings_sha256=loaded.sha256,
            provider=model.engine.provider,
            letter_bytes=report.letter_bytes,
            journal_bytes=report.journal_bytes,
        ),
        commit_ms=operational.commit_ms,
        keyframe_ms=operational.keyframe_ms,
        idle_ms=operational.idle_ms,
        caught_up_ms=operational.caught_up_ms,
    )
    return TaskRunner(settings, ports)


async def _first_to_end(*waits: object) -> None:
    """Wait for whichever ends first, and let its exception through."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()


def _about(loaded: LoadedSettings, model: Inference) -> Mapping[str, str]:
    """Say what is running, for the health page and the first log line."""
    return {
        "version": __version__,
        "worker": worker_name(loaded.operational),
        "deployment": loaded.operational.deployment,
        "provider": model.engine.provider,
        "bundle": f"{model.model.name}/{model.model.version}",
        "model_sha256": model.model.sha256,
        "settings_sha256": loaded.sha256,
    }
