"""What a worker knows of itself: hears the shell's telemetry, passes it to the metrics, logs it, and answers health.

In: telemetry. Out: log lines, metrics, a health snapshot. It decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from stream_app.adapters.observing.health import HealthSnapshot
from stream_app.core.types import BATCH_REASONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from stream_app.adapters.observing.metrics import Metrics
    from stream_app.core.effects import Effects, Step
    from stream_app.core.types import DeadLetter, RawRecord, Side
    from stream_app.core.view import TaskView

_log = structlog.get_logger("vigil.worker")


class Group(Protocol):
    """Membership, as the source knows it."""

    @property
    def is_rebalancing(self) -> bool:
        """Whether the group is deciding who gets what, the first join included."""
        ...

    def assignment(self) -> frozenset[int]:
        """Return the tasks that are ours."""
        ...


class WorkerStatus:
    """Implements the shell's telemetry port and the health state."""

    def __init__(
        self,
        metrics: Metrics,
        about: Mapping[str, str],
        oldest_batch_s: Callable[[], float],
        *,
        clock: Callable[[], float],
    ) -> None:
        """Begin without group and tasks.

        Args:
            metrics: is told everything too.
            about: provider, bundle, settings hash and the like, for the health page.
            oldest_batch_s: returns how long the model has been at its present batch, in seconds.
            clock: monotonic time in seconds.
        """
        self._now_s = clock
        self._metrics = metrics
        self._about = about
        self._oldest_batch_s = oldest_batch_s
        self._running: set[int] = set()
        self._gaps: dict[int, str] = {}
        self._waiting_since: dict[int, float] = {}
        self._fetched_at: dict[tuple[int, Side], float] = {}
        self.group: Group | None = None
        self.is_model_warm = False

    def snapshot(self) -> HealthSnapshot:
        """Return the state of this moment."""
        group = self.group
        assigned = group.assignment() if group is not None else frozenset[int]()
        now = self._now_s()
        return HealthSnapshot(
            is_group_joined=group is not None and not group.is_rebalancing,
            is_model_warm=self.is_model_warm,
            tasks_assigned=len(assigned),
            tasks_recovered=len(assigned & self._running),
            commit_age_s=max((now - since for since in self._waiting_since.values()), default=0.0),
            oldest_fetch_s=max((now - fetched for fetched in self._fetched_at.values()), default=0.0),
            oldest_batch_s=self._oldest_batch_s(),
            gaps=tuple(self._gaps[partition] for partition in sorted(self._gaps)),
            about=self._about,
        )

    def received(self, partition: int, side: Side, raws: list[RawRecord]) -> None:
        """Records came from the source."""
        self._metrics.received(partition, side, raws)

    def pumped(self, partition: int, view: TaskView, effects: Effects) -> None:
        """The core admitted records and asked for scores."""
        if _has_to_commit(view):
            self._waiting_since.setdefault(partition, self._now_s())
        self._metrics.pumped(partition, view, effects)

    def committed(self, partition: int, view: TaskView, step: Step, seconds: float) -> None:
        """A step was confirmed."""
        self._waiting_since.pop(partition, None)
        if _has_to_commit(view):
            self._waiting_since[partition] = self._now_s()
        for alert in step.alerts:
            _log.info("alert", partition=partition, phase=alert.phase, label=alert.label, zone=alert.zone, id=alert.id)
        for notice in step.notices:
            _log.warning("notice", partition=partition, kind=notice.kind, zone=notice.zone, detail=notice.detail)
        # A line for each would let whoever floods a topic flood the log too; the letters themselves are on a topic.
        for (side, reason), letters in _by_reason(step.dead_letters).items():
            _log.warning(
                "dead letters",
                partition=partition,
                side=side.kind,
                reason=reason,
                count=len(letters),
                first_offset=min(letter.offset for letter in letters),
                last_offset=max(letter.offset for letter in letters),
                **_lost(letters),
            )
        self._metrics.committed(partition, view, step, seconds)

    def position(self, partition: int, side: Side, lag: int, age_s: float) -> None:
        """So many offsets lie between what was admitted and the end; the last fetch is so old."""
        self._fetched_at[partition, side] = self._now_s() - age_s
        self._metrics.position(partition, side, lag)

    def epoch_started(self, partition: int, view: TaskView, said: tuple[str, ...]) -> None:
        """A task took up its work."""
        self._running.add(partition)
        self._gaps.pop(partition, None)
        for line in said:
            _log.warning("recovery", partition=partition, said=line)
        _log.info("task running", partition=partition)
        self._metrics.epoch_started(partition, view, said)

    def epoch_ended(self, partition: int, reason: str, *, is_fenced: bool) -> None:
        """A task lost its epoch."""
        self._running.discard(partition)
        self._forget(partition)
        _log.warning("epoch ended", partition=partition, reason=reason, is_fenced=is_fenced)
        self._metrics.epoch_ended(partition, reason, is_fenced=is_fenced)

    def gap(self, partition: int, message: str) -> None:
        """Input that a task needs is gone."""
        self._running.discard(partition)
        self._forget(partition)
        self._gaps[partition] = message
        _log.error("gap: this task is halted until it is reset", partition=partition, gap=message)
        self._metrics.gap(partition, message)

    def stopped(self, partition: int) -> None:
        """A task is no longer ours."""
        self._running.discard(partition)
        self._gaps.pop(partition, None)
        self._forget(partition)
        _log.info("task released", partition=partition)
        self._metrics.stopped(partition)

    def _forget(self, partition: int) -> None:
        """A task that does not run has nothing to commit and nothing to fetch."""
        self._waiting_since.pop(partition, None)
        self._fetched_at = {place: at for place, at in self._fetched_at.items() if place[0] != partition}


def _has_to_commit(view: TaskView) -> bool:
    """Whether a commit is to be expected: something is decided, or waits for a score that may never come."""
    return view.has_uncommitted or view.in_flight > 0


def _lost(letters: Sequence[DeadLetter]) -> dict[str, str]:
    """Say which offsets the first of these dead letters covers, where that is a whole batch."""
    return {"lost": letters[0].detail} if letters[0].reason in BATCH_REASONS else {}


def _by_reason(letters: Iterable[DeadLetter]) -> dict[tuple[Side, str], list[DeadLetter]]:
    """Return dead letters by side and reason."""
    found: dict[tuple[Side, str], list[DeadLetter]] = {}
    for letter in letters:
        found.setdefault((letter.side, letter.reason), []).append(letter)
    return found
