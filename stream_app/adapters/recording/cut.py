"""Cuts a recording: part of its time, some of its zones, or what bears on one incident, as `vigil record` would have.

In: a recording, and what is wanted. Out: another one, which begins with a keyframe before its range where there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.adapters.recording.choose import Choice
from stream_app.adapters.recording.incident import IncidentSearch
from stream_app.adapters.recording.keyframes import Keyframes, in_words
from stream_app.adapters.recording.layout import Begins, Opening
from stream_app.core.settings import Semantic
from stream_app.replay.recording import About, RecordingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.adapters.recording.read import McapRecording
    from stream_app.adapters.recording.sink import Sink


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of a recording; None takes all."""

    from_ms: int | None = None
    to_ms: int | None = None
    zones: tuple[str, ...] = ()
    incident: str | None = None
    has_pictures: bool = True


def cut(
    recording: McapRecording,
    part: Part,
    open_sink: Callable[[Opening], Sink],
    *,
    version: str,
    tell: Callable[[str], object],
) -> Sink:
    """Cut a recording.

    Args:
        recording: the whole.
        part: what is wanted.
        open_sink: opens the file.
        version: of Vigil.
        tell: is told from when on the part can be verified.

    Raises:
        RecordingError: if there is no such part, or the recording cannot be read.
        OSError: if the file cannot be written.
    """
    about = _about(recording, part)
    keyframes, first = _survey(recording, about)
    begins = recording.begins
    starts = {task: keyframes.start(task, about.from_ms, begins, to_ms=about.to_ms) for task in about.partitions}
    choice = Choice(
        about=about, to_ms=about.to_ms, starts={task: start for task, start in starts.items() if start is not None}
    )
    for task, chosen_start in choice.starts.items():
        for place, offset in chosen_start.places(task):
            first[place] = min(offset, first.get(place, offset))
    if about.zones:
        tell("values of other zones are left out: the recording cannot be verified, only replayed for these zones")
    else:
        for task, start in starts.items():
            tell(in_words(task, start, about.from_ms))
    opening = Opening(
        version=version,
        about=about,
        begins=tuple((*place, offset) for place, offset in first.items()),
        in_force=tuple(start.in_force for start in choice.starts.values()),
    )
    sink = open_sink(opening)
    try:
        for kind, record in recording.records():
            chosen = choice.of(kind, record)
            if chosen is not None:
                sink.add(kind, chosen)
    except BaseException:
        sink.abandon()
        raise
    sink.unreadable += recording.unreadable
    sink.finish()
    return sink


def _about(recording: McapRecording, part: Part) -> About:
    whole = recording.about
    from_ms, to_ms, partitions = part.from_ms, part.to_ms, whole.partitions
    if part.incident is not None:
        search = IncidentSearch(part.incident)
        for kind, record in recording.records():
            if kind == "alerts":
                search.note(record)
        bearing = search.found(_settings(recording))
        from_ms, to_ms, partitions = bearing.from_ms, bearing.to_ms, (bearing.task,)
    from_ms = whole.from_ms if from_ms is None else max(from_ms, whole.from_ms)
    to_ms = whole.to_ms if to_ms is None else min(to_ms, whole.to_ms)
    if from_ms >= to_ms:
        raise RecordingError("expected a part of the recording's time, found none of it in the recording")
    if whole.zones and not set(part.zones) <= set(whole.zones):
        raise RecordingError(
            f"expected zones of the recording ({', '.join(whole.zones)}), found {', '.join(part.zones)}"
        )
    return msgspec.structs.replace(
        whole,
        from_ms=from_ms,
        to_ms=to_ms,
        partitions=partitions,
        zones=part.zones or whole.zones,
        has_pictures=whole.has_pictures and part.has_pictures,
    )


def _settings(recording: McapRecording) -> Semantic:
    """Return the settings in force where the recording begins; Vigil's defaults where it does not say."""
    in_force = recording.opening.in_force
    if not in_force:
        return Semantic()
    return msgspec.json.decode(in_force[0].settings, type=Semantic)


def _survey(recording: McapRecording, about: About) -> tuple[Keyframes, Begins]:
    """Read it once: its keyframes, and the first offset of each partition in the range."""
    keyframes = Keyframes(about.deployment)
    first: Begins = {}
    for kind, record in recording.records():
        if record.timestamp < about.to_ms:
            if kind == "journal":
                keyframes.note(record)
            if record.timestamp >= about.from_ms:
                first.setdefault((kind, record.partition), record.offset)
    return keyframes, first
