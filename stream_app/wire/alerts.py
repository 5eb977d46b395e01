"""Alerts and notices as they are on the alerts topic, by version 1 of their schemas: written and read here.

In: an alert or notice of the core; or the value and the headers of a record. Out: a message; or an :class:`Alert`, a
:class:`Notice`, or a :class:`WireError` that says what is wrong. Properties that later versions add are ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypedDict, cast

import msgspec

from stream_app.core.score import probability
from stream_app.wire.message import SCHEMA, Message, WireError, decode_value, event_headers, event_type, format_time
from stream_app.wire.references import (
    Count,
    EvidenceRef,
    Modality,
    ModelRef,
    Name,
    Probability,
    SettingsRef,
    Time,
    evidence_ref,
    model_ref,
    require_distinct,
    require_times,
    settings_ref,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.core import types as core
    from stream_app.wire.context import Context

_Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
_Difference = Annotated[float, msgspec.Meta(ge=-1, le=1)]
Phase = Literal["opened", "updated", "closed"]

_ALERT_TYPES = frozenset(f"vigil.alert.{phase}.v1" for phase in ("opened", "updated", "closed"))
_NOTICE_TYPE = "vigil.notice.v1"


class Contribution(TypedDict, total=False):
    """By how much the score would fall without a side, as differences of probabilities; of both sides or of none."""

    image: _Difference
    text: _Difference


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An alert, by the published schema ``alert.v1``; see docs/wire.md for what each property means.

    ``score`` and ``threshold`` are calibrated probabilities. ``start`` and ``end`` span the event times of the evidence
    (RFC 3339 in UTC; ``datetime.fromisoformat`` reads them). ``contribution`` says by how much the score would fall
    without a side. ``reason`` says why an incident closed, and is empty before.
    """

    id: _Id
    incident: _Id
    phase: Phase
    number: Annotated[int, msgspec.Meta(ge=1)]
    label: Name
    score: Probability
    threshold: Probability
    zone: Name
    cameras: tuple[Name, ...]
    severity: Annotated[int, msgspec.Meta(ge=1, le=5)] | None
    start: Time
    end: Time
    present: Annotated[tuple[Modality, ...], msgspec.Meta(min_length=1)]
    contribution: Contribution
    late: bool
    masked: bool
    evidence: Annotated[tuple[EvidenceRef, ...], msgspec.Meta(min_length=1, max_length=32)]
    evidence_left_out: Count
    model: ModelRef
    settings: SettingsRef
    provider: Name
    schema: Literal[1]
    reason: Name = ""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A word to subscribers that is no incident: ``rate`` says that a zone sends more texts than its bound."""

    notice: Name
    zone: Name
    detail: str
    schema: Literal[1]


def render_alert(alert: core.Alert, context: Context) -> Message:
    """Render an alert as CloudEvents in binary mode, its value by the published JSON Schema."""
    body = Alert(
        id=alert.id,
        incident=alert.incident,
        phase=cast("Phase", alert.phase),
        number=alert.number,
        label=alert.label,
        score=probability(alert.score),
        threshold=probability(alert.threshold),
        zone=alert.zone,
        cameras=alert.cameras,
        severity=alert.severity or None,
        start=format_time(alert.start_ms),
        end=format_time(alert.end_ms),
        present=cast("tuple[Modality, ...]", alert.present),
        contribution=_contribution(alert),
        late=alert.is_late,
        masked=alert.is_masked,
        evidence=tuple(evidence_ref(evidence, context) for evidence in alert.evidence),
        evidence_left_out=alert.evidence_left_out,
        model=model_ref(alert.in_force),
        settings=settings_ref(alert.in_force),
        provider=context.provider,
        schema=SCHEMA,
        reason=alert.reason,
    )
    headers = event_headers(context.deployment, alert.id, f"vigil.alert.{alert.phase}.v1", alert.zone, alert.time_ms)
    return Message(context.topics.alerts, alert.zone.encode(), msgspec.json.encode(body), headers)


def _contribution(alert: core.Alert) -> Contribution:
    """Say what each side added; empty where only one side was there, for then there is nothing to leave out."""
    found = alert.contribution
    if found is None:
        return {}
    full = probability(found.full)
    return {
        "image": round(full - probability(found.without_image), 4),
        "text": round(full - probability(found.without_text), 4),
    }


def render_notice(notice: core.Notice, context: Context) -> Message:
    """Render a notice, which goes to the alerts topic with the type ``vigil.notice.v1``."""
    body = Notice(notice=notice.kind, zone=notice.zone, detail=notice.detail, schema=SCHEMA)
    name = f"{notice.kind}-{context.deployment}-{context.partition}-{notice.zone}-{notice.time_ms}"
    headers = event_headers(context.deployment, name, _NOTICE_TYPE, notice.zone, notice.time_ms)
    return Message(context.topics.alerts, notice.zone.encode(), msgspec.json.encode(body), headers)


def decode_alert(value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> Alert | Notice | None:
    """Read a record of the alerts topic.

    Args:
        value: its value.
        headers: its headers, which name its type.

    Returns:
        The alert or notice; None for a record of another type, which a later version or another program may write.

    Raises:
        WireError: if it says that it is an alert or a notice and does not fit the schema.
    """
    kind = event_type(headers)
    if kind == _NOTICE_TYPE:
        return decode_value(value, Notice, kind)
    if kind not in _ALERT_TYPES:
        return None
    alert = decode_value(value, Alert, kind)
    require_times((alert.start, alert.end, *(ref.time for ref in alert.evidence)))
    require_distinct("cameras", alert.cameras)
    require_distinct("present", alert.present)
    if len(alert.contribution) == 1:
        raise WireError(f"contribution: expected both sides or none, found only {next(iter(alert.contribution))}")
    if alert.phase == "closed" and not alert.reason:
        raise WireError("expected the reason of a closed incident, found none")
    return alert
