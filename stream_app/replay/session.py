"""Recordings in, a report out: every recording is judged by every entrant, and the sides are held against each other.

It knows no files and no inference: recordings are open, scorers are ready.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from stream_app.core.event_time import format_event_time
from stream_app.core.types import InForce
from stream_app.replay.canonical import Done, Judged, Reached, Run, replay
from stream_app.replay.compare import Watch, compare
from stream_app.replay.expect import Expectations, hold_against
from stream_app.replay.incidents import Incidents, in_order_of_time, recorded_incidents
from stream_app.replay.overload import recorded_overload
from stream_app.replay.reading import readable
from stream_app.replay.recording import RecordingError
from stream_app.replay.report import Candidate, Judge, Recorded, Report, Side
from stream_app.replay.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stream_app.replay.incidents import Incident
    from stream_app.replay.overload import Overload
    from stream_app.replay.recording import Recording
    from stream_app.replay.rewriting import Rewriter
    from stream_app.replay.track import Pace
    from stream_app.runtime.ports.scoring import Scorer

_FROM_NOTHING = (
    "each recording is judged from nothing: incidents that were open before it begins, and texts that count "
    "together with earlier ones, are not known"
)
_AS_JOURNALED = "ticks and thinning levels are those of the journals, of whatever judged then"


class Named(msgspec.Struct, frozen=True):
    """An open recording and its name for people; ``in_force`` is what it says first to have been in force."""

    name: str
    recording: Recording
    in_force: InForce | None


class Entrant(msgspec.Struct, frozen=True):
    """One side of a comparison: what it is to people, what it puts in force for a recording, and its scorer."""

    words: str
    in_force: Callable[[Named], InForce]
    scorer: Scorer


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is to hold beside the incidents.

    With ``has_recorded_overload`` ticks and thinning levels are those that the recordings' journals tell.
    """

    has_recorded_overload: bool = False
    verdicts: tuple[Verdict, ...] | None = None
    expectations: Expectations | None = None
    operators: int = 1
    notes: tuple[str, ...] = ()


async def judge_recordings(
    recordings: Sequence[Named],
    entrants: Sequence[Entrant],
    asked: Asked,
    *,
    pace: Pace,
    rewriter: Rewriter | None = None,
    tell: Callable[[str, Reached], None] = lambda _, __: None,
) -> Report:
    """Judge recordings by all entrants; the first is the base that the others are held against.

    Args:
        recordings: at least one.
        entrants: at least one.
        asked: verdicts, expectations, operators.
        pace: idle time and limits.
        rewriter: gets all that a recording of the first entrant is made of; there is one recording then.
        tell: is told about the progress, by recording.

    Raises:
        RecordingError: if recordings overlap, one has no pictures, or one no journal where that is asked for.
    """
    _require_apart(recordings)
    sides: list[list[Incident]] = [[] for _ in entrants]
    totals = [Counter[str]() for _ in entrants]
    judges: list[dict[tuple[str, str], InForce]] = [{} for _ in entrants]
    recorded: list[Recorded] = []
    notes = [*asked.notes, _FROM_NOTHING, *([_AS_JOURNALED] if asked.has_recorded_overload else [])]
    is_damaged = False
    # All of them before the first begins: a bundle that is not at hand is said at once.
    choices = [[entrant.in_force(named) for entrant in entrants] for named in recordings]
    overloads = [_overload(named) if asked.has_recorded_overload else None for named in recordings]
    for named, chosen, overload in zip(recordings, choices, overloads, strict=True):
        found = [Incidents(named.recording.about.topics) for _ in entrants]
        done = await replay(
            named.recording,
            [Run(in_force, entrant.scorer) for in_force, entrant in zip(chosen, entrants, strict=True)],
            take=_into(found),
            pace=pace,
            overload=overload,
            rewriter=rewriter,
            tell=_told(tell, named.name),
        )
        for number, in_force in enumerate(chosen):
            sides[number] += found[number].all()
            totals[number].update(done.totals[number])
            judges[number][in_force.model.sha256, in_force.settings_sha256] = in_force
        recorded.append(_recorded(named, done))
        notes += _notes(named, done)
        is_damaged = is_damaged or bool(done.lost)
    judged = [
        Side(judge=_judge(number, entrant.words, list(found.values())), incidents=_sorted(side), totals=dict(total))
        for number, (entrant, found, side, total) in enumerate(zip(entrants, judges, sides, totals, strict=True))
    ]
    alerting = {
        label.name
        for found in judges
        for in_force in found.values()
        for label in in_force.model.labels
        if label.is_alerting
    }
    report = report_of(tuple(recorded), judged, msgspec.structs.replace(asked, notes=tuple(notes)), alerting)
    return msgspec.structs.replace(report, is_damaged=is_damaged)


def compare_recorded(recordings: Sequence[Named], asked: Asked) -> Report:
    """Compare the alerts that recordings hold, of one deployment and of others beside it; nothing is judged again.

    Raises:
        RecordingError: if an alert is not what its type says.
    """
    sides = []
    recorded = []
    lost: list[str] = []
    for number, named in enumerate(recordings):
        recorded.append(_surveyed(named, lost))
        found = [] if named.in_force is None else [named.in_force]
        judge = _judge(number, f"alerts recorded in {named.name}", found)
        sides.append(Side(judge=judge, incidents=recorded_incidents(named.recording)))
    # Without it, every verdict names a label that could have been alerted.
    alerting = {label.name for one in recordings if one.in_force for label in one.in_force.model.labels}
    alerting |= {incident.label for side in sides for incident in side.incidents}
    notes = (*asked.notes, *(f"not all could be read: {words}" for words in lost))
    report = report_of(tuple(recorded), sides, msgspec.structs.replace(asked, notes=notes), alerting)
    return msgspec.structs.replace(report, is_damaged=bool(lost))


def report_of(recorded: tuple[Recorded, ...], sides: Sequence[Side], asked: Asked, alerting: set[str]) -> Report:
    """Hold the sides against the first of them, and against what was expected of each."""
    length_ms = sum(one.last_ms - one.first_ms for one in recorded if one.first_ms is not None and one.last_ms)
    watch = Watch(length_ms=length_ms, operators=asked.operators)
    base, *others = sides
    # A comparison says what becomes of the candidates; the base is what it is.
    expecting = others or [base]
    outcomes = {
        side.judge.name: None
        if asked.expectations is None or side not in expecting
        else hold_against(asked.expectations, side.incidents)
        for side in sides
    }
    base, *others = [msgspec.structs.replace(side, outcome=outcomes[side.judge.name]) for side in sides]
    candidates = tuple(
        Candidate(
            side=other,
            comparison=compare(base.incidents, other.incidents, watch, verdicts=asked.verdicts, alerting=alerting),
        )
        for other in others
    )
    return Report(recordings=recorded, base=base, candidates=candidates, operators=asked.operators, notes=asked.notes)


def _into(found: Sequence[Incidents]) -> Callable[[Judged], None]:
    def take(part: Judged) -> None:
        for alert in part.alerts:
            found[part.run].take(alert, part.partition)

    return take


def _told(tell: Callable[[str, Reached], None], name: str) -> Callable[[Reached], None]:
    return lambda reached: tell(name, reached)


def _overload(named: Named) -> Mapping[int, Overload]:
    try:
        return recorded_overload(named.recording)
    except RecordingError as error:
        raise RecordingError(f"{named.name}: {error}") from error


def _require_apart(recordings: Sequence[Named]) -> None:
    """Make sure that no input is judged twice as if it had come twice.

    Raises:
        RecordingError: if two recordings of one deployment overlap.
    """
    by_start = sorted(recordings, key=lambda named: named.recording.about.from_ms)
    for number, first in enumerate(by_start):
        for second in by_start[number + 1 :]:
            one, other = first.recording.about, second.recording.about
            if one.deployment == other.deployment and other.from_ms < one.to_ms:
                raise RecordingError(
                    f"expected recordings that follow one another, found that {second.name} begins at "
                    f"{format_event_time(other.from_ms)}, before {first.name} ends"
                )


def _recorded(named: Named, done: Done) -> Recorded:
    return Recorded(
        name=named.name,
        deployment=named.recording.about.deployment,
        first_ms=done.first_ms,
        last_ms=done.last_ms,
        frames=done.frames,
        texts=done.texts,
    )


def _surveyed(named: Named, lost: list[str]) -> Recorded:
    """Count the inputs of a recording."""
    counts: Counter[str] = Counter()
    first_ms = last_ms = None
    for kind, record in readable(named.recording, lost):
        if kind in {"frames", "texts"}:
            counts[kind] += 1
            first_ms = record.append_ms if first_ms is None else min(first_ms, record.append_ms)
            last_ms = record.append_ms if last_ms is None else max(last_ms, record.append_ms)
    return Recorded(
        name=named.name,
        deployment=named.recording.about.deployment,
        first_ms=first_ms,
        last_ms=last_ms,
        frames=counts["frames"],
        texts=counts["texts"],
    )


def _notes(named: Named, done: Done) -> list[str]:
    notes = []
    if done.lost:
        notes.append(f"{named.name}: not all of it could be read, what follows is judged without: {done.lost}")
    if done.left_out:
        notes.append(f"{named.name}: {done.left_out:,} records are in it without their contents, and left out here")
    if done.unjournaled:
        tasks = ", ".join(map(str, done.unjournaled))
        notes.append(f"{named.name}: nothing in the journal of task {tasks}: there, ticks are those of gaps")
    if done.judges > 1:
        notes.append(
            f"{named.name}: {done.judges} different models or settings judged one after the other when it was "
            "recorded; here each side is judged by one from beginning to end"
        )
    return notes


def _judge(number: int, words: str, found: Sequence[InForce]) -> Judge:
    models = {in_force.model.sha256: in_force.model for in_force in found}
    settings = {in_force.settings_sha256 for in_force in found}
    model = next(iter(models.values())) if len(models) == 1 else None
    return Judge(
        name=chr(ord("A") + number),
        words=words,
        model="" if model is None else f"{model.name}/{model.version}",
        model_sha256="" if model is None else model.sha256,
        settings_sha256=settings.pop() if len(settings) == 1 else "",
    )


def _sorted(incidents: Sequence[Incident]) -> tuple[Incident, ...]:
    return tuple(sorted(incidents, key=in_order_of_time))
