"""The recovery port: where a task takes up its work, or why it must not.

In: a partition. Out: a :class:`StartingPoint`. It knows no client library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from stream_app.core.checkpoint import Checkpoint
    from stream_app.core.types import Side


class GapError(Exception):
    """Input that the task still needs is gone. Says expected, found, what to do; the task must not just continue."""


class RecoveryError(Exception):
    """The state could not be read (now); the epoch may be tried again."""


class StartingPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where to start. ``start`` are the next text and frame offsets; ``said`` is what an operator should read."""

    checkpoint: Checkpoint | None
    start: tuple[int, int]
    open_at: tuple[int, int]
    said: tuple[str, ...] = ()


class Recovery(Protocol):
    """Finds where a task takes up its work."""

    async def find(self, partition: int) -> StartingPoint:
        """Return the starting point.

        Raises:
            GapError: if input that the checkpoint needs is gone, or lies beyond the end of the log.
            RecoveryError: if the state cannot be read.
        """
        ...

    async def log_start(self, side: Side, partition: int) -> int:
        """Return the first offset that the log of one side still has.

        Raises:
            RecoveryError: if the brokers cannot be asked.
        """
        ...
