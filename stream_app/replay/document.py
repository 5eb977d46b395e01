"""A report as JSON, by the published schema ``comparison.v1``: for programs, and for a comparison of comparisons.

Within version 1 properties are only added.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from stream_app.core.event_time import format_event_time
from stream_app.replay.compare import Change, Kind, Match, Row
from stream_app.replay.expect import Outcome
from stream_app.replay.incidents import Incident
from stream_app.replay.report import Candidate, Judge, Recorded, Report, Side
from stream_app.replay.verdicts import Judgement

SCHEMA: Literal[1] = 1
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Time = Annotated[str, msgspec.Meta(description="RFC 3339 in UTC, in ms.")]


class RecordingDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A recording; ``first`` and ``last`` are append times of its inputs."""

    name: str
    deployment: str
    first: _Time | None
    last: _Time | None
    frames: _Count
    texts: _Count


class EvidenceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A record behind an incident, where it lies, and its event time."""

    kind: Literal["text", "frame"]
    topic: str
    partition: _Count
    offset: _Count
    time: _Time
    camera: str


class IncidentDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as its last alert has it."""

    id: str
    label: str
    zone: str
    start: _Time
    end: _Time
    score: _Probability
    threshold: _Probability
    severity: int | None
    cameras: tuple[str, ...]
    evidence: tuple[EvidenceDocument, ...]
    evidence_left_out: _Count
    closed: bool


class CheckDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation and what was found."""

    name: str
    holds: bool
    words: str


class ExpectedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the expectations; ``uncovered`` are the ids of incidents that no line covers."""

    holds: bool
    checks: tuple[CheckDocument, ...]
    uncovered: tuple[str, ...]
    policy: Literal["fail", "warn", "ignore"]


class SideDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One side; ``totals`` are the counters of its tasks, empty for what was recorded."""

    judge: Judge
    incidents: tuple[IncidentDocument, ...]
    totals: dict[str, int]
    expected: ExpectedDocument | None


class DifferenceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An incident that is not the same on both sides: null where it is not there at all."""

    kind: Kind
    before: IncidentDocument | None
    after: IncidentDocument | None


class VerdictsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides against the verdicts; intervals are Wilson's at 95 %."""

    before: Judgement
    after: Judgement


class CandidateDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate, and what differs from the base. ``alarms`` are incidents per operator that begin in ten minutes."""

    side: SideDocument
    rows: tuple[Row, ...]
    differences: tuple[DifferenceDocument, ...]
    alarms: Change
    verdicts: VerdictsDocument | None


class ReportDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A replay, which has no candidates, or a comparison."""

    schema: Literal[1]
    recordings: tuple[RecordingDocument, ...]
    operators: Annotated[int, msgspec.Meta(ge=1)]
    base: SideDocument
    candidates: tuple[CandidateDocument, ...]
    notes: tuple[str, ...]


def document_of(report: Report) -> ReportDocument:
    """Return a report in its published form."""
    return ReportDocument(
        schema=SCHEMA,
        recordings=tuple(map(_recording, report.recordings)),
        operators=report.operators,
        base=_side(report.base),
        candidates=tuple(map(_candidate, report.candidates)),
        notes=report.notes,
    )


def document_schema() -> dict[str, Any]:
    """Return the JSON Schema of the form."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:vigil:schema:comparison:v1",
        "title": "Vigil replay or comparison, version 1",
        **msgspec.json.schema(ReportDocument),
    }


def incident_document(incident: Incident) -> IncidentDocument:
    """Return an incident in its published form."""
    return IncidentDocument(
        id=incident.id,
        label=incident.label,
        zone=incident.zone,
        start=format_event_time(incident.start_ms),
        end=format_event_time(incident.end_ms),
        score=incident.score,
        threshold=incident.threshold,
        severity=incident.severity,
        cameras=incident.cameras,
        evidence=tuple(
            EvidenceDocument(
                kind=piece.kind,
                topic=piece.place.topic,
                partition=piece.place.partition,
                offset=piece.place.offset,
                time=format_event_time(piece.time_ms),
                camera=piece.camera,
            )
            for piece in incident.evidence
        ),
        evidence_left_out=incident.evidence_left_out,
        closed=incident.is_closed,
    )


def _recording(recorded: Recorded) -> RecordingDocument:
    return RecordingDocument(
        name=recorded.name,
        deployment=recorded.deployment,
        first=None if recorded.first_ms is None else format_event_time(recorded.first_ms),
        last=None if recorded.last_ms is None else format_event_time(recorded.last_ms),
        frames=recorded.frames,
        texts=recorded.texts,
    )


def _side(side: Side) -> SideDocument:
    return SideDocument(
        judge=side.judge,
        incidents=tuple(map(incident_document, side.incidents)),
        totals=dict(sorted(side.totals.items())),
        expected=None if side.outcome is None else _expected(side.outcome),
    )


def _expected(outcome: Outcome) -> ExpectedDocument:
    return ExpectedDocument(
        holds=outcome.holds,
        checks=tuple(CheckDocument(name=one.line.name, holds=one.holds, words=one.words) for one in outcome.results),
        uncovered=tuple(incident.id for incident in outcome.uncovered),
        policy=outcome.policy,
    )


def _candidate(candidate: Candidate) -> CandidateDocument:
    comparison = candidate.comparison
    judged = comparison.verdicts
    return CandidateDocument(
        side=_side(candidate.side),
        rows=comparison.rows,
        differences=tuple(map(_difference, comparison.differing)),
        alarms=comparison.alarms,
        verdicts=None if judged is None else VerdictsDocument(before=judged.before, after=judged.after),
    )


def _difference(match: Match) -> DifferenceDocument:
    return DifferenceDocument(
        kind=match.kind,
        before=None if match.before is None else incident_document(match.before),
        after=None if match.after is None else incident_document(match.after),
    )
