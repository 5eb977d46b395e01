"""What a replay or a comparison has to say: one value, from which screen, JSON and page are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.replay.compare import Comparison
from stream_app.replay.expect import Outcome
from stream_app.replay.incidents import Incident

if TYPE_CHECKING:
    from collections.abc import Iterator


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A recording as it was gone through: append times of its first and last input, in ms, None where it has none."""

    name: str
    deployment: str
    first_ms: int | None
    last_ms: int | None
    frames: int
    texts: int


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """What judged. ``name`` is its letter; ``words`` say how it differs from the recording; hashes where known."""

    name: str
    words: str
    model: str
    model_sha256: str
    settings_sha256: str


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side: what judged, its incidents, counters, and what was expected of it."""

    judge: Judge
    incidents: tuple[Incident, ...]
    totals: dict[str, int] = {}
    outcome: Outcome | None = None


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A side that is held against the base."""

    side: Side
    comparison: Comparison


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A replay (no candidates) or a comparison; ``notes`` is what else a reader has to know."""

    recordings: tuple[Recorded, ...]
    base: Side
    candidates: tuple[Candidate, ...] = ()
    operators: int = 1
    notes: tuple[str, ...] = ()
    #: Whether a part of a recording could not be read; the notes say which.
    is_damaged: bool = False

    @property
    def sides(self) -> Iterator[Side]:
        """The base and the sides of the candidates."""
        yield self.base
        for candidate in self.candidates:
            yield candidate.side

    @property
    def is_as_expected(self) -> bool:
        """Whether nothing that was expected failed."""
        return all(side.outcome is None or side.outcome.holds for side in self.sides)

    @property
    def shown(self) -> list[Incident]:
        """The incidents whose frames and sentences are worth a look: what differs, or all of a replay."""
        if not self.candidates:
            return list(self.base.incidents)
        return [
            incident
            for candidate in self.candidates
            for match in candidate.comparison.differing
            for incident in (match.before, match.after)
            if incident is not None
        ]
