"""Metrics for Prometheus, names `vigil_*`, in a registry of their own.

In: what the shell, the source and the scorer tell (:class:`~stream_app.runtime.ports.telemetry.Telemetry` among it).
Out: one page of text. Nobody outside this file and freshness.py knows Prometheus. All calls come from the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

from stream_app.adapters.observing.freshness import Freshness
from stream_app.core.effects import Effects, Step
from stream_app.core.heard import Heard
from stream_app.core.types import Alert, RawRecord, Record, Ref, Side
from stream_app.core.view import TaskView

#: Reasons are words of our own; the bound is for the day when one is made from input by mistake.
_MAX_REASONS = 64
#: Counters of a task that are drops too, beside the dead letters.
_DROPS = frozenset({"frames.shed"})
_LATENCY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 7.5, 10, 15, 30, 60, 120, 300)
_WORK_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """Everything that is counted and measured in one worker; implements the shell's telemetry port."""

    def __init__(self, *, now_ms: Callable[[], int]) -> None:
        """Make all instruments, in a fresh registry.

        Args:
            now_ms: wall time in ms since the epoch.
        """
        self._now_ms = now_ms
        self._registry = CollectorRegistry()
        self._reasons: set[str] = set()
        self._counted: dict[int, Mapping[str, int]] = {}
        self._heard = Heard()
        self._registry.register(Freshness(self._heard, now_ms=self._now_ms))
        ProcessCollector(namespace="vigil", registry=self._registry)
        self._make_flow()
        self._make_tasks()
        self._make_work()

    def page(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    # -- the shell's telemetry ---------------------------------------------------------------------------------

    def received(self, partition: int, side: Side, raws: list[RawRecord]) -> None:
        """Count records that came from the source, and note when their cameras and zones were last heard from."""
        self._received.labels(side.kind).inc(len(raws))
        self._received_bytes.labels(side.kind).inc(sum(len(raw.value or b"") for raw in raws))
        self._heard.note(partition, side, raws, self._now_ms())

    def pumped(self, partition: int, view: TaskView, effects: Effects) -> None:
        """Take the task's gauges after it admitted records."""
        for observation in effects.score:
            what = "pair" if observation.text and observation.frame else "text" if observation.text else "frame"
            self._observations.labels(what).inc()
        self._gauge(partition, view)

    def committed(self, partition: int, view: TaskView, step: Step, seconds: float) -> None:
        """Count what a confirmed step published, and how long its alerts took from their newest evidence."""
        self._commit_seconds.observe(seconds)
        self._last_commit.labels(str(partition)).set(self._now_ms() / 1_000)
        self._published.labels("decision").inc(len(step.decisions))
        self._published.labels("dead-letter").inc(len(step.dead_letters))
        self._published.labels("notice").inc(len(step.notices))
        records = _records_of(step)
        for alert in step.alerts:
            self._alerts.labels(alert.label, alert.phase).inc()
            self._time_alert(alert, records)
        self._count_totals(partition, view)
        self._gauge(partition, view)

    def epoch_started(self, partition: int, view: TaskView, said: tuple[str, ...]) -> None:  # noqa: ARG002 - the log has it
        """A task took up its work; what its counters hold already was counted by a previous owner."""
        self._counted[partition] = view.totals
        self._task_up.labels(str(partition)).set(1)
        self._gaps.labels(str(partition)).set(0)
        self._epochs.inc()

    def epoch_ended(self, partition: int, reason: str, *, is_fenced: bool) -> None:  # noqa: ARG002 - the log has it
        """A task lost its epoch; it starts again from the newest checkpoint."""
        self._task_up.labels(str(partition)).set(0)
        self._epochs_lost.labels("fenced" if is_fenced else "failed").inc()

    def gap(self, partition: int, message: str) -> None:  # noqa: ARG002 - the log has it
        """Input that a task needs is gone."""
        self._task_up.labels(str(partition)).set(0)
        self._gaps.labels(str(partition)).set(1)

    def stopped(self, partition: int) -> None:
        """A task is no longer ours: its gauges go, so that the new owner's are the only ones."""
        self._counted.pop(partition, None)
        self._heard.forget(partition)
        name = str(partition)
        for gauge in self._per_task:
            gauge.remove_by_labels({"partition": name})

    # -- source, images, inference -----------------------------------------------------------------------------

    def position(self, partition: int, side: Side, lag: int) -> None:
        """Say how many records lie between the position of one side and the end of its partition."""
        self._lag.labels(str(partition), side.kind).set(lag)

    def model(self, *, provider: str, requested: str, bundle: str, sha256: str, settings: str) -> None:
        """Say which bundle, settings and execution provider are in force."""
        self._model.info(
            {"provider": provider, "requested": requested, "bundle": bundle, "sha256": sha256, "settings": settings}
        )

    def add(self, collector: Collector) -> None:
        """Show another collector's samples on the page too."""
        self._registry.register(collector)

    # -- within ------------------------------------------------------------------------------------------------

    def _make_flow(self) -> None:
        registry = self._registry
        self._received = Counter("vigil_received", "Records received.", ["side"], registry=registry)
        self._received_bytes = Counter("vigil_received_bytes", "Their bytes.", ["side"], registry=registry)
        self._records = Counter(
            "vigil_records", "What became of records, by the tasks' counters.", ["stage", "outcome"], registry=registry
        )
        self._observations = Counter("vigil_observations", "Handed to the model.", ["what"], registry=registry)
        self._dropped = Counter("vigil_dropped", "Refused, shed or lost, by reason.", ["reason"], registry=registry)
        self._published = Counter("vigil_published", "Records published beside alerts.", ["kind"], registry=registry)
        self._alerts = Counter("vigil_alerts", "Alerts committed.", ["label", "phase"], registry=registry)
        self._event_latency = Histogram(
            "vigil_event_to_alert_seconds",
            "From the event time of the newest evidence to the committed alert.",
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._append_latency = Histogram(
            "vigil_append_to_alert_seconds",
            "From the append time of the newest evidence to the committed alert.",
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )

    def _make_tasks(self) -> None:
        registry = self._registry

        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(name, words, ["partition", *labels], registry=registry)

        self._task_up = gauge("vigil_task_up", "1 while a task of this worker runs.")
        self._gaps = gauge("vigil_task_gap", "1 while a task is halted by missing input.")
        self._window_bytes = gauge("vigil_window_bytes", "Image bytes held for partners.")
        self._in_flight = gauge("vigil_in_flight", "Observations that wait for their scores.")
        self._thinning = gauge("vigil_thinning_level", "Thinning level, 0 when not overloaded.")
        self._stream_time = gauge("vigil_stream_time_seconds", "Stream time.")
        self._last_commit = gauge("vigil_last_commit_time_seconds", "Wall time of the last confirmed commit.")
        self._queued = gauge("vigil_queued", "Records that wait in the merge.", "side")
        self._lag = gauge("vigil_position_lag", "Records between the position and the end.", "side")
        self._per_task = (
            self._task_up,
            self._gaps,
            self._window_bytes,
            self._in_flight,
            self._thinning,
            self._stream_time,
            self._last_commit,
            self._queued,
            self._lag,
        )
        self._epochs = Counter("vigil_epochs_started", "Epochs that tasks have started.", registry=registry)
        self._epochs_lost = Counter("vigil_epochs_lost", "Epochs that ended.", ["why"], registry=registry)
        self._commit_seconds = Histogram(
            "vigil_commit_seconds", "Duration of a transaction.", buckets=_WORK_BUCKETS_S, registry=registry
        )

    def _make_work(self) -> None:
        registry = self._registry
        self._model = Info("vigil_model", "Bundle, settings and provider in force.", registry=registry)

    def _gauge(self, partition: int, view: TaskView) -> None:
        name = str(partition)
        self._window_bytes.labels(name).set(view.window_bytes)
        self._in_flight.labels(name).set(view.in_flight)
        self._thinning.labels(name).set(view.thinning_level)
        self._stream_time.labels(name).set(max(view.stream_ms, 0) / 1_000)
        for side in Side:
            self._queued.labels(name, side.kind).set(view.queued[side])

    def _count_totals(self, partition: int, view: TaskView) -> None:
        totals = view.totals
        before = self._counted.get(partition, {})
        for name, total in totals.items():
            more = total - before.get(name, 0)
            if more <= 0:
                continue
            stage, _, outcome = name.partition(".")
            if stage == "dead" or name in _DROPS:
                self._dropped.labels(self._reason(outcome)).inc(more)
            if stage != "dead":
                self._records.labels(stage, outcome).inc(more)
        self._counted[partition] = totals

    def _time_alert(self, alert: Alert, records: dict[Ref, Record]) -> None:
        evidence = [records[ref] for ref in _refs(alert) if ref in records]
        if not evidence:
            # A close, say: nothing new led to it, so there is no latency to speak of.
            return
        newest = max(evidence, key=_append_ms)
        now = self._now_ms()
        self._event_latency.observe(max(now - newest.event_ms, 0) / 1_000)
        self._append_latency.observe(max(now - newest.append_ms, 0) / 1_000)

    def _reason(self, reason: str) -> str:
        if reason not in self._reasons and len(self._reasons) >= _MAX_REASONS:
            return "other"
        self._reasons.add(reason)
        return reason


def _records_of(step: Step) -> dict[Ref, Record]:
    records: dict[Ref, Record] = {}
    for decision in step.decisions:
        for record in (decision.observation.text, decision.observation.frame):
            if record is not None:
                records[record.ref] = record
    return records


def _refs(alert: Alert) -> list[Ref]:
    return [(evidence.side, evidence.offset) for evidence in alert.evidence]


def _append_ms(record: Record) -> int:
    return record.append_ms
