"""The life of an incident: opened, updated, closed. Mutable state and the alerts that it makes; no thresholds here."""

from __future__ import annotations

import msgspec

from stream_app.core.ids import alert_id
from stream_app.core.outcome import MAX_EVIDENCE
from stream_app.core.types import Alert, Contribution, Evidence, InForce, Side

#: Frames beyond those named that are remembered, so that another text that met them does not count them again. Four
#: cameras give 20 in a window of 5 s at the default sampling; past the bound the oldest may be counted twice.
_MAX_UNNAMED = 128
#: Cameras that an incident names; more than it names as evidence.
MAX_CAMERAS = 64
#: What an incident takes in a checkpoint, in bytes: all that is of one size; a name and the length of it, twice for a
#: camera, which stands in the table and is referred to; a record of evidence, and one that is left out.
_FIXED_BYTES, _NAME_BYTES, _EVIDENCE_BYTES, _UNNAMED_BYTES = 256, 5, 24, 9
#: The most that one takes whose zone, label and cameras have names of at most 256 bytes.
MAX_INCIDENT_BYTES = (
    _FIXED_BYTES
    + 2 * (256 + _NAME_BYTES)
    + MAX_CAMERAS * (256 + 2 * _NAME_BYTES)
    + MAX_EVIDENCE * _EVIDENCE_BYTES
    + _MAX_UNNAMED * _UNNAMED_BYTES
)


class Support(msgspec.Struct, frozen=True):
    """What one observation brings to an incident. ``score`` is the subject's mean micro-logit after it."""

    score: int
    evidence: tuple[Evidence, ...]
    contribution: Contribution | None
    severity: int
    is_late: bool
    is_masked: bool


class Incident(msgspec.Struct, kw_only=True):
    """An open incident of one (zone, label). Times in ms; ``last_*_ms`` are stream times."""

    id: str
    zone: str
    label: str
    threshold: int
    score: int
    last_support_ms: int
    last_alert_ms: int
    start_ms: int
    end_ms: int
    number: int = 0
    severity: int = 0
    cameras: list[str] = []
    present: list[str] = []
    contribution: Contribution | None = None
    is_late: bool = False
    is_masked: bool = False
    evidence: list[Evidence] = []
    evidence_left_out: int = 0
    has_news: bool = False
    #: Offsets of the newest frames that were left out.
    unnamed: list[int] = []

    @property
    def size(self) -> int:
        """The most bytes that it takes in a checkpoint."""
        return (
            _FIXED_BYTES
            + len(self.zone.encode())
            + len(self.label.encode())
            + 2 * _NAME_BYTES
            + sum([len(camera.encode()) + 2 * _NAME_BYTES for camera in self.cameras])
            + len(self.evidence) * _EVIDENCE_BYTES
            + len(self.unnamed) * _UNNAMED_BYTES
        )

    def support(self, support: Support, stream_ms: int) -> None:
        """Take one supporting observation in; news are a new camera, a new modality or a higher severity."""
        self.last_support_ms = stream_ms
        if support.score > self.score or self.number == 0:
            self.score = support.score
            self.contribution = support.contribution
        self.is_late = self.is_late or support.is_late
        self.is_masked = self.is_masked or support.is_masked
        if support.severity > self.severity:
            self.severity = support.severity
            self.has_news = True
        for evidence in support.evidence:
            self._show(evidence)

    def alert(self, phase: str, stream_ms: int, in_force: InForce, reason: str = "") -> Alert:
        """Make the alert of the next phase."""
        self.number += 1
        self.last_alert_ms = stream_ms
        self.has_news = False
        return Alert(
            id=alert_id(self.id, phase, self.number),
            incident=self.id,
            phase=phase,
            number=self.number,
            label=self.label,
            zone=self.zone,
            score=self.score,
            threshold=self.threshold,
            cameras=tuple(self.cameras),
            severity=self.severity,
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            present=tuple(self.present),
            contribution=self.contribution,
            is_late=self.is_late,
            is_masked=self.is_masked,
            evidence=tuple(self.evidence),
            evidence_left_out=self.evidence_left_out,
            time_ms=stream_ms,
            in_force=in_force,
            reason=reason,
        )

    def _show(self, evidence: Evidence) -> None:
        is_frame = evidence.side is Side.FRAME
        if evidence in self.evidence or (is_frame and evidence.offset in self.unnamed):
            return
        if evidence.camera and evidence.camera not in self.cameras and len(self.cameras) < MAX_CAMERAS:
            self.cameras = sorted([*self.cameras, evidence.camera])
            self.has_news = True
        modality = "image" if is_frame else "text"
        if modality not in self.present:
            self.present = sorted([*self.present, modality])
            self.has_news = True
        self.start_ms = min(self.start_ms, evidence.event_ms)
        self.end_ms = max(self.end_ms, evidence.event_ms)
        if len(self.evidence) < MAX_EVIDENCE:
            self.evidence = [*self.evidence, evidence]
        else:
            self.evidence_left_out += 1
            if is_frame:
                self.unnamed = [*self.unnamed[-(_MAX_UNNAMED - 1) :], evidence.offset]
