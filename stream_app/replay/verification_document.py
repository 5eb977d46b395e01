"""What verifying found, as JSON by the published schema ``verification.v1``: for programs.

Within version 1 properties are only added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from stream_app.replay.rescored import LabelDifference, Threshold
from stream_app.replay.verification import Status
from stream_app.wire.message import format_time

if TYPE_CHECKING:
    from stream_app.replay.rescored import Flip, Rescored
    from stream_app.replay.verification import TaskVerification, Verification

SCHEMA: Literal[1] = 1
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Time = Annotated[str, msgspec.Meta(description="RFC 3339 in UTC, in ms.")]
_Counts = Annotated[
    dict[str, _Count],
    msgspec.Meta(description="By steps, keyframes, texts, frames, alerts, decisions, dead_letters; those above 0."),
]


class DifferenceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The first difference of a task; ``expected`` is what the core makes of the recorded inputs."""

    sequence: _Count
    time: _Time
    what: str
    expected: str
    found: str
    inputs: tuple[str, ...]


class GapDocument(msgspec.Struct, frozen=True, kw_only=True):
    """From here on a task could not be verified, until the next keyframe whose inputs are there.

    ``until`` is when that was appended, null where there is none; ``unusable`` counts further keyframes before it.
    """

    sequence: _Count
    time: _Time
    why: str
    until: _Time | None = None
    unusable: _Count = 0


class TaskDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a task; ``begun`` is the sequence number from which on it is verified, null where it never is."""

    partition: _Count
    status: Status
    begun: _Count | None
    first: _Time | None
    last: _Time | None
    verified: _Counts
    before: _Counts
    after: _Counts
    without_digests: _Count
    versions: tuple[str, ...]
    gaps: tuple[GapDocument, ...]
    difference: DifferenceDocument | None


class FlipDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An observation that reached a threshold only once: as recorded, or when scored again."""

    partition: _Count
    sequence: _Count
    time: _Time
    inputs: tuple[str, ...]
    label: str
    threshold: Threshold
    at: _Probability
    recorded: _Probability
    again: _Probability
    inside: bool


class RescoredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What came of scoring again; ``within`` says whether all lies within tolerance and band."""

    within: bool
    complete: bool
    tolerance: _Probability
    band: _Probability
    decisions: _Count
    labels: tuple[LabelDifference, ...]
    flips: tuple[FlipDocument, ...]
    failed_otherwise: _Count
    without_bundle: dict[str, _Count]
    notes: tuple[str, ...]


class VerificationDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a recording. ``torn`` says why it could not be read to its end, empty where it could."""

    schema: Literal[1]
    status: Status
    tasks: tuple[TaskDocument, ...]
    unread: _Count
    torn: str
    rescored: RescoredDocument | None


def verification_document(
    verification: Verification, rescored: Rescored | None, status: Status
) -> VerificationDocument:
    """Return all that was found; ``status`` is what both come to."""
    return VerificationDocument(
        schema=SCHEMA,
        status=status,
        tasks=tuple(map(_task, verification.tasks)),
        unread=verification.unread,
        torn=verification.torn,
        rescored=None if rescored is None else _rescored(rescored),
    )


def verification_schema() -> dict[str, Any]:
    """Return the JSON Schema of the form."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:vigil:schema:verification:v1",
        "title": "Vigil verification of a recording, version 1",
        **msgspec.json.schema(VerificationDocument),
    }


def _task(task: TaskVerification) -> TaskDocument:
    found = task.difference
    return TaskDocument(
        partition=task.partition,
        status=task.status,
        begun=task.begun,
        first=_time(task.begun_ms),
        last=_time(task.reached_ms),
        verified=task.verified,
        before=task.before,
        after=task.after,
        without_digests=task.without_digests,
        versions=task.versions,
        gaps=tuple(
            GapDocument(
                sequence=gap.sequence,
                time=format_time(gap.stream_ms),
                why=gap.why,
                until=_time(gap.until_ms),
                unusable=gap.unusable,
            )
            for gap in task.gaps
        ),
        difference=None
        if found is None
        else DifferenceDocument(
            sequence=found.sequence,
            time=format_time(found.stream_ms),
            what=found.what,
            expected=found.expected,
            found=found.found,
            inputs=found.inputs,
        ),
    )


def _rescored(found: Rescored) -> RescoredDocument:
    return RescoredDocument(
        within=found.is_within,
        complete=found.is_complete,
        tolerance=found.tolerance,
        band=found.band,
        decisions=found.decisions,
        labels=found.labels,
        flips=tuple(map(_flip, found.flips)),
        failed_otherwise=found.failed_otherwise,
        without_bundle=found.without_bundle,
        notes=found.notes,
    )


def _flip(flip: Flip) -> FlipDocument:
    of = flip.of
    return FlipDocument(
        partition=of.partition,
        sequence=of.sequence,
        time=format_time(of.event_ms),
        inputs=of.inputs,
        label=flip.label,
        threshold=flip.threshold,
        at=flip.at,
        recorded=flip.recorded,
        again=flip.again,
        inside=flip.is_inside,
    )


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else format_time(time_ms)
