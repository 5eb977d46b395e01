"""Stage three: every pair of a frame and a text within the window, and every record that found none. Metadata alone.

In: admitted records in merge order, and ticks. Out: pairs, each once, and unmatched records. It knows no thinning, no
bytes and no scores. With ``f`` a frame's and ``t`` a text's event time, S stream time, and
H = max(before, 0) + max(after, 0) + grace:

- pair: same zone and ``f - before <= t <= f + after``, both ends included;
- ``close(frame) = f + after + grace``, ``close(text) = t + before + grace``; a record is *late* iff its close lies
  below S when it is admitted;
- a record is held for partners while its event time is at least S - H.

Guarantees: no record both unmatched and in a pair; no pair twice; every record of an emitting side gets a result; if
no record lies more than grace behind S, pairs and unmatched equal brute force whatever the interleaving.

Every mark carries the sequence number that made it, so that the state at the cut, which lies behind, can be told.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import msgspec

from stream_app.core.types import Record, Ref, Side

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.core.settings import Semantic

#: The sequence number of a mark that was not made.
NEVER = 0


class Held(msgspec.Struct, eq=False, gc=False):
    """A record in the window with its marks: the sequence numbers at which each thing became true, or NEVER.

    ``used`` are the (camera, bucket) slots of a text that thinning has filled, with the sequence number of each.
    """

    record: Record
    admitted: int
    is_late: bool = False
    sample_ms: int = 0
    matched: int = NEVER
    scored: int = NEVER
    shed: int = NEVER
    gone: int = NEVER
    used: dict[tuple[str, int], int] | None = None


Pair = tuple[Held, Held]


class Join:
    """The window of one task. Stream time only moves forward."""

    __slots__ = (
        "_after",
        "_before",
        "_closing",
        "_dropping",
        "_emits",
        "_gone",
        "_grace",
        "_zones",
        "changed",
        "held",
        "horizon_ms",
        "removed",
        "stream_ms",
    )

    def __init__(self, settings: Semantic, stream_ms: int, changed: deque[tuple[int, Held]] | None = None) -> None:
        """Begin without records; ``changed`` gets each held record that finds its first partner, with the number."""
        self._go_by(settings)
        self.stream_ms = stream_ms
        self.changed: deque[tuple[int, Held]] = deque() if changed is None else changed
        self.held: dict[Ref, Held] = {}
        self._zones: dict[str, tuple[dict[int, Held], dict[int, Held]]] = {}
        self._closing: list[tuple[int, int, Side, int, Held]] = []
        self._dropping: list[tuple[int, Side, int, Held]] = []
        self._gone: deque[Held] = deque()
        #: What the window held and holds no more, since the caller last cleared this list.
        self.removed: list[Held] = []

    def close_ms(self, record: Record) -> int:
        """Return the stream time past which the record has met every partner that is not itself late."""
        reach = self._before if record.side is Side.TEXT else self._after
        return record.event_ms + reach + self._grace

    def tick(self, sequence: int, to_ms: int) -> list[Held]:
        """Move stream time, close and drop.

        Args:
            sequence: the number of this step in the merge order.
            to_ms: stream time moves to this, unless it is already past it.

        Returns:
            The records that closed without a partner, in order of (event time, text first, offset).
        """
        if to_ms > self.stream_ms:  # noqa: PLR1730 - max() costs three times as much, once per record
            self.stream_ms = to_ms
        unmatched = self._close(sequence) if self._closing and self._closing[0][0] < self.stream_ms else []
        if self._dropping and self._dropping[0][0] < self.stream_ms - self.horizon_ms:
            self._drop(sequence)
        return unmatched

    def admit(self, held: Held, to_ms: int) -> tuple[list[Held], list[Pair]]:
        """Take one admitted record in.

        Args:
            held: the record, marked with its sequence number; ``is_late`` is set here.
            to_ms: what the record moves stream time to: the lower of its event and append time.

        Returns:
            The unmatched records (those that this step closed, then the record itself if it is late and found
            nothing) and the record's pairs as (text, frame), in order of the partner's offset.
        """
        sequence, record = held.admitted, held.record
        unmatched = self.tick(sequence, to_ms)
        pairs = self._pair(held)
        now = self.stream_ms
        close = self.close_ms(record)
        held.is_late = close < now
        is_matched = bool(pairs)
        if not is_matched and held.is_late and self._emits[record.side]:
            unmatched.append(held)
            self._pass_by(held)
        elif record.event_ms >= now - self.horizon_ms:
            self._hold(held, close)
        else:
            self._pass_by(held)
        return unmatched, pairs

    def switch(self, settings: Semantic) -> None:
        """Go by other settings from here on; held records stay, and close and leave by the new bounds."""
        self._go_by(settings)
        window = list(self.held.values())
        for index in (self.held, self._zones, self._closing, self._dropping):
            index.clear()
        for held in window:
            self.restore(held)

    def restore(self, held: Held) -> None:
        """Put a record back into the window as a checkpoint describes it, without judging anything."""
        self._hold(held, self.close_ms(held.record))

    def close_early(self, early: Iterable[Held], sequence: int) -> list[Held]:
        """Take records out of the window before their time; return those that give a result, in order."""
        unmatched: list[Held] = []
        for held in sorted(early, key=_by_age):
            if self._emits[held.record.side] and held.matched == NEVER:
                unmatched.append(held)
            self._remove(held, sequence)
        return unmatched

    def forget(self, cut: int) -> list[Held]:
        """Return, and forget for good, the records that left the window at or before ``cut``."""
        gone = self._gone
        forgotten: list[Held] = []
        while gone and gone[0].gone <= cut:
            forgotten.append(gone.popleft())
        return forgotten

    def _go_by(self, settings: Semantic) -> None:
        self._before = settings.before_ms
        self._after = settings.after_ms
        self._grace = settings.grace_ms
        self.horizon_ms = settings.horizon_ms
        how = settings.how
        self._emits = (how in {"right", "outer"}, how in {"left", "outer"})

    def _close(self, sequence: int) -> list[Held]:
        closing, now = self._closing, self.stream_ms
        due: list[tuple[int, Side, int, Held]] = []
        while closing and closing[0][0] < now:
            _, event_ms, side, offset, held = heappop(closing)
            if held.gone == NEVER and held.matched == NEVER:
                due.append((event_ms, side, offset, held))
        due.sort(key=_by_event_time)
        for *_, held in due:
            self._remove(held, sequence)
        return [held for *_, held in due]

    def _drop(self, sequence: int) -> None:
        dropping, oldest = self._dropping, self.stream_ms - self.horizon_ms
        while dropping and dropping[0][0] < oldest:
            held = heappop(dropping)[3]
            if held.gone == NEVER:
                self._remove(held, sequence)

    def _pair(self, held: Held) -> list[Pair]:
        zone = self._zones.get(held.record.zone)
        if zone is None:
            return []
        event_ms, sequence = held.record.event_ms, held.admitted
        is_frame = held.record.side is Side.FRAME
        if is_frame:
            lowest, highest = event_ms - self._before, event_ms + self._after
        else:
            lowest, highest = event_ms - self._after, event_ms + self._before
        partners = [partner for partner in zone[not is_frame].values() if lowest <= partner.record.event_ms <= highest]
        if not partners:
            return []
        held.matched = sequence
        for partner in partners:
            if partner.matched == NEVER:
                partner.matched = sequence
                self.changed.append((sequence, partner))
        return [(partner, held) for partner in partners] if is_frame else [(held, partner) for partner in partners]

    def _hold(self, held: Held, close: int) -> None:
        record = held.record
        self.held[record.ref] = held
        zone = self._zones.get(record.zone)
        if zone is None:
            zone = self._zones[record.zone] = ({}, {})
        zone[record.side][record.offset] = held
        if self._emits[record.side] and held.matched == NEVER:
            heappush(self._closing, (close, record.event_ms, record.side, record.offset, held))
        heappush(self._dropping, (record.event_ms, record.side, record.offset, held))

    def _pass_by(self, held: Held) -> None:
        held.gone = held.admitted
        self._gone.append(held)

    def _remove(self, held: Held, sequence: int) -> None:
        record = held.record
        held.gone = sequence
        del self.held[record.ref]
        zone = self._zones[record.zone]
        del zone[record.side][record.offset]
        if not zone[0] and not zone[1]:
            del self._zones[record.zone]
        self._gone.append(held)
        self.removed.append(held)


def _by_age(held: Held) -> tuple[int, Side, int]:
    return (held.record.event_ms, held.record.side, held.record.offset)


def _by_event_time(due: tuple[int, Side, int, Held]) -> tuple[int, Side, int]:
    return due[:3]
