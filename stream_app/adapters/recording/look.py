"""What is in a recording: counts and rates, cameras and their gaps, incidents, and from when on it can be verified.

In: a recording. Out: one value for people and programs. It reads all of it once, in bounded memory but for names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.adapters.recording.choose import is_left_out
from stream_app.adapters.recording.keyframes import Keyframes, in_words
from stream_app.adapters.recording.layout import KINDS
from stream_app.core.event_time import format_event_time
from stream_app.replay.recording import RecordingError
from stream_app.wire.alerts import Alert, decode_alert
from stream_app.wire.message import WireError

if TYPE_CHECKING:
    from stream_app.adapters.recording.read import McapRecording
    from stream_app.replay.recording import About, Kind, TopicRecord


class Flow(msgspec.Struct, kw_only=True):
    """Records of one source. ``bytes`` are of their values, left out or not; times are append times in ms.

    ``unreadable`` counts those that no client can read.
    """

    records: int = 0
    bytes: int = 0
    first_ms: int = 0
    last_ms: int = 0
    longest_gap_ms: int = 0
    left_out: int = 0
    unreadable: int = 0

    @property
    def per_s(self) -> float:
        """Records per second between the first and the last."""
        span_ms = self.last_ms - self.first_ms
        return (self.records - 1) * 1000 / span_ms if span_ms > 0 else 0.0

    def note(self, record: TopicRecord) -> None:
        """Count a record."""
        append_ms = record.append_ms
        if self.records:
            self.longest_gap_ms = max(self.longest_gap_ms, append_ms - self.last_ms)
        else:
            self.first_ms = append_ms
        self.last_ms = max(self.last_ms, append_ms) if self.records else append_ms
        self.records += 1
        self.bytes += record.size
        self.left_out += is_left_out(record)
        self.unreadable += record.lost is not None


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as its newest alert in the recording tells it."""

    id: str
    zone: str
    label: str
    phase: str
    start: str
    end: str
    score: float
    alerts: int


class Looked(msgspec.Struct, kw_only=True):
    """What is in a recording. ``lost`` says what of its files cannot be read; empty where all can."""

    about: About
    files: int
    bytes: int
    kinds: dict[Kind, Flow]
    cameras: dict[str, Flow] = {}
    texts: dict[str, Flow] = {}
    incidents: list[Incident] = []
    verify: list[str] = []
    unreadable: tuple[str, ...] = ()
    repeated: int = 0
    lost: str = ""


def look(recording: McapRecording) -> Looked:
    """Read all of a recording and say what is in it; damage is said, not raised."""
    about = recording.about
    looked = Looked(
        about=about,
        files=len(recording.files),
        bytes=sum(file.size for file in recording.files),
        kinds={kind: Flow() for kind in KINDS},
        unreadable=recording.unreadable,
    )
    keyframes = Keyframes(about.deployment)
    incidents: dict[str, tuple[Alert, int]] = {}
    try:
        for kind, record in recording.records():
            looked.kinds[kind].note(record)
            _note_source(looked, kind, record)
            if kind == "journal":
                keyframes.note(record)
            elif kind == "alerts":
                _note_alert(incidents, record)
    except RecordingError as error:
        looked.lost = str(error)
    looked.repeated = recording.repeated
    looked.incidents = [_incident(alert, count) for alert, count in incidents.values()]
    looked.verify = _verify(recording, keyframes)
    return looked


def _note_source(looked: Looked, kind: Kind, record: TopicRecord) -> None:
    if record.lost is not None:
        return
    zone = (record.key or b"").decode("utf-8", "replace")
    if kind == "frames":
        camera = next((content or b"" for name, content in record.headers if name.lower() == "camera"), b"")
        looked.cameras.setdefault(f"{zone}/{camera.decode('utf-8', 'replace')}", Flow()).note(record)
    elif kind == "texts":
        looked.texts.setdefault(zone, Flow()).note(record)


def _note_alert(incidents: dict[str, tuple[Alert, int]], record: TopicRecord) -> None:
    try:
        alert = decode_alert(record.value, record.headers)
    except WireError:
        return
    if isinstance(alert, Alert):
        _, count = incidents.get(alert.incident, (alert, 0))
        incidents[alert.incident] = (alert, count + 1)


def _incident(alert: Alert, count: int) -> Incident:
    return Incident(
        id=alert.incident,
        zone=alert.zone,
        label=alert.label,
        phase=alert.phase,
        start=alert.start,
        end=alert.end,
        score=alert.score,
        alerts=count,
    )


def _verify(recording: McapRecording, keyframes: Keyframes) -> list[str]:
    about = recording.about
    if about.zones:
        return [f"cannot be verified: only the values of {', '.join(about.zones)} are in it"]
    begins = recording.begins
    starts = {task: keyframes.start(task, about.from_ms, begins) for task in about.partitions}
    return [in_words(task, start, about.from_ms) for task, start in starts.items()] + keyframes.unreadable


def in_lines(looked: Looked) -> list[str]:
    """Return what people want to know first, in lines."""
    about = looked.about
    pictures = "" if about.has_pictures else ", without pictures"
    lines = [
        f"{about.deployment}, {format_event_time(about.from_ms)} to {format_event_time(about.to_ms)}{pictures}",
        f"{looked.files} files, {looked.bytes / 1e6:.1f} MB, tasks {', '.join(map(str, about.partitions))}",
        "",
    ]
    lines += [_flow(kind, flow) for kind, flow in looked.kinds.items()]
    lines += ["", "cameras" if looked.cameras else "no frames"]
    lines += [_flow(f"  {name}", flow, has_gap=True) for name, flow in sorted(looked.cameras.items())]
    lines += ["", "incidents" if looked.incidents else "no incidents"]
    lines += [
        f"  {one.id}  {one.start}  {one.label} in {one.zone}, {one.phase}, {one.score:.2f}, {one.alerts} alerts"
        for one in looked.incidents
    ]
    return [*lines, "", *looked.verify]


def _flow(name: str, flow: Flow, *, has_gap: bool = False) -> str:
    gap = f", longest gap {flow.longest_gap_ms / 1000:.1f} s" if has_gap else ""
    left_out = f", {flow.left_out} values left out" if flow.left_out else ""
    unreadable = f", {flow.unreadable} that no client can read" if flow.unreadable else ""
    amount = f"{flow.records} records, {flow.bytes / 1e6:.1f} MB, {flow.per_s:.1f}/s"
    return f"{name:<14} {amount}{gap}{left_out}{unreadable}"
