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
from stream_app.replay.reading import readable
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
) -> tuple[Sink, str]:
    """Cut a recording, as far as it can be read.

    Args:
        recording: the whole.
        part: what is wanted.
        open_sink: opens the file.
        version: of Vigil.
        tell: is told from when on the part can be verified, and of damage behind it.

    Returns:
        The file, and what is said of the rest where the part ends before it should; '' where it is whole.

    Raises:
        RecordingError: if there is no such part, or none of it can be read.
        OSError: if the file cannot be written.
    """
    about, lost = _as_far_as_it_goes(recording, _about(recording, part), tell)
    keyframes, first, busy = _survey(recording, about)
    begins = recording.begins
    starts = {task: keyframes.start(task, about.from_ms, begins, to_ms=about.to_ms) for task in busy}
    choice = Choice(
        about=about,
        to_ms=about.to_ms,
        starts={task: start for task, start in starts.items() if start is not None},
        reached=keyframes.reached,
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
        for kind, record in readable(recording):
            chosen = choice.of(kind, record)
            if chosen is not None:
                sink.add(kind, chosen)
    except BaseException:
        sink.abandon()
        raise
    sink.unreadable += recording.unreadable
    sink.finish()
    return sink, lost


def _as_far_as_it_goes(recording: McapRecording, about: About, tell: Callable[[str], object]) -> tuple[About, str]:
    """Return what of a part lies before any damage, and what is said of the rest; '' where the part is whole.

    Raises:
        RecordingError: if none of it does.
    """
    newest_ms = about.from_ms
    try:
        for _, record in recording.records():
            newest_ms = max(newest_ms, record.timestamp)
    except RecordingError as error:
        if newest_ms >= about.to_ms:
            tell(f"LOST, behind what is cut: {error}")
            return about, ""
        if newest_ms <= about.from_ms:
            raise
        # Of what was appended in the last millisecond, some may be lost.
        return msgspec.structs.replace(about, to_ms=newest_ms), str(error)
    return about, ""


def _about(recording: McapRecording, part: Part) -> About:
    whole = recording.about
    from_ms, to_ms, partitions = part.from_ms, part.to_ms, whole.partitions
    if part.incident is not None:
        search = IncidentSearch(part.incident)
        for kind, record in readable(recording):
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


def _survey(recording: McapRecording, about: About) -> tuple[Keyframes, Begins, list[int]]:
    """Read it once: its keyframes, the first offset of each partition in the range, and the tasks that have inputs."""
    keyframes = Keyframes(about.deployment)
    first: Begins = {}
    busy: set[int] = set()
    for kind, record in readable(recording):
        if kind in {"frames", "texts"}:
            busy.add(record.partition)
        if record.append_ms < about.to_ms:
            if kind == "journal":
                keyframes.note(record)
            if record.append_ms >= about.from_ms:
                first.setdefault((kind, record.partition), record.offset)
    return keyframes, first, [task for task in about.partitions if task in busy]
