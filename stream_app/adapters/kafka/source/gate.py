"""Which partitions may be fetched: opened ones that are not paused. Lives on the event loop; the thread only peeks.

In: open, pause, resume, revoke. Out: what to fetch (`Wanted`), and two counters by which the consumer thread, which
may read an int of another thread at any time, sees that what it was told to fetch is out of date.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aiokafka import TopicPartition


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one fetch may read out, with the state of the gate that this was decided under."""

    partitions: frozenset[TopicPartition]
    epoch: int
    width: int


class Gate:
    """What the shell allows to be fetched, kept apart from Faust's own pausing so that neither undoes the other."""

    __slots__ = ("_fetchable", "_paused", "_seek_numbers", "_wake", "epoch", "width")

    def __init__(self) -> None:
        self._seek_numbers: dict[TopicPartition, int] = {}
        self._fetchable: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()
        self._wake: Callable[[], None] | None = None
        #: Grows with every revocation: what was wanted before concerns an assignment that is gone.
        self.epoch = 0
        #: Grows whenever more may be fetched than before: a fetch that waits for data should look again.
        self.width = 0

    def on_wider(self, wake: Callable[[], None]) -> None:
        """Say what to call when more may be fetched than before: it ends the wait of a fetch in flight."""
        self._wake = wake

    def expect(self, tp: TopicPartition, seek_number: int) -> None:
        """From now on let through only what is read under this seek, which is about to happen."""
        self._seek_numbers[tp] = seek_number
        self._fetchable.discard(tp)

    def open(self, tp: TopicPartition) -> None:
        """Fetch a partition, now that its seek has happened."""
        self._fetchable.add(tp)
        self._widen()

    def close(self, tp: TopicPartition) -> None:
        """Let nothing more of a partition through."""
        self._seek_numbers.pop(tp, None)
        self._fetchable.discard(tp)

    def revoke_all(self) -> None:
        """Let nothing through, and make everything stale that was wanted so far."""
        self.epoch += 1
        self._seek_numbers.clear()
        self._fetchable.clear()
        self._paused.clear()

    def pause(self, tp: TopicPartition) -> None:
        """Keep a partition from being fetched."""
        self._paused.add(tp)

    def resume(self, tp: TopicPartition) -> None:
        """Let a partition be fetched again, at once."""
        if tp in self._paused:
            self._paused.discard(tp)
            self._widen()

    def seek_number(self, tp: TopicPartition) -> int | None:
        """Return the seek whose records are let through, or None while the partition is closed."""
        return self._seek_numbers.get(tp)

    def wanted(self, active: set[TopicPartition]) -> Wanted:
        """Return which of the client's active partitions may be fetched now."""
        partitions = frozenset(tp for tp in self._fetchable if tp in active and tp not in self._paused)
        return Wanted(partitions, self.epoch, self.width)

    def _widen(self) -> None:
        # The counter first, then the wake-up: a fetch that has not begun to wait yet sees the counter.
        self.width += 1
        if self._wake is not None:
            self._wake()
