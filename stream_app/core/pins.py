"""Whose bytes are still needed: by the window, by a score that is awaited, by a dead letter that is not yet committed.

In: pins that are set and taken off, and what left the window. Out: records whose bytes and features may go. A record is
never named while the window or a pin needs it; naming one twice is harmless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.join import NEVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_app.core.join import Held
    from stream_app.core.types import Observation, Ref


class Pins:
    """The pins on one task's records, counted as a buffer pool counts them."""

    __slots__ = ("_pins", "_released", "_window")

    def __init__(self, window: Mapping[Ref, Held]) -> None:
        """Begin without pins; ``window`` is looked at, never changed: a held record needs its bytes until shed."""
        self._window = window
        self._pins: dict[Ref, int] = {}
        self._released: list[Ref] = []

    def pin(self, ref: Ref) -> None:
        """Keep a record's bytes until they are unpinned as often."""
        self._pins[ref] = self._pins.get(ref, 0) + 1

    def unpin(self, ref: Ref) -> None:
        """Take one pin off."""
        left = self._pins[ref] - 1
        if left:
            self._pins[ref] = left
        else:
            del self._pins[ref]
            self.let_go(ref)

    def pin_both(self, observation: Observation) -> None:
        """Pin both sides of an observation."""
        for record in (observation.text, observation.frame):
            if record is not None:
                self.pin(record.ref)

    def unpin_both(self, observation: Observation) -> None:
        """Take those pins off."""
        for record in (observation.text, observation.frame):
            if record is not None:
                self.unpin(record.ref)

    def let_go(self, ref: Ref) -> None:
        """Release a record unless the window or a pin needs it."""
        held = self._window.get(ref)
        if ref not in self._pins and (held is None or held.shed != NEVER):
            self._released.append(ref)

    def take_released(self) -> tuple[Ref, ...]:
        """Return what was released since the last call."""
        if not self._released:
            return ()
        released, self._released = tuple(self._released), []
        return released
