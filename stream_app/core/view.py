"""What a task looks like at one moment, as values: for those who watch it and must not touch it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.core.types import Side

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_app.core.task import Task


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """One moment of a task.

    ``stream_ms`` is stream time at the head of the merge order, in ms; ``queued`` are the records that wait in the
    merge, texts and frames; ``in_flight`` the observations that wait for their scores; ``window_bytes`` the image bytes
    that the window holds. ``totals`` are its counts since it first ran, as of the cut.
    """

    stream_ms: int
    queued: tuple[int, int]
    in_flight: int
    window_bytes: int
    thinning_level: int
    has_uncommitted: bool
    totals: Mapping[str, int]


def view_of(task: Task) -> TaskView:
    """Look at a task; what it does later does not show in what is returned."""
    return TaskView(
        stream_ms=task.stream_ms,
        queued=(task.queued(Side.TEXT), task.queued(Side.FRAME)),
        in_flight=task.in_flight,
        window_bytes=task.window_bytes,
        thinning_level=task.thinning_level,
        has_uncommitted=task.has_uncommitted,
        totals=task.totals,
    )
