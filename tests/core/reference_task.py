"""The whole task, written down literally and slowly: duplicates, rate, join, the window's bound, thinning, decisions.

One sequence number after the other, each scored and decided before the next; plain lists, no marks, no cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stream_app.core.admit import admit
from stream_app.core.checkpoint import NO_RECORD_MS
from stream_app.core.types import Observation, Record, Ref, Refused, Side, time_bound
from tests.core.drive import MODEL
from tests.core.reference import Result, SlowJoin, SlowThinning, horizon_ms
from tests.core.reference_decide import SlowDecide

if TYPE_CHECKING:
    from stream_app.core.settings import Semantic
    from tests.core.drive import Raw, Scores


@dataclass
class SlowRate:
    """Milli-tokens per zone; append time as the newest of all records so far."""

    settings: Semantic
    now: int = NO_RECORD_MS
    levels: dict[str, tuple[int, int]] = field(default_factory=dict)
    reported: set[str] = field(default_factory=set)

    def allows(self, zone: str) -> bool:
        """Refill the zone's bucket up to now, and spend one token if it has one."""
        full = self.settings.rate_burst * 1_000
        tokens, since = self.levels.get(zone, (full, self.now))
        tokens = min(full, tokens + (self.now - since) * self.settings.rate_per_s)
        if tokens == full:
            self.reported.discard(zone)
        passes = tokens >= 1_000
        self.levels[zone] = (tokens - 1_000 * passes, self.now)
        return passes


@dataclass
class SlowTask:
    """A task that is given its records in merge order."""

    settings: Semantic
    scores: Scores
    level: int = 0
    scored: list[tuple[int | None, int | None, bool, bool, int]] = field(default_factory=list)
    refused: list[tuple[Side, int, str]] = field(default_factory=list)
    notices: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.join = SlowJoin(self.settings, NO_RECORD_MS)
        self.thinning = SlowThinning(self.settings)
        self.rate = SlowRate(self.settings)
        self.decide = SlowDecide(self.settings, MODEL)
        self.records: dict[Ref, Record] = {}
        self.sample_ms: dict[int, int] = {}
        self.seen: dict[tuple[Side, bytes], int] = {}
        self.late: set[Ref] = set()
        self.shed: set[Ref] = set()

    def take(self, side: Side, raw: Raw) -> None:
        """Take one record of the merge order."""
        self.rate.now = max(self.rate.now, raw.timestamp)
        record = admit(side, raw, self.settings)
        if isinstance(record, Refused):
            self.refused.append((side, record.offset, record.reason))
        elif self.seen.get((side, record.identity or b""), NO_RECORD_MS - 1) < self.join.stream_ms:
            self._take(record)
        self.decide.expire(self.join.stream_ms)

    def tick(self, to_ms: int) -> None:
        """Advance stream time, if that moves it and something is held or open."""
        if to_ms > self.join.stream_ms and (self.join.held or self.decide.open):
            self._put_out(self.join.tick(to_ms))

    def _take(self, record: Record) -> None:
        if record.side is Side.TEXT and not self.rate.allows(record.zone):
            self.refused.append((Side.TEXT, record.offset, "rate"))
            if record.zone not in self.rate.reported:
                self.notices.append((record.zone, self.join.stream_ms))
            self.rate.reported.add(record.zone)
            return
        self.records[record.ref] = record
        if record.side is Side.TEXT:
            self.sample_ms[record.offset] = self.settings.sample_ms << self.level
        results = self.join.admit(record, time_bound(record.event_ms, record.append_ms))
        if self.join.is_late(record):
            self.late.add(record.ref)
        if record.identity is not None:
            step = max(1, horizon_ms(self.settings) // 16)
            self.seen[(record.side, record.identity)] = (
                -(-(self.join.stream_ms + horizon_ms(self.settings)) // step) * step
            )
        if record in self.join.held:
            self._shed()
        self._put_out(results)

    def _shed(self) -> None:
        """At the bound: first what is not the lowest of its camera's bucket, then the oldest, down to 7/8."""
        bound = self.settings.window_bytes
        frames = [one for one in self.join.held if one.side is Side.FRAME and one.ref not in self.shed]
        frames.sort(key=lambda one: one.offset)
        buckets = [(one.zone, one.camera, one.event_ms // self.settings.sample_ms) for one in frames]
        is_first = [bucket not in buckets[:place] for place, bucket in enumerate(buckets)]
        order = [one for one, first in zip(frames, is_first, strict=True) if not first]
        order += [one for one, first in zip(frames, is_first, strict=True) if first]
        left = sum(one.size for one in frames)
        if left > bound:
            while left > bound - bound // 8:
                one = order.pop(0)
                self.shed.add(one.ref)
                left -= one.size

    def _put_out(self, results: list[Result]) -> None:
        now = self.join.stream_ms
        chosen = [one for one in results if self._keeps(one)]
        self.decide.expire(now)
        for index, (text, frame) in enumerate(chosen):
            both = (self.records.get((Side.TEXT, text or 0)) if text is not None else None,
                    self.records.get((Side.FRAME, frame or 0)) if frame is not None else None)  # fmt: skip
            refs = [one.ref for one in both if one is not None]
            is_late = any(ref in self.late for ref in refs)
            is_shed = any(ref in self.shed for ref in refs)
            self.scored.append((text, frame, is_late, is_shed, now))
            observation = Observation(0, index, "", *both, is_late, is_shed)
            self.decide.judge(observation, self.scores.of(observation), now)

    def _keeps(self, result: Result) -> bool:
        text, frame = result
        if frame is None:
            return True
        if text is None:
            record = self.records[(Side.FRAME, frame)]
            return record.ref not in self.shed and self.thinning.keeps_frame(record)
        pair = self.records[(Side.TEXT, text)], self.records[(Side.FRAME, frame)]
        return self.thinning.keeps_pair(*pair, self.sample_ms[text])
