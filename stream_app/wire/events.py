"""Outputs as they stand on the wire: alerts, notices, decisions, journal, checkpoint, dead letters.

In: a step of the core and what the deployment adds (names of topics, execution provider). Out: messages with topic,
partition, key, value and headers. Pure functions; the same step and context give the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from stream_app import __version__
from stream_app.core.admit import headers_bytes, record_bytes
from stream_app.core.event_time import format_event_time
from stream_app.core.score import probability
from stream_app.core.types import Alert, DeadLetter, Decision, Evidence, Notice, Record, Side, Unreadable
from stream_app.wire import journal
from stream_app.wire.journal import JournalEpoch, JournalRecord, JournalStep, encode_journal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream_app.core.effects import Step
    from stream_app.core.types import InForce, Model, RawRecord, Ref

#: Version of the alert and decision schemas; changes within it only add.
SCHEMA = 1
#: Of a record that was too large, this much goes to the dead letters.
DEAD_LETTER_HEAD_BYTES = 64 * 1024
#: What Kafka takes by default (max.message.bytes), less room for a letter's own headers and the framing.
LETTER_OVERHEAD_BYTES = 4 * 1024
DEFAULT_LETTER_BYTES = 1_048_588 - LETTER_OVERHEAD_BYTES
_JSON = b"application/json"
# Stream time before the first record lies before the year 1; RFC 3339 cannot write that.
_EARLIEST_MS = -62_135_596_800_000


class Topics(msgspec.Struct, frozen=True, kw_only=True):
    """Names of the topics of a deployment."""

    frames: str
    texts: str
    alerts: str
    decisions: str
    journal: str
    state: str
    dead_letters: str

    def of(self, side: Side) -> str:
        """Return the input topic of a side."""
        return self.texts if side is Side.TEXT else self.frames


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What the deployment adds to the core's outputs, and the model and the settings that its tasks start with.

    ``letter_bytes``: a refused record goes whole to the dead letters up to so many bytes of key, value and headers. The
    topic must take that: a step that the brokers refuse would be tried again for ever.
    """

    deployment: str
    partition: int
    topics: Topics
    model: Model
    settings_sha256: str
    provider: str
    letter_bytes: int = DEFAULT_LETTER_BYTES

    @property
    def state_key(self) -> bytes:
        """Key of this task's journal and checkpoint records."""
        return f"{self.deployment}/{self.partition}".encode()


class Message(msgspec.Struct, frozen=True):
    """One record to be published; ``partition`` None leaves the choice to the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


class Payloads(Protocol):
    """Where the bytes of records are kept until the core releases them."""

    def __getitem__(self, ref: Ref, /) -> RawRecord: ...


def render_step(step: Step, context: Context, payloads: Payloads, *, is_first: bool = False) -> Iterator[Message]:
    """Render everything that one step publishes, the checkpoint last.

    Args:
        step: the step.
        context: names and provider.
        payloads: the raw records of the step's dead letters.
        is_first: whether it is the first of an epoch, which the journal then describes.
    """
    for alert in step.alerts:
        yield render_alert(alert, context)
    for notice in step.notices:
        yield render_notice(notice, context)
    for decision in step.decisions:
        yield render_decision(decision, context)
    for letter in step.dead_letters:
        yield render_dead_letter(letter, payloads[letter.ref], context)
    yield render_journal(step, context, is_first=is_first)
    yield Message(context.topics.state, context.state_key, step.checkpoint, (), context.partition)


def render_journal(step: Step, context: Context, *, is_first: bool) -> Message:
    """Render what a step says of the merge order: its entries, its cut, and the epoch if it is the first of one."""
    epoch = JournalEpoch(
        version=__version__,
        provider=context.provider,
        letter_bytes=context.letter_bytes,
        settings=context.settings_sha256,
        topics=msgspec.to_builtins(context.topics),
    )
    cut = JournalStep(
        sequence=step.sequence, stream_ms=step.stream_ms, next_text=step.next_text, next_frame=step.next_frame
    )
    record = JournalRecord(
        schema=journal.SCHEMA,
        partition=context.partition,
        epoch=epoch if is_first else None,
        entries=step.journal,
        step=cut,
    )
    return Message(context.topics.journal, context.state_key, encode_journal(record))


def render_alert(alert: Alert, context: Context) -> Message:
    """Render an alert as CloudEvents in binary mode, its value by the published JSON Schema."""
    body: dict[str, Any] = {
        "id": alert.id,
        "incident": alert.incident,
        "phase": alert.phase,
        "number": alert.number,
        "label": alert.label,
        "score": probability(alert.score),
        "threshold": probability(alert.threshold),
        "zone": alert.zone,
        "cameras": alert.cameras,
        "severity": alert.severity or None,
        "start": _time(alert.start_ms),
        "end": _time(alert.end_ms),
        "present": alert.present,
        "contribution": _contribution(alert),
        "late": alert.is_late,
        "masked": alert.is_masked,
        "evidence": [_evidence(evidence, context) for evidence in alert.evidence],
        "evidence_left_out": alert.evidence_left_out,
        **_made_by(alert.in_force, context),
    }
    if alert.reason:
        body["reason"] = alert.reason
    headers = _headers(context, alert.id, f"vigil.alert.{alert.phase}.v1", alert.zone, alert.time_ms)
    return Message(context.topics.alerts, alert.zone.encode(), msgspec.json.encode(body), headers)


def render_notice(notice: Notice, context: Context) -> Message:
    """Render a notice, which goes to the alerts topic with the type ``vigil.notice.v1``."""
    body = {"notice": notice.kind, "zone": notice.zone, "detail": notice.detail, "schema": SCHEMA}
    name = f"{notice.kind}-{context.deployment}-{context.partition}-{notice.zone}-{notice.time_ms}"
    headers = _headers(context, name, "vigil.notice.v1", notice.zone, notice.time_ms)
    return Message(context.topics.alerts, notice.zone.encode(), msgspec.json.encode(body), headers)


def render_decision(decision: Decision, context: Context) -> Message:
    """Render one scored observation: exact scores as integers (micro-logits) beside probabilities for people."""
    observation, scored = decision.observation, decision.scored
    names = [label.name for label in decision.in_force.model.labels]
    text, frame = observation.text, observation.frame
    has_image = frame is not None and not observation.is_image_shed and scored.image_failure is None
    has_text = text is not None and scored.text_failure is None
    body: dict[str, Any] = {
        "zone": observation.zone,
        "sequence": observation.sequence,
        "index": observation.index,
        "scores": _named(names, scored.full, probability),
        "logits": _named(names, scored.full, int),
        "without_image": _named(names, scored.without_image, int),
        "without_text": _named(names, scored.without_text, int),
        "present": [word for word, is_present in (("image", has_image), ("text", has_text)) if is_present],
        "late": observation.is_late,
        "masked": (frame is not None and not has_image) or (text is not None and not has_text),
        "shed": observation.is_image_shed,
        "failures": {
            word: reason
            for word, reason in (("image", scored.image_failure), ("text", scored.text_failure))
            if reason is not None
        },
        "evidence": [_evidence(_evidence_of(record), context) for record in (text, frame) if record is not None],
        **_made_by(decision.in_force, context),
    }
    offsets = "-".join(f"{record.side.kind}{record.offset}" for record in (text, frame) if record is not None)
    name = f"{context.deployment}-{context.partition}-{offsets}"
    headers = _headers(context, name, "vigil.decision.v1", observation.zone, decision.time_ms)
    return Message(context.topics.decisions, observation.zone.encode(), msgspec.json.encode(body), headers)


def render_dead_letter(letter: DeadLetter, raw: RawRecord, context: Context) -> Message:
    """Render a dead letter: the original bytes and headers, with reason and coordinates as headers of ours.

    Of a record that was too large, or that the topic would not take, only the beginning goes along.
    """
    topic = context.topics.of(letter.side)
    extra = [
        ("vigil_reason", letter.reason.encode()),
        ("vigil_topic", topic.encode()),
        ("vigil_partition", str(context.partition).encode()),
        ("vigil_offset", str(letter.offset).encode()),
        ("vigil_detail", letter.detail.encode("utf-8", "replace")),
        ("vigil_deployment", context.deployment.encode()),
    ]
    if isinstance(raw, Unreadable) and raw.first_offset < raw.offset:
        extra.append(("vigil_first_offset", str(raw.first_offset).encode()))
    key, value, headers = raw.key, raw.value, raw.headers
    if letter.reason == "too-large" or record_bytes(raw) > context.letter_bytes:
        head = min(DEAD_LETTER_HEAD_BYTES, context.letter_bytes // 4)
        if value is not None and len(value) > head:
            extra.append(("vigil_size", str(len(value)).encode()))
            value = value[:head]
        if key is not None and len(key) > head:
            extra.append(("vigil_key_size", str(len(key)).encode()))
            key = key[:head]
        if headers_bytes(raw) > head:
            extra.append(("vigil_headers_left_out", str(len(headers)).encode()))
            headers = ()
    if key is None and value is None:
        # The client refuses a record that has neither, and would refuse the step for ever.
        value = b""
    kept = ((name, content or b"") for name, content in headers)
    return Message(context.topics.dead_letters, key, value, (*kept, *extra))


def _headers(context: Context, event_id: str, kind: str, zone: str, time_ms: int) -> tuple[tuple[str, bytes], ...]:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", f"/vigil/{context.deployment}".encode()),
        ("ce_type", kind.encode()),
        ("ce_subject", zone.encode()),
        ("ce_time", _time(time_ms).encode()),
        ("content-type", _JSON),
    )


def _time(time_ms: int) -> str:
    return format_event_time(max(time_ms, _EARLIEST_MS))


def _contribution(alert: Alert) -> dict[str, float]:
    """Say what each side added; empty where only one side was there, for then there is nothing to leave out."""
    found = alert.contribution
    if found is None:
        return {}
    full = probability(found.full)
    return {
        "image": round(full - probability(found.without_image), 4),
        "text": round(full - probability(found.without_text), 4),
    }


def _evidence_of(record: Record) -> Evidence:
    return Evidence(record.side, record.offset, record.event_ms, record.camera)


def _evidence(evidence: Evidence, context: Context) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": evidence.side.kind}
    if evidence.camera:
        found["camera"] = evidence.camera
    found["topic"] = context.topics.of(evidence.side)
    found["partition"] = context.partition
    found["offset"] = evidence.offset
    found["time"] = _time(evidence.event_ms)
    return found


def _made_by(in_force: InForce, context: Context) -> dict[str, Any]:
    model = in_force.model
    return {
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "settings": f"sha256:{in_force.settings_sha256}",
        "provider": context.provider,
        "schema": SCHEMA,
    }


def _named(names: Sequence[str], logits: tuple[int, ...] | None, show: Any) -> dict[str, Any] | None:  # noqa: ANN401
    return None if logits is None else {name: show(logit) for name, logit in zip(names, logits, strict=True)}
