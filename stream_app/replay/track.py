"""The inputs of one task of a replay on their way to its lanes, with the ticks in between.

In: records by append time. Out: what the lanes of all runs admit, and when their stream time moves on though nothing
came: of the gaps between append times, or as a journal tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.core.settings import Limits
from stream_app.core.types import Side
from stream_app.replay.overload import Following
from stream_app.replay.recording import as_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.replay.lane import Lane
    from stream_app.replay.overload import Overload
    from stream_app.replay.recording import TopicRecord

#: Ticks of a gap lie this far apart, in ms, as those of a live task do.
TICK_EVERY_MS = 1_000


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay needs to be told beside what is in force.

    ``idle_ms`` is the setting of that name: a gap between append times that is longer gives ticks. ``limits`` bound
    memory and work, and change no output.
    """

    idle_ms: int
    limits: Limits


class Track:
    """The inputs of one task, given to its lanes of all runs: record by record, with the ticks in between.

    Which of a text and a frame comes first is the core's to say (:mod:`stream_app.core.merge`), and it can say so once
    it has both. So records wait until one with a later append time than all before shows that no other can come
    between; a recording has no topic that is "caught up" in any other sense.
    """

    def __init__(self, lanes: tuple[Lane, ...], pace: Pace, overload: Overload | None = None) -> None:
        """Begin before the first record; with ``overload``, ticks and thinning levels are those that it tells."""
        self.lanes = lanes
        self._pace = pace
        self._told = None if overload is None else Following(overload)
        self._waiting: tuple[list[TopicRecord], list[TopicRecord]] = ([], [])
        self._bytes = 0
        #: The latest append time of what waits and of all before.
        self._append_ms: int | None = None

    async def enter(self, side: Side, record: TopicRecord) -> None:
        """Take the next record."""
        append_ms = record.append_ms
        if self._append_ms is None or append_ms > self._append_ms:
            await self._admit()
            if self._append_ms is not None and self._told is None:
                await self._tick(_gap(self._append_ms, append_ms - self._pace.idle_ms))
            self._append_ms = append_ms
            for lane in self.lanes:
                await lane.reach(append_ms)
        elif self._is_full():
            # Only where very many share an append time; a text behind the bound then comes after frames before it.
            await self._admit()
        self._waiting[side].append(record)
        self._bytes += record.size

    async def finish(self) -> None:
        """Let everything come to its end: ticks go on until nothing is held or open."""
        await self._admit()
        if self._append_ms is not None:
            first_ms = self._append_ms + TICK_EVERY_MS
            for lane in self.lanes:
                await lane.tick(range(first_ms, first_ms + lane.longest_ms + TICK_EVERY_MS, TICK_EVERY_MS))
        for lane in self.lanes:
            await lane.finish()

    def _is_full(self) -> bool:
        limits = self._pace.limits
        count = len(self._waiting[Side.TEXT]) + len(self._waiting[Side.FRAME])
        return self._bytes >= limits.queue_bytes or count >= limits.queue_records

    async def _admit(self) -> None:
        if not self._waiting[Side.TEXT] and not self._waiting[Side.FRAME]:
            return
        waiting, self._waiting, self._bytes = self._waiting, ([], []), 0
        texts, frames = ([as_input(record) for record in side] for side in waiting)
        for lane in self.lanes:
            await lane.admit(texts, frames)
        if self._told is not None:
            for side in Side:
                for record in waiting[side]:
                    self._told.passed(side, record.offset)
            for told in self._told.due():
                for lane in self.lanes:
                    await lane.follow(told)

    async def _tick(self, times: Sequence[int]) -> None:
        for lane in self.lanes:
            await lane.tick(times)


def _gap(after_ms: int, until_ms: int) -> Sequence[int]:
    """Return the ticks of a gap, the last at its end: one a second, as a live task makes them."""
    return range(until_ms, after_ms, -TICK_EVERY_MS)[::-1]
