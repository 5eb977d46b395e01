"""Drives the join stage alone, one record or tick a step, and keeps what each step put out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from stream_app.core.checkpoint import NO_RECORD_MS
from stream_app.core.join import Held, Join
from stream_app.core.settings import How, Semantic
from stream_app.core.types import Record, Side
from tests.core.reference import SlowJoin

if TYPE_CHECKING:
    from collections.abc import Hashable

#: Later than every time of a case, with room for its bounds.
END_MS = 1 << 58


def join_settings(before_ms: int, after_ms: int, grace_ms: int, how: How) -> Semantic:
    """Return checked settings with these join bounds."""
    quiet_ms = max(1, before_ms + after_ms + grace_ms)
    return Semantic(before_ms=before_ms, after_ms=after_ms, grace_ms=grace_ms, how=how, quiet_ms=quiet_ms).check()


class Output(NamedTuple):
    """A pair, or a record alone: the numbers of the steps at which its records were admitted."""

    frame: int | None
    text: int | None


@dataclass
class JoinDriver:
    """One join. ``outputs[n]`` is what step n put out, in order; ``late`` the steps whose record was late."""

    settings: Semantic
    join: Join = field(init=False)
    outputs: list[list[Output]] = field(default_factory=list)
    records: dict[int, Record] = field(default_factory=dict)
    late: set[int] = field(default_factory=set)
    stream_ms: list[int] = field(default_factory=list)
    _moves: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.join = Join(self.settings, NO_RECORD_MS)

    def admit(self, side: Side, event_ms: int, *, key: Hashable = "", to_ms: int | None = None) -> list[Output]:
        """Admit a record appended at its event time, or at ``to_ms`` where that is earlier."""
        step = len(self.outputs)
        record = Record(side, step, event_ms, event_ms, repr(key), camera="c")
        self.records[step] = record
        held = Held(record, step + 1, sample_ms=1)
        moves_to_ms = event_ms if to_ms is None else min(event_ms, to_ms)
        unmatched, pairs = self.join.admit(held, moves_to_ms)
        if held.is_late:
            self.late.add(step)
        outputs = [_alone(one) for one in unmatched]
        outputs += [Output(frame.record.offset, text.record.offset) for text, frame in pairs]
        self._keep(outputs, moves_to_ms)
        return outputs

    def tick(self, to_ms: int) -> list[Output]:
        """Advance stream time."""
        outputs = [_alone(one) for one in self.join.tick(len(self.outputs) + 1, to_ms)]
        self._keep(outputs, to_ms)
        return outputs

    def difference_from_definition(self) -> str:
        """Say at which step the join put out something else than the five steps of the design, or ''."""
        slow = SlowJoin(self.settings, NO_RECORD_MS)
        for step, (to_ms, found) in enumerate(zip(self._moves, self.outputs, strict=True)):
            record = self.records.get(step)
            results = slow.tick(to_ms) if record is None else slow.admit(record, to_ms)
            expected = [Output(frame, text) for text, frame in results]
            is_late = record is not None and slow.is_late(record)
            if (found, step in self.late) != (expected, is_late):
                return f"step {step}: by definition {expected}, late {is_late}; found {found}, late {step in self.late}"
        return ""

    def _keep(self, outputs: list[Output], to_ms: int) -> None:
        self.outputs.append(outputs)
        self._moves.append(to_ms)
        self.stream_ms.append(self.join.stream_ms)
        self.join.removed.clear()

    @property
    def pairs(self) -> list[Output]:
        """All pairs so far, in order."""
        return [one for step in self.outputs for one in step if one.frame is not None and one.text is not None]

    @property
    def unmatched(self) -> list[int]:
        """The steps of all records that came out alone, in order."""
        both = [one for step in self.outputs for one in step if one.frame is None or one.text is None]
        return [one.frame if one.frame is not None else one.text for one in both]  # type: ignore[misc]


def _alone(held: Held) -> Output:
    offset = held.record.offset
    return Output(offset, None) if held.record.side is Side.FRAME else Output(None, offset)
