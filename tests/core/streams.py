"""Random streams for a task: records of both sides in one merge order, with ticks and thinning levels in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from stream_app.core.settings import How, Semantic
from stream_app.core.types import Side
from tests.core.drive import T0, Raw, Scores, raw_frame, raw_text

if TYPE_CHECKING:
    from collections.abc import Sequence

HOWS: tuple[How, ...] = ("right", "left", "outer", "inner")


@dataclass(frozen=True, slots=True)
class Arrive:
    """A record takes its place in the merge order."""

    side: Side
    raw: Raw


@dataclass(frozen=True, slots=True)
class Tick:
    """Stream time is advanced."""

    to_ms: int


@dataclass(frozen=True, slots=True)
class Level:
    """A thinning level is put in force."""

    level: int


Op = Arrive | Tick | Level


@dataclass
class Stream:
    """Operations in merge order, the log they come from, and the model that scores them."""

    settings: Semantic
    ops: list[Op] = field(default_factory=list)
    log: dict[Side, Sequence[Raw]] = field(default_factory=dict)
    scores: Scores = field(default_factory=Scores)


@st.composite
def semantics(draw: st.DrawFn) -> Semantic:
    """Small windows, one bound possibly negative, tight bounds on bytes, rates and sampling; all within the rules."""
    before_ms = draw(st.sampled_from((20, 20, 0, 40, -10)))
    after_ms = draw(st.sampled_from((20, 20, 10, 40) if before_ms < 0 else (20, 20, 0, 40)))
    grace_ms = draw(st.sampled_from((10, 0, 30)))
    return Semantic(
        before_ms=before_ms,
        after_ms=after_ms,
        grace_ms=grace_ms,
        how=draw(st.sampled_from(HOWS)),
        sample_ms=draw(st.sampled_from((1, 10, 30))),
        unmatched_every_ms=draw(st.sampled_from((1, 25, 100))),
        quiet_ms=max(1, before_ms + after_ms + grace_ms) + draw(st.sampled_from((0, 50))),
        update_every_ms=draw(st.sampled_from((0, 15, 60))),
        open_texts=draw(st.sampled_from((1, 1, 2, 3))),
        open_within_ms=draw(st.sampled_from((0, 40, 90))),
        max_ahead_ms=20,
        rate_per_s=draw(st.sampled_from((20, 1_000))),
        rate_burst=draw(st.sampled_from((2, 1_000))),
        window_bytes=draw(st.sampled_from((1, 90, 150, 1_000_000))),
    ).check()


_GAPS = st.sampled_from((0, 1, 0, 1, 3, 3, 10, 10, 25, 80))
_RECORDS = st.tuples(
    st.sampled_from(Side),
    _GAPS,
    st.sampled_from(
        (0, 0, 0, 0, 1, 1, 5, 5, 9, 9, 20, 20, 45, 90, 200, -5, -5, -19, -19, -21)
    ),  # how far the event lies back; -21: refused
    st.sampled_from("xxxxxxxy"),
    st.sampled_from(("c1", "c1", "c2")),
    st.sampled_from((2, 1, 0, 3, -1, -2)),  # mood
    st.sampled_from((None, None, None, None, "a", "b")),  # CloudEvents id
    st.sampled_from((40, 60, 40, 60, 40, 60, 40, 0)),  # bytes of a frame, 0: refused as empty
    st.integers(1, 10),  # 10: its scoring fails; else a text's severity, up to 5
)
_TICKS = st.tuples(st.just("tick"), _GAPS)
_LEVELS = st.tuples(st.just("level"), st.integers(0, 3))


@st.composite
def streams(draw: st.DrawFn, *, max_size: int = 36) -> Stream:
    """Draw a stream with everything in it that may come: late records, fast clocks, duplicates, refusals, ticks."""
    stream = Stream(draw(semantics()))
    weighted = st.one_of(_RECORDS, _RECORDS, _RECORDS, _RECORDS, _RECORDS, _RECORDS, _TICKS, _LEVELS)
    logs: dict[Side, list[Raw]] = {Side.TEXT: [], Side.FRAME: []}
    now = T0
    # Left alone, most streams would be too short to contain a pair.
    min_size = draw(st.sampled_from((max_size, max_size // 2, 0)))
    for shape in draw(st.lists(weighted, min_size=min_size, max_size=max_size)):
        if shape[0] == "tick":
            now += shape[1]
            stream.ops.append(Tick(now))
        elif shape[0] == "level":
            stream.ops.append(Level(shape[1]))
        else:
            side, gap, back, zone, camera, mood, identity, size, luck = shape
            now += gap
            offset = len(logs[side]) * 2 + 3  # gaps: transactions leave markers in the log
            if side is Side.TEXT:
                severity = luck if luck <= 5 else 0
                raw = raw_text(offset, now, event_ms=now - back, zone=zone, severity=severity, identity=identity)
            else:
                raw = raw_frame(
                    offset, now, event_ms=now - back, zone=zone, camera=camera, size=size or 40, identity=identity
                )
                if not size:
                    raw = Raw(offset, now, raw.key, b"")
            logs[side].append(raw)
            stream.ops.append(Arrive(side, raw))
            stream.scores.moods[(side, offset)] = mood
            if luck == 10:
                stream.scores.failing.add((side, offset))
    for later_ms in (1_000, 2_000, 3_000, 4_000):
        stream.ops.append(Tick(now + later_ms))
    stream.log = {side: list(raws) for side, raws in logs.items()}
    return stream
