"""Reads reviewers' verdicts: what really happened, for an alert, a text, a frame, or a text with a frame.

The narrower verdict wins: one for a pair takes precedence over one for its text or its frame, and that before one
for the whole alert. It must not know pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vigil_export.data.reading.records import Record, read_records
from vigil_export.data.review.evidence import Place, parse_place
from vigil_export.data.rows import DataError

# Columns with a meaning, and those that `review_list` writes for people; all others are kept with the rows.
_MEANT = ("alert", "text", "frame", "label", "labels", "time", "frames", "words")
_SEPARATOR = ";"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line.

    Attributes:
        place: File and line.
        alert: Id of an alert or incident, or empty.
        text: Coordinates, or None.
        frame: Coordinates, or None.
        labels: What was the case.
        more: Further columns, (name, value).
    """

    place: str
    alert: str
    text: Place | None
    frame: Place | None
    labels: tuple[str, ...]
    more: tuple[tuple[str, str], ...]

    @property
    def weight(self) -> int:
        """How narrow it is: 1 for an alert, 2 for a text or a frame, 3 for a pair."""
        return 1 + (self.text is not None) + (self.frame is not None) if not self.alert else 1


@dataclass(frozen=True, slots=True)
class Verdicts:
    """All lines with a label; `open` counts those without, which wait for a reviewer."""

    lines: tuple[Verdict, ...]
    open: int
    has_lists: bool


class Bench:
    """Verdicts by the records that they are about."""

    def __init__(self, lines: Sequence[Verdict], alerts: Mapping[str, frozenset[Place]]) -> None:
        """Sort them.

        Args:
            lines: Verdicts.
            alerts: Id of an alert or incident -> places behind it.
        """
        self._alerts = alerts
        self._about: dict[Place, list[Verdict]] = {}
        for line in lines:
            named = alerts.get(line.alert, ()) if line.alert else [line.text or line.frame]
            for place in named:
                if place is not None:
                    self._about.setdefault(place, []).append(line)

    def of(self, text: Place | None, frame: Place | None) -> Verdict | None:
        """Return the verdict for an observation, or None.

        Raises:
            DataError: Two verdicts of one weight say different things.
        """
        named = {place for place in (text, frame) if place is not None}
        about = {line.place: line for place in named for line in self._about.get(place, ())}
        fitting = [line for line in about.values() if self._fits(line, text, frame)]
        weight = max((line.weight for line in fitting), default=0)
        fitting = sorted((line for line in fitting if line.weight == weight), key=lambda line: line.place)
        for other in fitting[1:]:
            if set(other.labels) != set(fitting[0].labels):
                raise DataError(
                    f"{other.place}: expected the verdict of {fitting[0].place} ({', '.join(fitting[0].labels)}), "
                    f"about the same, found {', '.join(other.labels)}; a line with text and frame would decide"
                )
        return fitting[0] if fitting else None

    def _fits(self, line: Verdict, text: Place | None, frame: Place | None) -> bool:
        if line.alert:
            return {place for place in (text, frame) if place is not None} <= self._alerts[line.alert]
        return line.text in {None, text} and line.frame in {None, frame}


def read_verdicts(path: Path) -> Verdicts:
    """Read a CSV (or JSON lines) of verdicts.

    Columns: `alert` (id of an alert or incident), or `text` and `frame` (`topic/partition/offset`; one or both);
    `label`, or `labels` with `;` between them. A line without a label waits for a reviewer.

    Raises:
        DataError: A line or column is of another form; the message says which.
    """
    records = read_records(path)
    columns = set(records[0].values)
    if not columns & {"alert", "text", "frame"} or len(columns & {"label", "labels"}) != 1:
        raise DataError(
            f"{path}: expected the columns label (or labels) and alert, text or frame, found "
            f"{', '.join(sorted(columns))}"
        )
    lines = [_verdict(record) for record in records]
    judged = tuple(line for line in lines if line.labels)
    return Verdicts(judged, len(lines) - len(judged), "labels" in columns)


def _verdict(record: Record) -> Verdict:
    values = {name: "" if value is None else str(value).strip() for name, value in record.values.items()}
    alert = values.get("alert", "")
    text, frame = (_place(values.get(name, ""), name, record) for name in ("text", "frame"))
    if bool(alert) == (text is not None or frame is not None):
        raise DataError(
            f"{record.place}: expected an alert, or a text and frame, found {'both' if alert else 'neither'}"
        )
    names = values.get("labels", values.get("label", "")).split(_SEPARATOR if "labels" in values else "\0")
    labels = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    more = tuple(sorted((name, value) for name, value in values.items() if name not in _MEANT and value))
    return Verdict(record.place, alert, text, frame, labels, more)


def _place(value: str, column: str, record: Record) -> Place | None:
    if not value:
        return None
    try:
        return parse_place(value)
    except ValueError as error:
        raise DataError(f"{record.place}: expected topic/partition/offset in {column}, found {value!r}") from error
