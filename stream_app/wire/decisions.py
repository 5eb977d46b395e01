"""Decisions as they are on their topic, by version 1 of their schema: written and read here.

In: a decision of the core; or the value of a record or a recording. Out: a message; or a :class:`Decision`, or the
scores behind it, or a :class:`WireError` that says what is wrong. Properties that later versions add are ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import msgspec

from stream_app.core.score import LIMIT, probability
from stream_app.core.types import Scored
from stream_app.wire.message import SCHEMA, Message, WireError, decode_value, event_headers
from stream_app.wire.references import (
    Count,
    EvidenceRef,
    Modality,
    ModelRef,
    Name,
    Probability,
    SettingsRef,
    evidence_ref,
    model_ref,
    require_distinct,
    require_times,
    settings_ref,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.core import types as core
    from stream_app.wire.context import Context

#: What is present, by whether there is an image and whether there is a text.
_PRESENT: dict[tuple[bool, bool], tuple[Modality, ...]] = {
    (True, True): ("image", "text"), (True, False): ("image",), (False, True): ("text",), (False, False): (),
}  # fmt: skip
Logits = dict[str, Annotated[int, msgspec.Meta(ge=-LIMIT, le=LIMIT)]]


class Failures(TypedDict, total=False):
    """Per side that could not be scored the reason, as in the dead letters."""

    image: Name
    text: Name


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One scored observation, by the published schema ``decision.v1``; see docs/wire.md for each property's meaning.

    ``scores`` are calibrated probabilities, the others calibrated logits times 1,000,000: all per label, or None where
    there was nothing to be scored. The first version wrote neither ``sequence`` nor ``index``.
    """

    zone: Name
    sequence: Annotated[int, msgspec.Meta(ge=1)] | msgspec.UnsetType = msgspec.UNSET
    index: Count | msgspec.UnsetType = msgspec.UNSET
    scores: dict[str, Probability] | None
    logits: Logits | None
    without_image: Logits | None
    without_text: Logits | None
    present: tuple[Modality, ...]
    late: bool
    masked: bool
    shed: bool
    failures: Failures
    evidence: Annotated[tuple[EvidenceRef, ...], msgspec.Meta(min_length=1, max_length=2)]
    model: ModelRef
    settings: SettingsRef
    provider: Name
    schema: Literal[1]

    def named(self, kind: Literal["text", "frame"]) -> EvidenceRef | None:
        """Return its text or its frame."""
        return next((ref for ref in self.evidence if ref.kind == kind), None)


class _Place(msgspec.Struct, frozen=True, gc=False):
    partition: Count


class DecisionScores(msgspec.Struct, frozen=True, kw_only=True):
    """What of a decision the core needs to make it again; read in a fraction of the time that all of it takes.

    Whoever makes it again compares all the rest by its bytes.
    """

    sequence: Annotated[int, msgspec.Meta(ge=1)] | msgspec.UnsetType = msgspec.UNSET
    index: Count | msgspec.UnsetType = msgspec.UNSET
    logits: Logits | None
    without_image: Logits | None
    without_text: Logits | None
    failures: Failures
    evidence: Annotated[tuple[_Place, ...], msgspec.Meta(min_length=1, max_length=2)]
    schema: Literal[1]

    @property
    def partition(self) -> int:
        """The task that made it."""
        return self.evidence[0].partition


def render_decision(decision: core.Decision, context: Context) -> Message:
    """Render one scored observation: exact scores as integers (micro-logits) beside probabilities for people."""
    observation, scored = decision.observation, decision.scored
    names = [label.name for label in decision.in_force.model.labels]
    text, frame = observation.text, observation.frame
    records = [record for record in (text, frame) if record is not None]
    has_image = frame is not None and not observation.is_image_shed and scored.image_failure is None
    has_text = text is not None and scored.text_failure is None
    full = _named(names, scored.full)
    body = Decision(
        zone=observation.zone,
        sequence=observation.sequence,
        index=observation.index,
        scores=None if full is None else {name: probability(logit) for name, logit in full.items()},
        logits=full,
        without_image=_named(names, scored.without_image),
        without_text=_named(names, scored.without_text),
        present=_PRESENT[has_image, has_text],
        late=observation.is_late,
        masked=(frame is not None and not has_image) or (text is not None and not has_text),
        shed=observation.is_image_shed,
        failures=_failures(scored),
        evidence=tuple([evidence_ref(record, context) for record in records]),
        model=model_ref(decision.in_force),
        settings=settings_ref(decision.in_force),
        provider=context.provider,
        schema=SCHEMA,
    )
    offsets = "-".join([f"{record.side.kind}{record.offset}" for record in records])
    name = f"{context.deployment}-{context.partition}-{offsets}"
    headers = event_headers(context.deployment, name, "vigil.decision.v1", observation.zone, decision.time_ms)
    return Message(context.topics.decisions, observation.zone.encode(), msgspec.json.encode(body), headers)


def decode_decision(value: bytes | None) -> Decision:
    """Read the value of a decision.

    Raises:
        WireError: if it does not fit the schema.
    """
    decision = decode_value(value, Decision, "decision")
    require_times(ref.time for ref in decision.evidence)
    require_distinct("present", decision.present)
    return decision


def decode_scores(value: bytes | None) -> DecisionScores:
    """Read the scores in the value of a decision.

    Raises:
        WireError: if they do not fit the schema.
    """
    return decode_value(value, DecisionScores, "decision")


def scored_of(decision: DecisionScores, labels: Sequence[str]) -> Scored:
    """Return the scores that a decision was rendered from, exactly.

    Args:
        decision: as it was read.
        labels: the names of its model's labels, in the model's order.

    Raises:
        WireError: if it names other labels, or no place in the task's order, as the first version did not.
    """
    if decision.sequence is msgspec.UNSET or decision.index is msgspec.UNSET:
        raise WireError("decision: expected sequence and index, found none: it is of a version that wrote neither")
    return Scored(
        decision.sequence,
        decision.index,
        _in_order(decision.logits, labels),
        _in_order(decision.without_image, labels),
        _in_order(decision.without_text, labels),
        decision.failures.get("image"),
        decision.failures.get("text"),
    )


def _in_order(logits: Logits | None, labels: Sequence[str]) -> tuple[int, ...] | None:
    if logits is None:
        return None
    try:
        found = tuple([logits[label] for label in labels])
    except KeyError:
        found = ()
    if len(found) != len(logits):
        raise WireError(f"decision: expected the labels {', '.join(labels)}, found {', '.join(logits)}")
    return found


def _named(names: list[str], logits: tuple[int, ...] | None) -> Logits | None:
    return None if logits is None else dict(zip(names, logits, strict=True))


def _failures(scored: core.Scored) -> Failures:
    found: Failures = {}
    if scored.image_failure is not None:
        found["image"] = scored.image_failure
    if scored.text_failure is not None:
        found["text"] = scored.text_failure
    return found
