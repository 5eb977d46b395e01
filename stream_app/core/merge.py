"""Stage two: the two sides of a task become one order, by append time.

In: admitted and refused records of each side in offset order, and whether a side is caught up. Out: one record at a
time, the head with the lower append time; ties text first, then offset. That is the order in which a live task sees
the records, so catching up after an outage, replaying a recording and running live agree.

A side that is not caught up and has nothing queued is waited for: its next record may be the older one. Guarantee:
the side that is waited for is never full, so waiting and back pressure cannot lock each other.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from stream_app.core.types import Record, Refused, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stream_app.core.settings import Limits
    from stream_app.core.types import RawRecord

Intake = Record | Refused


class Merge:
    """The two bounded queues of a task. The bound is the shell's to keep: it reads :meth:`is_full` and pauses."""

    __slots__ = ("_bytes", "_is_caught_up", "_limits", "_queues")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queues: tuple[deque[tuple[Intake, RawRecord]], deque[tuple[Intake, RawRecord]]] = (deque(), deque())
        self._bytes = [0, 0]
        self._is_caught_up = [False, False]

    def offer(self, side: Side, intake: Iterable[tuple[Intake, RawRecord]]) -> None:
        """Queue records of one side, each with what it was admitted from, in offset order."""
        items = list(intake)
        self._queues[side].extend(items)
        self._bytes[side] += sum([one.size for one, _ in items])

    def admit_again(self, admit: Callable[[Side, RawRecord], Intake]) -> None:
        """Look at everything that is queued once more: other rules of admission are in force when its turn comes."""
        for side in Side:
            queued = [raw for _, raw in self._queues[side]]
            self._queues[side].clear()
            self._bytes[side] = 0
            self.offer(side, [(admit(side, raw), raw) for raw in queued])

    def set_caught_up(self, side: Side, is_caught_up: bool) -> bool:  # noqa: FBT001 - the claim is the argument
        """Say whether the last fetch of this side reached the end of its partition (and is recent).

        Returns:
            Whether that is news.
        """
        is_news = self._is_caught_up[side] != is_caught_up
        self._is_caught_up[side] = is_caught_up
        return is_news

    @property
    def is_idle(self) -> bool:
        """Both sides are caught up and nothing is queued: stream time may be advanced by a tick."""
        return not self._queues[0] and not self._queues[1] and self._is_caught_up[0] and self._is_caught_up[1]

    def is_full(self, side: Side) -> bool:
        """Return whether this side's partition should be paused. An empty queue is never full."""
        return (
            self._bytes[side] >= self._limits.queue_bytes or len(self._queues[side]) >= self._limits.queue_records
        ) and bool(self._queues[side])

    def queued(self, side: Side) -> int:
        """Return the number of records queued on one side."""
        return len(self._queues[side])

    def next(self) -> tuple[Intake, RawRecord] | None:
        """Return the next record in order and what it was admitted from, or None while a side has to be waited for."""
        texts, frames = self._queues
        if texts and frames:
            side = Side.TEXT if texts[0][0].append_ms <= frames[0][0].append_ms else Side.FRAME
        elif texts:
            if not self._is_caught_up[Side.FRAME]:
                return None
            side = Side.TEXT
        elif frames:
            if not self._is_caught_up[Side.TEXT]:
                return None
            side = Side.FRAME
        else:
            return None
        first = self._queues[side].popleft()
        self._bytes[side] -= first[0].size
        return first
