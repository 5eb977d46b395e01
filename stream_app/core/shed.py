"""The window's bound in bytes: at the bound it drops image bytes, keeps metadata, and says so. Texts are never shed.

In: frames that enter and leave the window, with their sizes. Out: the frames whose bytes are to go. By the thinning
rule: first frames that are not the lowest offset of their camera's bucket, then the oldest. The sum is a function of
the merge order alone, so the same recording sheds the same frames on any machine speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.join import NEVER, Held
from stream_app.core.types import Side

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.core.settings import Semantic


class Shed:
    """The bytes that the frames of one task's window hold."""

    __slots__ = ("_bound", "_sample_ms", "bytes")

    def __init__(self, settings: Semantic) -> None:
        self._bound = settings.window_bytes
        self._sample_ms = settings.sample_ms
        self.bytes = 0

    def switch(self, settings: Semantic) -> None:
        """Go by other settings from here on; what is over a lower bound goes when the next frame enters."""
        self._bound = settings.window_bytes
        self._sample_ms = settings.sample_ms

    def enter(self, held: Held) -> bool:
        """Count a frame that the window now holds; return whether the bound is passed."""
        if held.record.side is Side.FRAME and held.shed == NEVER:
            self.bytes += held.record.size
        return self.bytes > self._bound

    def leave(self, held: Held) -> None:
        """Take off a frame that left the window."""
        if held.record.side is Side.FRAME and held.shed == NEVER:
            self.bytes -= held.record.size

    def choose(self, window: Iterable[Held], sequence: int) -> list[Held]:
        """Mark and return the frames whose bytes are dropped, until an eighth of the bound is free again."""
        frames = sorted(
            (held for held in window if held.record.side is Side.FRAME and held.shed == NEVER), key=_by_offset
        )
        firsts: set[tuple[str, str, int]] = set()
        rest: list[Held] = []
        lowest: list[Held] = []
        for held in frames:
            record = held.record
            bucket = (record.zone, record.camera, record.event_ms // self._sample_ms)
            (rest if bucket in firsts else lowest).append(held)
            firsts.add(bucket)
        chosen: list[Held] = []
        for held in (*rest, *lowest):
            if self.bytes <= self._bound - self._bound // 8:
                break
            held.shed = sequence
            self.bytes -= held.record.size
            chosen.append(held)
        return chosen


def _by_offset(held: Held) -> int:
    return held.record.offset
