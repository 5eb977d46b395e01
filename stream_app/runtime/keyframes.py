"""When the journal gets a keyframe: with the first step of an epoch, then whenever stream time has moved on by enough.

In: steps in their order. Out: whether one should carry its checkpoint. By stream time, not by the clock: a backlog is
worked off much faster than it came, and a recording of it has to begin at as many places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_app.core.effects import Step


class Keyframes:
    """The distance between the keyframes of one epoch."""

    __slots__ = ("_due_ms", "_every_ms")

    def __init__(self, every_ms: int) -> None:
        self._every_ms = every_ms
        self._due_ms: int | None = None

    def is_due(self, step: Step) -> bool:
        """Return whether this step should carry a keyframe; it is then taken to do so."""
        if self._due_ms is not None and step.stream_ms < self._due_ms:
            return False
        self._due_ms = step.stream_ms + self._every_ms
        return True
