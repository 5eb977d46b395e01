"""A token bucket per zone for texts, in append time: a flood on one zone must not delay the others for long.

In: a text's zone and append time. Out: whether it may pass. Texts beyond the bound become dead letters; the first of
a flood also makes a notice. The level is part of the checkpoint, so a crash refills nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.core.join import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.core.settings import Semantic

#: Zones whose bucket is not full and is remembered; beyond it the fullest counts as full.
MAX_ZONES = 1_024
#: One text costs this many milli-tokens; a rate of r per second refills r milli-tokens per millisecond.
_COST = 1_000


class Level(msgspec.Struct, frozen=True, array_like=True):
    """A zone's bucket: milli-tokens left at ``at_ms`` (append time), and whether this flood was already reported."""

    tokens: int
    at_ms: int
    is_reported: bool = False


class Rate:
    """The buckets of all zones of one task."""

    __slots__ = ("_full_at", "_levels", "_settings")

    def __init__(self, settings: Semantic) -> None:
        self._settings = settings
        self._levels: dict[str, list[tuple[int, Level]]] = {}
        #: At the head, when the bucket of each zone will be full again; some may be full already.
        self._full_at: dict[str, int] = {}

    def allows(self, zone: str, append_ms: int, sequence: int) -> tuple[bool, bool]:
        """Spend a token if there is one.

        Returns:
            Whether the text may pass, and whether this is the first refusal of a flood (to be reported once; a flood
            is over when the bucket is full again).
        """
        full = self._settings.rate_burst * _COST
        if zone not in self._full_at and len(self._full_at) >= MAX_ZONES:
            self._forget_one(append_ms, sequence)
        marks = self._levels.setdefault(zone, [(NEVER, Level(full, append_ms))])
        last = marks[-1][1]
        at_ms = max(last.at_ms, append_ms)
        tokens = _tokens(last, at_ms, self._settings)
        is_reported = last.is_reported and tokens < full
        passes = tokens >= _COST
        is_first = not passes and not is_reported
        level = Level(tokens - _COST if passes else tokens, at_ms, is_reported or is_first)
        if marks[-1][0] == sequence:
            marks[-1] = (sequence, level)
        else:
            marks.append((sequence, level))
        self._full_at[zone] = self._when_full(level)
        return passes, is_first

    def _forget_one(self, append_ms: int, sequence: int) -> None:
        """Take the fullest bucket for full from this sequence number on, unless one is."""
        full_at = self._full_at
        for zone in [zone for zone, at_ms in full_at.items() if at_ms <= append_ms]:
            del full_at[zone]
        if len(full_at) >= MAX_ZONES:
            zone = min(full_at, key=lambda zone: (full_at[zone], zone))
            del full_at[zone]
            self._levels[zone].append((sequence, Level(self._settings.rate_burst * _COST, append_ms)))

    def _when_full(self, level: Level) -> int:
        missing = self._settings.rate_burst * _COST - level.tokens
        return level.at_ms - (-missing // self._settings.rate_per_s)

    def switch(self, settings: Semantic, sequence: int, append_ms: int) -> None:
        """Go by other settings from this sequence number on: full stays full, and no bucket holds more than the new."""
        full = settings.rate_burst * _COST
        for marks in self._levels.values():
            last = marks[-1][1]
            if _is_full(last, append_ms, self._settings):
                # As if it had been forgotten, which depends on commits.
                marks.append((sequence, Level(full, append_ms)))
            else:
                tokens = _tokens(last, append_ms, self._settings)
                marks.append((sequence, Level(min(full, tokens), append_ms, last.is_reported)))
        self._settings = settings
        self._full_at = {zone: self._when_full(marks[-1][1]) for zone, marks in self._levels.items()}

    def levels_at(self, cut: int, append_ms: int, settings: Semantic) -> Iterator[tuple[str, Level]]:
        """Yield the buckets that were not full at ``cut``, by the newest append time and the settings of then."""
        for zone, marks in self._levels.items():
            levels = [level for sequence, level in marks if NEVER < sequence <= cut]
            if levels and not _is_full(levels[-1], append_ms, settings):
                yield zone, levels[-1]

    def forget(self, cut: int, append_ms: int, settings: Semantic) -> None:
        """Drop what no state at or after ``cut`` needs, by the newest append time and the settings of then."""
        for zone in list(self._levels):
            marks = self._levels[zone]
            while len(marks) > 1 and marks[1][0] <= cut:
                del marks[0]
            if len(marks) == 1 and marks[0][0] <= cut and _is_full(marks[0][1], append_ms, settings):
                del self._levels[zone]

    def restore(self, levels: dict[str, Level]) -> None:
        """Take up the state of a checkpoint."""
        # The mark counts as made at the checkpoint: 1 is below every sequence number still to come.
        self._levels = {zone: [(1, level)] for zone, level in levels.items()}
        self._full_at = {zone: self._when_full(level) for zone, level in levels.items()}


def _tokens(level: Level, at_ms: int, settings: Semantic) -> int:
    """Return the milli-tokens at an append time that is not before the level's."""
    return min(settings.rate_burst * _COST, level.tokens + (at_ms - level.at_ms) * settings.rate_per_s)


def _is_full(level: Level, append_ms: int, settings: Semantic) -> bool:
    return _tokens(level, max(append_ms, level.at_ms), settings) == settings.rate_burst * _COST
