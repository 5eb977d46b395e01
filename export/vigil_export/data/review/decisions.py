"""Makes a training set from decisions and reviewers' verdicts: from false alarms to a better model.

In: a recording of the decisions topic, verdicts, the evidence behind alerts. Out: rows, one per observation
that has a verdict and all of its records. Nothing is read from Kafka here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from stream_app.wire.decisions import Decision, decode_decision
from stream_app.wire.message import WireError
from stream_app.wire.references import EvidenceRef
from vigil_export.data.reading.records import read_records
from vigil_export.data.review.evidence import Evidence, Place, text_of
from vigil_export.data.review.verdicts import Bench, Verdict, Verdicts
from vigil_export.data.rows import DataError, Dataset, Row

GroupBy = Literal["zone", "camera", "text"]
# Where a recorder that keeps the key beside it puts the value: as an object, or as a string that holds one.
_ENVELOPES = ("value", "payload")
_KINDS: tuple[Literal["text", "frame"], ...] = ("text", "frame")


@dataclass(slots=True)
class Outcome:
    """What became of the observations.

    Attributes:
        rows: Those that can be trained on.
        without_verdict: How many nobody judged.
        without_evidence: Those judged whose records are not there, in words.
        unused: Places of verdicts that no observation fitted.
    """

    rows: list[Row] = field(default_factory=list)
    without_verdict: int = 0
    without_evidence: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


def read_decisions(path: Path) -> list[Decision]:
    """Read a recording: one decision a line, bare or as `value` or `payload` of an object.

    Returns:
        Each observation once, as it was scored last: subscribers that do not read committed records see some twice.

    Raises:
        DataError: A line is no decision.
    """
    found: dict[tuple[Place, ...], Decision] = {}
    for record in read_records(path):
        try:
            decision = _decision(record.values)
        except WireError as error:
            raise DataError(f"{record.place}: expected a decision (docs/wire.md), found: {error}") from error
        found[tuple(map(place_of, decision.evidence))] = decision
    return list(found.values())


def _decision(values: dict[str, Any]) -> Decision:
    if "evidence" not in values:
        for name in _ENVELOPES:
            value = values.get(name)
            if isinstance(value, str):
                return decode_decision(value.encode())
            if isinstance(value, dict):
                return decode_decision(msgspec.json.encode(value))
    return decode_decision(msgspec.json.encode(values))


def place_of(named: EvidenceRef) -> Place:
    """Return where a record lies, as verdicts and evidence name it."""
    return Place(named.topic, named.partition, named.offset)


def judge(
    decisions: Sequence[Decision],
    verdicts: Verdicts,
    evidence: Evidence,
    *,
    group_by: GroupBy = "zone",
) -> Outcome:
    """Put observations, verdicts and evidence together.

    Args:
        decisions: From `read_decisions`.
        verdicts: What was really the case.
        evidence: The records.
        group_by: What must not be parted later: a zone, a camera, or only the frames of one text.

    Returns:
        Rows with the label of their verdict; `sequence` is the text, which a decision may have with several frames.

    Raises:
        DataError: Verdicts contradict each other, or a text cannot be read.
    """
    outcome = Outcome()
    bench = Bench(verdicts.lines, evidence.alerts)
    used: set[str] = set()
    for decision in decisions:
        text, frame = (place_of(named) if named else None for named in map(decision.named, _KINDS))
        verdict = bench.of(text, frame)
        if verdict is None:
            outcome.without_verdict += 1
        else:
            used.add(verdict.place)
            absent = [place for place in (text, frame) if place is not None and place not in evidence.files]
            for place in absent:
                why = evidence.missing.get(place, "not in the evidence")
                outcome.without_evidence.append(f"{place}: {why}")
            if not absent:
                outcome.rows.append(_row(decision, verdict, evidence, group_by))
    outcome.unused = [line.place for line in verdicts.lines if line.place not in used]
    return outcome


def as_dataset(rows: Sequence[Row], *, has_lists: bool) -> Dataset:
    """Return rows as a data set to be written; their labels are not looked at, for often all are of one class."""
    labels = tuple(sorted({name for row in rows for name in row.labels}))
    return Dataset("multilabel" if has_lists else "multiclass", labels, (), tuple(rows))


def _row(decision: Decision, verdict: Verdict, evidence: Evidence, group_by: GroupBy) -> Row:
    text, frame = map(decision.named, _KINDS)
    camera = frame.camera if frame else ""
    groups = {
        "zone": decision.zone,
        "camera": f"{decision.zone}/{camera}",
        "text": str(place_of(text or decision.evidence[0])),
    }
    facets = dict(verdict.more) | {"zone": decision.zone, "camera": camera}
    facets["model"] = f"{decision.model.name} {decision.model.version}"
    if decision.scores:
        said, score = max(decision.scores.items(), key=lambda item: item[1])
        facets |= {"said": said, "score": f"{score:.4f}"}
    return Row(
        id=" + ".join(str(place_of(named)) for named in decision.evidence),
        image=evidence.files[place_of(frame)] if frame else None,
        text=text_of(evidence.files[place_of(text)]) if text else "",
        labels=verdict.labels,
        group=groups[group_by],
        sequence=str(place_of(text)) if text else "",
        facets=tuple(sorted(facets.items())),
    )
