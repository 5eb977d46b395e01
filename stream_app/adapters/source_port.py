"""The source as a port: what delivers raw records, and what takes them. Faust implements it; replay and tests do too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.core.types import RawRecord, Side


class Progress(msgspec.Struct, frozen=True, gc=False):
    """How far one side's fetching is.

    ``is_at_end``: at the last fetch response the position was the end, and every record below it was handed over.
    ``fetched_at``: ``time.monotonic()`` of that response. ``append_ms``: broker time then, None while unknown.
    """

    is_at_end: bool
    fetched_at: float
    append_ms: int | None


class SourceHandler(Protocol):
    """Takes what the source brings; every call comes on the event loop and must be quick."""

    def on_assigned(self, partitions: frozenset[int]) -> None:
        """These tasks are newly ours: partition p of both input topics."""
        ...

    def on_revoked(self, partitions: frozenset[int]) -> None:
        """These tasks are no longer ours."""
        ...

    def on_records(self, side: Side, partition: int, records: Sequence[RawRecord]) -> None:
        """Records of one side, in offset order."""
        ...


class Source(Protocol):
    """Delivers raw records of the tasks that are ours."""

    async def open(self, side: Side, partition: int, offset: int) -> None:
        """Deliver this side from ``offset`` on, in order; nothing fetched before leaks through. Before it, nothing."""
        ...

    def press(self, side: Side, partition: int) -> None:
        """Stop delivering this side, losing nothing; at most one fetch more still comes."""
        ...

    def release(self, side: Side, partition: int) -> None:
        """Go on delivering this side."""
        ...

    def progress(self, side: Side, partition: int) -> Progress | None:
        """Return how far the fetching of this side is; None before its first fetch response."""
        ...
