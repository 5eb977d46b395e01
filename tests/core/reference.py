"""The definitions of the design, written down literally and slowly: what the stages are compared with.

Nothing here is taken from stream_app.core but the types of records and settings. Lists and loops over everything; no
heaps, no marks, no state that is filtered later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stream_app.core.types import Record, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_app.core.settings import Semantic

#: (text offset, frame offset); None for a record that came out alone.
Result = tuple[int | None, int | None]


def is_pair(frame: Record, text: Record, settings: Semantic) -> bool:
    """Pair: same key and ``f.ts - before <= t.ts <= f.ts + after``, both ends included."""
    return frame.zone == text.zone and (
        frame.event_ms - settings.before_ms <= text.event_ms <= frame.event_ms + settings.after_ms
    )


def emits(side: Side, settings: Semantic) -> bool:
    """Whether records of this side give a result without a partner."""
    return settings.how in ({"right", "outer"} if side is Side.TEXT else {"left", "outer"})


def close_ms(record: Record, settings: Semantic) -> int:
    """close(frame) = its time + after + grace, close(text) = its time + before + grace."""
    reach = settings.before_ms if record.side is Side.TEXT else settings.after_ms
    return record.event_ms + reach + settings.grace_ms


def horizon_ms(settings: Semantic) -> int:
    """H = max(before, 0) + max(after, 0) + grace."""
    return max(settings.before_ms, 0) + max(settings.after_ms, 0) + settings.grace_ms


def all_pairs(records: Sequence[Record], settings: Semantic) -> set[Result]:
    """Every pair of the set of records, whatever their order."""
    return {
        (text.offset, frame.offset)
        for text in records
        if text.side is Side.TEXT
        for frame in records
        if frame.side is Side.FRAME and is_pair(frame, text, settings)
    }


def all_unmatched(records: Sequence[Record], settings: Semantic) -> set[Result]:
    """Every record of an emitting side that is in no pair of the set of records."""
    pairs = all_pairs(records, settings)
    texts, frames = {text for text, _ in pairs}, {frame for _, frame in pairs}
    alone: set[Result] = set()
    for record in records:
        if emits(record.side, settings) and record.offset not in (texts if record.side is Side.TEXT else frames):
            alone.add((record.offset, None) if record.side is Side.TEXT else (None, record.offset))
    return alone


@dataclass
class SlowJoin:
    """The five steps of the join on admission, over plain lists."""

    settings: Semantic
    stream_ms: int
    held: list[Record] = field(default_factory=list)
    met: set[tuple[Side, int]] = field(default_factory=set)

    def tick(self, to_ms: int) -> list[Result]:
        """(1) S moves; (2) close; (3) drop."""
        self.stream_ms = max(self.stream_ms, to_ms)
        closing = [
            record
            for record in self.held
            if emits(record.side, self.settings)
            and record.ref not in self.met
            and close_ms(record, self.settings) < self.stream_ms
        ]
        closing.sort(key=lambda record: (record.event_ms, record.side, record.offset))
        oldest = self.stream_ms - horizon_ms(self.settings)
        self.held = [record for record in self.held if record not in closing and record.event_ms >= oldest]
        return [_alone(record) for record in closing]

    def admit(self, record: Record, to_ms: int) -> list[Result]:
        """(1)-(3) as a tick, (4) pair with every held partner, in offset order, (5) emit alone or hold."""
        results = self.tick(to_ms)
        partners = sorted((other for other in self.held if self._is_partner(record, other)), key=lambda one: one.offset)
        for other in partners:
            self.met |= {record.ref, other.ref}
            text, frame = (record, other) if record.side is Side.TEXT else (other, record)
            results.append((text.offset, frame.offset))
        if not partners and emits(record.side, self.settings) and close_ms(record, self.settings) < self.stream_ms:
            results.append(_alone(record))
        elif record.event_ms >= self.stream_ms - horizon_ms(self.settings):
            self.held.append(record)
        return results

    def is_late(self, record: Record) -> bool:
        """Whether close(record) < S on admission."""
        return close_ms(record, self.settings) < self.stream_ms

    def _is_partner(self, record: Record, other: Record) -> bool:
        if record.side is other.side:
            return False
        frame, text = (record, other) if record.side is Side.FRAME else (other, record)
        return is_pair(frame, text, self.settings)


@dataclass
class SlowThinning:
    """Per text and camera one pair per bucket; per camera one unmatched frame per bucket, the first that closes."""

    settings: Semantic
    filled: set[tuple[int, str, int]] = field(default_factory=set)
    last: dict[tuple[str, str], int] = field(default_factory=dict)

    def keeps_pair(self, text: Record, frame: Record, sample_ms: int) -> bool:
        """Whether no earlier pair of this text filled the frame's slot."""
        slot = (text.offset, frame.camera, frame.event_ms // sample_ms)
        is_free = slot not in self.filled
        self.filled.add(slot)
        return is_free

    def keeps_frame(self, frame: Record) -> bool:
        """Whether the camera's last sampled bucket is an earlier one."""
        camera, bucket = (frame.zone, frame.camera), frame.event_ms // self.settings.unmatched_every_ms
        is_new = self.last.get(camera, bucket - 1) < bucket
        if is_new:
            self.last[camera] = bucket
        return is_new


def within_grace(arrivals: Iterable[tuple[Record, int]], settings: Semantic, beginning_ms: int) -> bool:
    """Whether no record lies more than grace behind S as it arrives. Each comes with what it moves S to."""
    now = beginning_ms
    for record, to_ms in arrivals:
        now = max(now, to_ms)
        if record.event_ms < now - settings.grace_ms:
            return False
    return True


def _alone(record: Record) -> Result:
    return (record.offset, None) if record.side is Side.TEXT else (None, record.offset)
