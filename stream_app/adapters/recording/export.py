"""Takes a recording apart into the files that `vigil decisions` and `vigil evidence` write: one way to training rows.

In: a recording. Out: a folder: ``decisions.jsonl``, ``evidence/`` with one file per frame and text that was judged, and
``incidents/ID/`` with each incident's newest alert and what it names. `vigil-export data verdicts` and `from-decisions`
read these, and make the data set with its ``metadata.jsonl``. Without verdicts there is none: a row without a label
would say that nothing happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.adapters.recording.choose import is_left_out
from stream_app.files import open_below, write_below
from stream_app.replay.reading import readable
from stream_app.wire.alerts import Alert, decode_alert
from stream_app.wire.decisions import decode_decision
from stream_app.wire.evidence import ALERT, INDEX, Piece, file_name, index_of, piece_of
from stream_app.wire.message import WireError
from stream_app.wire.recorded import decision_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stream_app.adapters.recording.read import McapRecording
    from stream_app.replay.recording import TopicRecord
    from stream_app.wire.references import EvidenceRef

_Place = tuple[str, int, int]


class Exported(msgspec.Struct):
    """What was written, and how much of what is named is not in the recording. ``lost`` says what cannot be read."""

    decisions: int
    incidents: int
    files: int
    missing: int
    lost: str = ""


class _Named(msgspec.Struct):
    """What decisions and alerts name, each once; and the alerts of each incident."""

    pieces: dict[_Place, Piece] = {}
    alerts: dict[str, list[tuple[Alert, bytes]]] = {}

    def add(self, evidence: Iterable[EvidenceRef]) -> None:
        for ref in evidence:
            self.pieces.setdefault((ref.topic, ref.partition, ref.offset), piece_of(ref))


def export(recording: McapRecording, out: Path) -> Exported:
    """Take a recording apart.

    Args:
        recording: the whole.
        out: the folder; it exists and is empty.

    What cannot be read of the recording is left out, and said in the result.

    Raises:
        OSError: if the folder cannot be written.
    """
    done, named = Exported(decisions=0, incidents=0, files=0, missing=0), _Named()
    topic = recording.about.topics.decisions
    lost: list[str] = []
    with (out / "decisions.jsonl").open("xb") as lines:
        for kind, record in readable(recording, lost):
            if kind == "decisions" and _is_decision(named, record):
                lines.write(decision_line(topic, record.partition, record.offset, record.timestamp, record.value))
                done.decisions += 1
            elif kind == "alerts":
                _note_alert(named, record)
    _write_records(recording, named, out / "evidence")
    for incident, alerts in named.alerts.items():
        _write_incident(out / "incidents" / incident, alerts, named)
    done.incidents = len(named.alerts)
    done.files = sum(bool(piece.file) for piece in named.pieces.values())
    done.missing = len(named.pieces) - done.files
    done.lost = "; ".join(lost)
    return done


def _is_decision(named: _Named, record: TopicRecord) -> bool:
    try:
        named.add(decode_decision(record.value).evidence)
    except WireError:
        return False
    return True


def _note_alert(named: _Named, record: TopicRecord) -> None:
    try:
        alert = decode_alert(record.value, record.headers)
    except WireError:
        return
    if isinstance(alert, Alert):
        named.add(alert.evidence)
        named.alerts.setdefault(alert.incident, []).append((alert, record.value or b""))


def _write_records(recording: McapRecording, named: _Named, folder: Path) -> None:
    """Write what is named, and note its files in the pieces."""
    open_below(folder)
    topics = recording.about.topics
    taken: set[str] = set()
    for kind, record in readable(recording):
        if kind not in {"frames", "texts"}:
            continue
        place = (topics.frames if kind == "frames" else topics.texts, record.partition, record.offset)
        piece = named.pieces.get(place)
        if piece is None:
            continue
        if is_left_out(record):
            named.pieces[place] = msgspec.structs.replace(piece, missing="its bytes were left out of the recording")
            continue
        name = file_name(piece, record.value or b"", taken)
        write_below(folder, name, record.value or b"")
        named.pieces[place] = msgspec.structs.replace(piece, file=name)
    for place, piece in named.pieces.items():
        if not piece.file and not piece.missing:
            named.pieces[place] = msgspec.structs.replace(piece, missing="not in the recording")
    write_below(folder, INDEX, index_of(tuple(named.pieces.values())))


def _write_incident(folder: Path, alerts: list[tuple[Alert, bytes]], named: _Named) -> None:
    """Write an incident's newest alert, and which pieces it names: verdicts may be about the incident."""
    places = dict.fromkeys((ref.topic, ref.partition, ref.offset) for alert, _ in alerts for ref in alert.evidence)
    pieces = []
    for piece in map(named.pieces.__getitem__, places):
        # Its file lies with those of all others.
        missing = piece.missing or f"in ../../evidence: {piece.file}"
        pieces.append(msgspec.structs.replace(piece, file="", missing=missing))
    open_below(folder)
    newest = max(alerts, key=lambda found: found[0].number)
    write_below(folder, ALERT, msgspec.json.format(newest[1]) + b"\n")
    write_below(folder, INDEX, index_of(pieces))
