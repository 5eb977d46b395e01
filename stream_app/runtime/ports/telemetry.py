"""What the shell tells about itself, as a port: metrics and health implement it, tests record it, replay ignores it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stream_app.core.effects import Effects, Step
    from stream_app.core.types import RawRecord, Side
    from stream_app.core.view import TaskView


class Telemetry(Protocol):
    """All calls come from the event loop and must be quick."""

    def received(self, partition: int, side: Side, raws: list[RawRecord]) -> None:
        """Records came from the source."""
        ...

    def pumped(self, partition: int, view: TaskView, effects: Effects) -> None:
        """The core admitted records and asked for scores."""
        ...

    def committed(self, partition: int, view: TaskView, step: Step, seconds: float) -> None:
        """A step was confirmed; ``seconds`` is how long its transaction took."""
        ...

    def position(self, partition: int, side: Side, lag: int, age_s: float) -> None:
        """So many offsets lie between what was admitted and the end; the last fetch is ``age_s`` seconds old."""
        ...

    def epoch_started(self, partition: int, view: TaskView, said: tuple[str, ...]) -> None:
        """A task took up its work."""
        ...

    def epoch_ended(self, partition: int, reason: str, *, is_fenced: bool) -> None:
        """A task lost its epoch and starts again from the newest checkpoint."""
        ...

    def gap(self, partition: int, message: str) -> None:
        """Input that a task needs is gone; the task is halted until an operator resets it."""
        ...

    def stopped(self, partition: int) -> None:
        """A task is no longer ours."""
        ...
