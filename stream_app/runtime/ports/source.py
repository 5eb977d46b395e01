"""The source port: what the shell needs of a source, and what a source calls back. It knows no client library.

In: nothing. Out: the protocols `Source`, `TaskSource` and `SourceHandler`, the value `Progress` and the error
`NotOurPartitionError`. A task is partition *p* of both input topics; a side is one of the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stream_app.core.types import RawRecord, Side


class NotOurPartitionError(RuntimeError):
    """A task was opened that this process does not own (any more): a rebalance took it away."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the source has read one side of one task, as of its last answered fetch request.

    Attributes:
        is_at_end: every record that a reader of committed records could have seen at `fetched_at` has been handed to
            `on_records` (one counts as handed over from the moment that the call begins). Never True while a fetched
            record is still on its way.
        fetched_at: `time.monotonic()` in seconds just before that fetch request was sent. Whatever the broker had
            acknowledged before is covered; an answer that lay unread while this process slept makes nothing look newer.
        append_ms: the broker's time at `fetched_at`, in ms since the epoch: the newest append timestamp that the broker
            gave us for any partition, plus the monotonic time since we got it. None until a first record was read.
        position: the next offset to be read.
        end: the last stable offset in that answer: `end - position` records are not fetched yet.
    """

    is_at_end: bool
    fetched_at: float
    append_ms: int | None
    position: int
    end: int


class SourceHandler(Protocol):
    """What a source calls: on the event loop that started it, never concurrently. Must be quick and never block."""

    def on_assigned(self, partitions: frozenset[int]) -> None:
        """Take over tasks. Nothing of them is delivered before `Source.open`.

        Every rebalance revokes all tasks first and then assigns those that are ours now, so a task that stays is
        named by both.
        """

    def on_revoked(self, partitions: frozenset[int]) -> None:
        """Stop reading tasks: nothing more of them is delivered, positions and pauses are forgotten."""

    def on_records(self, side: Side, partition: int, records: Sequence[RawRecord]) -> None:
        """Take records of one side, in offset order, never empty. What is raised here ends the source."""


class TaskSource(Protocol):
    """What one task needs of the source."""

    async def open(self, side: Side, partition: int, offset: int) -> None:
        """Deliver this side from `offset` on; a second call seeks, forwards or backwards.

        Where the log starts above `offset`, delivery begins there. A position that is lost after the first record ends
        the source: later jumps in the offsets are transaction markers and aborted records, nothing that is missing.
        """

    def pause(self, side: Side, partition: int) -> None:
        """Stop fetching this side. Loses nothing; what is already fetched (one batch) still arrives."""

    def resume(self, side: Side, partition: int) -> None:
        """Fetch this side again, at once."""

    def progress(self, side: Side, partition: int) -> Progress | None:
        """Return how far this side is read, or None before the first answer after `open`."""


class Source(TaskSource, Protocol):
    """Reads the two input topics of the tasks that the consumer group gives to this process."""

    async def start(self) -> None:
        """Join the group. Returns once the group has answered; assignments may be announced before that."""

    async def stop(self) -> None:
        """Leave the group. From the call on the handler is not called any more."""

    async def wait(self) -> None:
        """Return when the source was stopped; raise what broke it."""

    def assignment(self) -> frozenset[int]:
        """Return the tasks that are ours now."""

    @property
    def is_rebalancing(self) -> bool:
        """Whether the group is deciding who gets what, the first join included."""
