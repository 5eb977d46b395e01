"""One side's records of a task on their way to the core: read by append time, taken in the journal's order.

In: records in order of offset. Out: those up to an offset, once; and again from an offset on, after a reset that went
back. It holds what has not taken its place yet, and no more than a bound while nobody knows what will be needed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_app.replay.recording import TopicRecord

#: As Kafka numbers it: the broker stamped the record, and not its producer.
APPEND_TIME = 1
#: While no keyframe was found, the newest records of at most so many bytes are held, per task and side.
_MAX_IDLE_BYTES = 512 * 1024 * 1024


class Inputs:
    """The records of one side of one task."""

    def __init__(self, read_again: Callable[[], Iterator[TopicRecord]]) -> None:
        """Begin with nothing; ``read_again`` yields all of the side's records from the recording's beginning."""
        self._read_again = read_again
        self._again: Iterator[TopicRecord] | None = None
        self._ahead: TopicRecord | None = None
        self._queue: deque[TopicRecord] = deque()
        self._bytes = 0
        #: The offset of the newest record that was read, and of the first; -1 where there was none.
        self.newest = -1
        self.first = -1
        #: Whether the broker stamped what was read last: only its clock says how far the recording was read.
        self.is_by_broker = False
        #: Below this offset nothing is held any more: it was taken, or passed.
        self._passed = 0

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, record: TopicRecord, *, is_idle: bool) -> None:
        """Take the next record; while ``is_idle`` the oldest make room."""
        if self.first < 0:
            self.first = record.offset
        self.newest = record.offset
        if record.lost is None:
            self.is_by_broker = record.timestamp_type == APPEND_TIME
        self._queue.append(record)
        self._bytes += record.size
        while is_idle and self._bytes > _MAX_IDLE_BYTES and len(self._queue) > 1:
            self._pop()

    def has(self, offset: int) -> bool:
        """Return whether the record at an offset that is not yet taken is held; slow, for the beginning only."""
        return any(record.offset == offset for record in self._queue)

    def count(self, low: int, below: int) -> int:
        """Return how many records from one offset to below another are held; slow, for the beginning only."""
        return sum(low <= record.offset < below for record in self._queue)

    def skip_to(self, offset: int) -> None:
        """Go on at an offset: pass what lies below, or read again what was taken already."""
        self._again, self._ahead = None, None
        if offset < self._passed:
            records, until = self._read_again(), self._passed
            self._again = (record for record in records if offset <= record.offset < until)
            self._ahead = next(self._again, None)
        self._passed = max(self._passed, offset)
        while self._queue and self._queue[0].offset < self._passed:
            self._pop()

    def take(self, below: int) -> Iterator[TopicRecord]:
        """Yield, and let go of, every record below an offset that was not yet taken."""
        while self._again is not None and self._ahead is not None and self._ahead.offset < below:
            record, self._ahead = self._ahead, next(self._again, None)
            yield record
        while self._queue and self._queue[0].offset < below:
            record = self._pop()
            # One below was passed before it was read.
            if record.offset >= self._passed:
                self._passed = record.offset + 1
                yield record

    def clear(self) -> None:
        """Let go of everything."""
        self._queue.clear()
        self._again = self._ahead = None
        self._bytes = 0

    def _pop(self) -> TopicRecord:
        record = self._queue.popleft()
        self._bytes -= record.size
        return record
