"""Verdicts of reviewers, held against incidents: which are true, which false, and what was missed.

In: the text of a CSV or of JSON lines as ``vigil-export data verdicts`` writes and reads it: `alert` (the id of an
alert or incident), or `text` and `frame` (``topic/partition/offset``), and `label` or `labels` (with ``;``). Out:
counts, with intervals. A line without a label waits for a reviewer and counts for nothing.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from stream_app.core.event_time import parse_event_time
from stream_app.replay.incidents import Place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from stream_app.replay.incidents import Incident

_SEPARATOR = ";"
#: Standard deviations of a 95 % interval.
_Z = 1.959964


class VerdictsError(ValueError):
    """Verdicts of another form; the message says file and line, expected and found."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was really the case, for an alert or incident, or for records. ``zone`` and ``time_ms`` where given."""

    line: str
    alert: str
    places: tuple[Place, ...]
    labels: tuple[str, ...]
    zone: str
    time_ms: int | None


class Share(msgspec.Struct, frozen=True):
    """How many of how many, with Wilson's interval at 95 %; the share is None where there is nothing to count."""

    count: int
    of: int
    share: float | None
    low: float
    high: float


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """Incidents by verdict (``unjudged``: nobody looked), and verdicts by whether an incident of their label is there.

    Precision is of incidents: true of those judged. Recall is of verdicts: found of those that name an alerting label.
    """

    true: int
    false: int
    unjudged: int
    found: int
    missed: int
    precision: Share
    recall: Share


def read_verdicts(text: str, name: str) -> tuple[Verdict, ...]:
    """Read verdicts.

    Args:
        text: CSV with a header, or JSON lines where ``name`` ends in ``.jsonl``.
        name: of the file, for messages.

    Raises:
        VerdictsError: if a line or column is of another form.
    """
    lines = list(_jsonl(text, name) if name.endswith(".jsonl") else _csv(text, name))
    columns = {column for _, values in lines[:1] for column in values}
    if not columns & {"alert", "text", "frame"} or len(columns & {"label", "labels"}) != 1:
        found = ", ".join(sorted(columns)) or "nothing"
        raise VerdictsError(f"{name}: expected the columns label (or labels) and alert, text or frame, found {found}")
    read = (_verdict(line, values) for line, values in lines)
    return tuple(verdict for verdict in read if verdict.labels)


def judge(
    incidents: Sequence[Incident],
    verdicts: Sequence[Verdict],
    alerting: Collection[str],
    aliases: Mapping[str, Collection[str]],
) -> Judgement:
    """Hold incidents against verdicts.

    Args:
        incidents: of one side.
        verdicts: from :func:`read_verdicts`.
        alerting: labels that can open an incident; others cannot be missed.
        aliases: per incident id the ids by which a verdict may know the same incident.
    """
    bench = _Bench(verdicts)
    about = {incident.id: bench.about(incident, aliases.get(incident.id, ())) for incident in incidents}
    true = sum(any(one.label in verdict.labels for verdict in about[one.id]) for one in incidents)
    unjudged = sum(not about[incident.id] for incident in incidents)
    false = len(incidents) - true - unjudged
    covered = {(verdict.line, one.label) for one in incidents for verdict in about[one.id]}
    wanted = {(verdict.line, label) for verdict in verdicts for label in verdict.labels if label in alerting}
    found = len(wanted & covered)
    return Judgement(
        true=true,
        false=false,
        unjudged=unjudged,
        found=found,
        missed=len(wanted) - found,
        precision=share(true, true + false),
        recall=share(found, len(wanted)),
    )


def share(count: int, of: int) -> Share:
    """Return a share with Wilson's interval (E. B. Wilson, JASA 22, 1927)."""
    if not of:
        return Share(0, 0, None, 0.0, 1.0)
    part, spread = count / of, _Z * _Z / of
    centre = (part + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(part * (1 - part) / of + spread / (4 * of)) / (1 + spread)
    return Share(count, of, round(part, 4), round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4))


class _Bench:
    """Verdicts by what they are about."""

    def __init__(self, verdicts: Sequence[Verdict]) -> None:
        self._by_name: dict[str, list[Verdict]] = defaultdict(list)
        self._by_place: dict[Place, list[Verdict]] = defaultdict(list)
        self._by_zone: dict[str, list[tuple[int, Verdict]]] = defaultdict(list)
        for verdict in verdicts:
            if verdict.alert:
                self._by_name[verdict.alert].append(verdict)
            for place in verdict.places:
                self._by_place[place].append(verdict)
            if verdict.time_ms is not None:
                self._by_zone[verdict.zone].append((verdict.time_ms, verdict))

    def about(self, incident: Incident, aliases: Collection[str]) -> list[Verdict]:
        """Return the verdicts about an incident or a record behind it.

        Its evidence is a list with an end; a verdict of its label, zone and time is about it, too.
        """
        found = [one for name in {incident.id, *incident.alerts, *aliases} for one in self._by_name.get(name, ())]
        found += [one for piece in incident.evidence for one in self._by_place.get(piece.place, ())]
        found += [
            one
            for time_ms, one in self._by_zone.get(incident.zone, ())
            if incident.start_ms <= time_ms <= incident.end_ms and incident.label in one.labels
        ]
        return found


def _csv(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        if len(set(header)) < len(header):
            raise VerdictsError(f"{name}:1: expected every column once, found {', '.join(header)}")
        for cells in reader:
            if cells and len(cells) != len(header):
                raise VerdictsError(f"{name}:{reader.line_num}: expected {len(header)} columns, found {len(cells)}")
            if cells:
                yield f"{name}:{reader.line_num}", dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise VerdictsError(f"{name}:{reader.line_num}: expected CSV with a header, found: {error}") from error


def _jsonl(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if line.strip():
            try:
                yield f"{name}:{number}", msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError as error:
                raise VerdictsError(f"{name}:{number}: expected a JSON object, found: {error}") from error


def _verdict(line: str, values: Mapping[str, Any]) -> Verdict:
    cells = {name: "" if value is None else str(value).strip() for name, value in values.items()}
    alert = cells.get("alert", "")
    places = tuple(_place(cells[column], column, line) for column in ("text", "frame") if cells.get(column))
    if bool(alert) == bool(places):
        found = "both" if alert else "neither"
        raise VerdictsError(f"{line}: expected an alert, or a text and frame, found {found}")
    names = cells["labels"].split(_SEPARATOR) if "labels" in cells else [cells["label"]]
    labels = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    time = cells.get("time", "")
    return Verdict(
        line=line,
        alert=alert,
        places=places,
        labels=labels,
        zone=cells.get("zone", ""),
        time_ms=_time(time, line) if time else None,
    )


def _place(text: str, column: str, line: str) -> Place:
    topic, partition, offset = ([*text.rsplit("/", 2), "", ""])[:3]
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise VerdictsError(f"{line}: expected topic/partition/offset in {column}, found {text!r}")
    return Place(topic, int(partition), int(offset))


def _time(text: str, line: str) -> int:
    try:
        return parse_event_time(text)
    except ValueError as error:
        raise VerdictsError(f"{line}: expected a time, RFC 3339, found {text!r}") from error
