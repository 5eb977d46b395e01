"""Incidents, put together from their alerts: those of a replay, or those that stand on the alerts topic.

In: alerts in their order. Out: one :class:`Incident` each, in order of time. Scores are probabilities, as people and
the topic have them: two that differ in no digit that is shown are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from stream_app.core.event_time import parse_event_time
from stream_app.core.score import probability
from stream_app.replay.reading import readable
from stream_app.replay.recording import RecordingError
from stream_app.wire.alerts import Alert, decode_alert
from stream_app.wire.message import WireError

if TYPE_CHECKING:
    from stream_app.core import types as core
    from stream_app.replay.recording import Recording
    from stream_app.wire.references import EvidenceRef
    from stream_app.wire.topics import Topics


class Place(msgspec.Struct, frozen=True, order=True):
    """Coordinates of a record; written ``topic/partition/offset``."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Piece(msgspec.Struct, frozen=True):
    """A frame or text behind an incident; ``time_ms`` is its event time."""

    kind: Literal["text", "frame"]
    place: Place
    time_ms: int
    camera: str = ""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as its last alert has it. ``start_ms`` to ``end_ms`` are the event times of its evidence.

    ``alerts`` are the ids of its alerts. ``opening`` is the record that opened it; where the recording begins later,
    the first that it names. ``is_closed`` says whether the recording saw it close.
    """

    id: str
    zone: str
    label: str
    start_ms: int
    end_ms: int
    score: float
    threshold: float
    severity: int | None
    cameras: tuple[str, ...]
    evidence: tuple[Piece, ...]
    evidence_left_out: int
    opening: Piece
    alerts: tuple[str, ...]
    is_closed: bool


class Incidents:
    """Gathers incidents from their alerts."""

    def __init__(self, topics: Topics) -> None:
        """Begin without any; ``topics`` are those of the deployment."""
        self._topics = topics
        self._found: dict[str, Incident] = {}

    def take(self, alert: core.Alert, partition: int) -> None:
        """Take an alert of a replay, of this task."""
        evidence = tuple(
            Piece(
                "text" if one.side.kind == "text" else "frame",
                Place(self._topics.of(one.side), partition, one.offset),
                one.event_ms,
                one.camera,
            )
            for one in alert.evidence
        )
        self._put(
            Incident(
                id=alert.incident,
                zone=alert.zone,
                label=alert.label,
                start_ms=alert.start_ms,
                end_ms=alert.end_ms,
                score=probability(alert.score),
                threshold=probability(alert.threshold),
                severity=alert.severity or None,
                cameras=alert.cameras,
                evidence=evidence,
                evidence_left_out=alert.evidence_left_out,
                opening=evidence[0],
                alerts=(alert.id,),
                is_closed=alert.phase == "closed",
            )
        )

    def take_recorded(self, alert: Alert) -> None:
        """Take an alert as it stands on its topic."""
        evidence = tuple(_piece(ref) for ref in alert.evidence)
        self._put(
            Incident(
                id=alert.incident,
                zone=alert.zone,
                label=alert.label,
                start_ms=parse_event_time(alert.start),
                end_ms=parse_event_time(alert.end),
                score=alert.score,
                threshold=alert.threshold,
                severity=alert.severity,
                cameras=alert.cameras,
                evidence=evidence,
                evidence_left_out=alert.evidence_left_out,
                opening=evidence[0],
                alerts=(alert.id,),
                is_closed=alert.phase == "closed",
            )
        )

    def all(self) -> tuple[Incident, ...]:
        """Return them in order of time."""
        return tuple(sorted(self._found.values(), key=in_order_of_time))

    def _put(self, newest: Incident) -> None:
        before = self._found.get(newest.id)
        if before is not None:
            alerts = tuple(dict.fromkeys((*before.alerts, *newest.alerts)))
            newest = msgspec.structs.replace(newest, opening=before.opening, alerts=alerts)
        self._found[newest.id] = newest


def in_order_of_time(incident: Incident) -> tuple[int, str, str, str]:
    """Return the place of an incident among others."""
    return (incident.start_ms, incident.zone, incident.label, incident.id)


def recorded_incidents(recording: Recording) -> tuple[Incident, ...]:
    """Return the incidents whose alerts a recording holds, as far as it can be read.

    Raises:
        RecordingError: if an alert of it is not what its type says.
    """
    found = Incidents(recording.about.topics)
    for kind, record in readable(recording):
        if kind != "alerts":
            continue
        try:
            alert = decode_alert(record.value, record.headers)
        except WireError as error:
            raise RecordingError(f"alert at partition {record.partition}, offset {record.offset}: {error}") from error
        if isinstance(alert, Alert):
            found.take_recorded(alert)
    return found.all()


def _piece(ref: EvidenceRef) -> Piece:
    return Piece(ref.kind, Place(ref.topic, ref.partition, ref.offset), parse_event_time(ref.time), ref.camera)
