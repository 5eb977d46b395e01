"""Whose bytes are still needed: by the window, by a score that is awaited, by a dead letter that is not yet committed.

In: uses that begin and end, and what left the window. Out: records whose bytes and features may go. A record is never
named while somebody needs it; naming one twice is harmless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.join import NEVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_app.core.join import Held
    from stream_app.core.types import Observation, Ref


class Keep:
    """The uses of one task's records."""

    __slots__ = ("_released", "_uses", "_window")

    def __init__(self, window: Mapping[Ref, Held]) -> None:
        """Begin without uses; ``window`` is looked at, never changed: a held record needs its bytes until shed."""
        self._window = window
        self._uses: dict[Ref, int] = {}
        self._released: list[Ref] = []

    def use(self, ref: Ref) -> None:
        """Begin a use."""
        self._uses[ref] = self._uses.get(ref, 0) + 1

    def unuse(self, ref: Ref) -> None:
        """End a use."""
        left = self._uses[ref] - 1
        if left:
            self._uses[ref] = left
        else:
            del self._uses[ref]
            self.let_go(ref)

    def use_both(self, observation: Observation) -> None:
        """Begin a use of both sides of an observation."""
        for record in (observation.text, observation.frame):
            if record is not None:
                self.use(record.ref)

    def unuse_both(self, observation: Observation) -> None:
        """End it."""
        for record in (observation.text, observation.frame):
            if record is not None:
                self.unuse(record.ref)

    def let_go(self, ref: Ref) -> None:
        """Release a record unless somebody needs it."""
        # As in is_needed, which would be a call more for every record.
        held = self._window.get(ref)
        if ref not in self._uses and (held is None or held.shed != NEVER):
            self._released.append(ref)

    def is_needed(self, ref: Ref) -> bool:
        """Return whether the record's bytes are needed by the window or by a use."""
        held = self._window.get(ref)
        return ref in self._uses or (held is not None and held.shed == NEVER)

    def take_released(self) -> tuple[Ref, ...]:
        """Return what was released since the last call."""
        if not self._released:
            return ()
        released, self._released = tuple(self._released), []
        return released
