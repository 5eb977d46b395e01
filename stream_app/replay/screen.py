"""A report as lines of a terminal, 80 columns wide: what changes, at a glance.

In: a report. Out: lines in which nothing of a stranger's can steer a terminal. All of what differs is in the JSON and
on the page; here are the first of each kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.event_time import format_event_time
from stream_app.replay.compare import KINDS
from stream_app.replay.expect import in_words
from stream_app.terminal.sanitise import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream_app.replay.compare import Comparison, Load, Match, Row
    from stream_app.replay.incidents import Incident
    from stream_app.replay.report import Candidate, Judge, Recorded, Report, Side
    from stream_app.replay.verdicts import Judgement, Share

WIDTH = 80
#: So many incidents of a replay, or of those that differ, are listed; so many rows of labels and zones.
_LISTED = 12
_ROWS = 10
_HOUR_MS = 3_600_000


def screen_of(report: Report) -> list[str]:
    """Return the lines."""
    return [line[:WIDTH].rstrip() for line in _lines(report)]


def _lines(report: Report) -> Iterator[str]:
    yield from map(_recorded, report.recordings)
    for side in report.sides:
        yield from _judge(side.judge)
    if not report.candidates:
        yield ""
        yield from _incidents(report.base.incidents)
        yield from _totals(report.base)
        yield from _outcome(report.base)
    for candidate in report.candidates:
        yield ""
        yield from _candidate(report, candidate)
    for note in report.notes:
        yield ""
        yield from _wrapped(f"note: {visible(note)}")


def _recorded(recorded: Recorded) -> str:
    counts = f"{recorded.frames:,} frames, {recorded.texts:,} texts"
    if recorded.first_ms is None or recorded.last_ms is None:
        return f"{_cut(recorded.name, 24)}  no inputs"
    hours = (recorded.last_ms - recorded.first_ms) / _HOUR_MS
    return f"{_cut(recorded.name, 24)}  {_time(recorded.first_ms)}  {hours:.2f} h, {counts}"


def _judge(judge: Judge) -> Iterator[str]:
    model = f"{_cut(judge.model, 24)} {judge.model_sha256[:8]}" if judge.model else "several models"
    yield from _wrapped(f"{judge.name}  {model}, {visible(judge.words)}")


def _candidate(report: Report, candidate: Candidate) -> Iterator[str]:
    arrow = f"{report.base.judge.name} -> {candidate.side.judge.name}"
    comparison = candidate.comparison
    yield f"{'INCIDENTS':<42}{arrow:>10}   app  van  mov  res same"
    rows = sorted(comparison.rows, key=lambda row: -(row.appeared + row.vanished + row.moved + row.rescored))
    for row in rows[:_ROWS]:
        yield _row(f"{_cut(row.label, 18):<18} {_cut(row.zone, 22):<22}", row.before, row.after, _changes(row))
    if len(rows) > _ROWS:
        yield f"... and {len(rows) - _ROWS} more labels and zones"
    changes = [sum(match.kind == kind for match in comparison.matches) for kind in KINDS]
    yield _row(f"{'all':<41}", len(report.base.incidents), len(candidate.side.incidents), changes)
    yield from _differences(comparison.differing)
    if comparison.verdicts is not None:
        yield from _verdicts(comparison.verdicts.before, comparison.verdicts.after, arrow)
    yield ""
    yield from _alarms(comparison, report.operators, arrow)
    yield from _outcome(candidate.side)


def _row(name: str, before: int, after: int, changes: Sequence[int]) -> str:
    numbers = " ".join(f"{number or '.':>4}" for number in changes)
    return f"{name:<42}{f'{before} -> {after}':>10}  {numbers}"


def _changes(row: Row) -> tuple[int, ...]:
    return (row.appeared, row.vanished, row.moved, row.rescored, row.same)


def _differences(differing: Sequence[Match]) -> Iterator[str]:
    if not differing:
        return
    yield ""
    yield f"{'DIFFERENT':<9} {'start (UTC)':<14} {'label':<12} {'zone':<12} {'score':>12}  evidence"
    for match in differing[:_LISTED]:
        yield from _difference(match)
    if len(differing) > _LISTED:
        yield f"... and {len(differing) - _LISTED} more: --json and --html have them all"


def _difference(match: Match) -> Iterator[str]:
    one, before, after = match.either, match.before, match.after
    start = (before or one).start_ms
    score = f"{_score(before)}->{_score(after)}" if before and after else _score(one)
    name = f"{match.kind:<9} {_time(start)[5:]} {_cut(one.label, 12):<12} {_cut(one.zone, 12):<12} {score:>12}"
    yield f"{name}  {_evidence(one)}"
    if match.kind == "moved" and before is not None and after is not None:
        yield f"{'':<9} {_span(before)} -> {_span(after)}"


def _incidents(incidents: Sequence[Incident]) -> Iterator[str]:
    yield f"{'INCIDENTS':<14} {'for':>8} {'label':<14} {'zone':<14} {'score':>6}  evidence"
    for one in incidents[:_LISTED]:
        lasts = f"{(one.end_ms - one.start_ms) / 1_000:.1f} s"
        names = f"{_cut(one.label, 14):<14} {_cut(one.zone, 14):<14}"
        yield f"{_time(one.start_ms)[5:]} {lasts:>8} {names} {_score(one):>6}  {_evidence(one)}"
    if len(incidents) > _LISTED:
        yield f"... and {len(incidents) - _LISTED} more: --json and --html have them all"
    yield f"{len(incidents)} incidents"


def _totals(side: Side) -> Iterator[str]:
    words = ", ".join(f"{name} {number:,}" for name, number in sorted(side.totals.items()))
    if words:
        yield from _wrapped(words)


def _verdicts(before: Judgement, after: Judgement, arrow: str) -> Iterator[str]:
    yield ""
    yield f"{'VERDICTS':<12}{arrow}"
    yield f"{'true':<12}{before.true} -> {after.true}"
    yield f"{'false':<12}{before.false} -> {after.false}"
    yield f"{'unjudged':<12}{before.unjudged} -> {after.unjudged}"
    yield f"{'missed':<12}{before.missed} -> {after.missed}"
    yield f"{'precision':<12}{_share(before.precision)} -> {_share(after.precision)}"
    yield f"{'recall':<12}{_share(before.recall)} -> {_share(after.recall)}"


def _share(share: Share) -> str:
    if share.share is None:
        return "none judged"
    return f"{share.share:.2f} [{share.low:.2f}, {share.high:.2f}] ({share.count}/{share.of})"


def _alarms(comparison: Comparison, operators: int, arrow: str) -> Iterator[str]:
    before, after = comparison.alarms.before, comparison.alarms.after
    who = "operator" if operators == 1 else f"each of {operators} operators"
    yield f"ALARMS for {who} in ten minutes, {arrow}"
    yield _load(before, after)


def _load(before: Load, after: Load) -> str:
    return f"peak {before.peak:g} -> {after.peak:g}, mean {before.mean:g} -> {after.mean:g}"


def _outcome(side: Side) -> Iterator[str]:
    if side.outcome is not None:
        yield ""
        yield f"EXPECTED of {side.judge.name}"
        for line in in_words(side.outcome):
            yield from _wrapped(line)


def _evidence(incident: Incident) -> str:
    """Name the record that opened it by partition and offset, and say how many more there are."""
    opening, more = incident.opening, len(incident.evidence) + incident.evidence_left_out - 1
    return f"{opening.kind} {opening.place.partition}/{opening.place.offset}" + (f" +{more}" if more else "")


def _span(incident: Incident) -> str:
    return f"{_time(incident.start_ms)[11:]} for {(incident.end_ms - incident.start_ms) / 1_000:.1f} s"


def _score(incident: Incident) -> str:
    return f"{incident.score:.3f}"


def _time(time_ms: int) -> str:
    return format_event_time(time_ms)[:19].replace("T", " ")


def _cut(text: str, most: int) -> str:
    shown = visible(text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _wrapped(text: str) -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > WIDTH:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line
