"""Reading past damage: what is good of a recording is used, what is lost is said once, by whoever reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.replay.recording import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.replay.recording import Kind, Recording, TopicRecord


def readable(recording: Recording, lost: list[str] | None = None) -> Iterator[tuple[Kind, TopicRecord]]:
    """Yield what can be read of a recording.

    Args:
        recording: open.
        lost: gets what is said of the rest; None where somebody else has said it.
    """
    try:
        yield from recording.records()
    except RecordingError as error:
        if lost is not None:
            lost.append(str(error))
