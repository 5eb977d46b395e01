"""The topics of a deployment by their names. It must not know what is on them."""

from __future__ import annotations

import msgspec

from stream_app.core.types import Side


class Topics(msgspec.Struct, frozen=True, kw_only=True):
    """Names of the topics of a deployment."""

    frames: str
    texts: str
    alerts: str
    decisions: str
    journal: str
    state: str
    dead_letters: str

    def of(self, side: Side) -> str:
        """Return the input topic of a side."""
        return self.texts if side is Side.TEXT else self.frames
