"""Two sides of a comparison, incident by incident: what a change would add, lose, move or rescore.

In: the incidents of both sides, and verdicts where there are some. Out: a :class:`Comparison`.

Two incidents of one zone and label are the same where one record opened both, else where their times overlap; each is
matched once. `moved` says that begin or end differ, `rescored` that only the score does.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal

import msgspec

from stream_app.replay.incidents import Incident, in_order_of_time
from stream_app.replay.verdicts import Judgement, judge

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from stream_app.replay.verdicts import Verdict

Kind = Literal["appeared", "vanished", "moved", "rescored", "same"]
KINDS: tuple[Kind, ...] = ("appeared", "vanished", "moved", "rescored", "same")
#: Alarms are counted in spans of this length, in ms.
SPAN_MS = 600_000


class Match(msgspec.Struct, frozen=True):
    """One incident on both sides, or on one."""

    kind: Kind
    before: Incident | None
    after: Incident | None

    @property
    def either(self) -> Incident:
        """The incident: as it is after, or as it was before."""
        found = self.after or self.before
        assert found is not None  # noqa: S101 - nothing is no match
        return found


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """How many incidents a label has in a zone, on either side, and what became of them."""

    label: str
    zone: str
    before: int
    after: int
    appeared: int
    vanished: int
    moved: int
    rescored: int
    same: int


class Load(msgspec.Struct, frozen=True):
    """Incidents that begin in ten minutes, per operator: the most in any such span, and the mean over the recording."""

    peak: float
    mean: float


class Change(msgspec.Struct, frozen=True):
    """A figure on both sides."""

    before: Load
    after: Load


class Verdicts(msgspec.Struct, frozen=True):
    """How both sides stand against the verdicts."""

    before: Judgement
    after: Judgement


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that differs between two sides, in order of time; rows by label and zone; ``verdicts`` if given."""

    matches: tuple[Match, ...]
    rows: tuple[Row, ...]
    alarms: Change
    verdicts: Verdicts | None

    @property
    def differing(self) -> tuple[Match, ...]:
        """The incidents that are not the same."""
        return tuple(match for match in self.matches if match.kind != "same")


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """Who would be woken, and for how long the recording goes: operators on duty, and its length in ms."""

    length_ms: int
    operators: int = 1


def compare(
    before: Sequence[Incident],
    after: Sequence[Incident],
    watch: Watch,
    *,
    verdicts: Sequence[Verdict] | None = None,
    alerting: Collection[str] = (),
) -> Comparison:
    """Compare two sides.

    Args:
        before: incidents of one side.
        after: incidents of the other.
        watch: operators, and length of the recording.
        verdicts: what reviewers found, if anything.
        alerting: labels that can open an incident on either side.
    """
    matches = tuple(match_all(before, after))
    return Comparison(
        matches=matches,
        rows=tuple(_rows(matches)),
        alarms=Change(load(before, watch), load(after, watch)),
        verdicts=None if verdicts is None else _judged(matches, before, after, verdicts, alerting),
    )


def match_all(before: Iterable[Incident], after: Iterable[Incident]) -> list[Match]:
    """Say of each incident what became of it, in order of time."""
    lefts, rights = _by_key(before), _by_key(after)
    found = [
        match
        for key in sorted(lefts.keys() | rights.keys())
        for match in _match_key(lefts.get(key, []), rights.get(key, []))
    ]
    return sorted(found, key=lambda match: in_order_of_time(match.before or match.either))


def load(incidents: Sequence[Incident], watch: Watch) -> Load:
    """Count the incidents that begin within ten minutes, per operator; the span of the peak begins anywhere."""
    times = sorted(incident.start_ms for incident in incidents)
    peak = first = 0
    for count, time in enumerate(times, 1):
        while time - times[first] >= SPAN_MS:
            first += 1
        peak = max(peak, count - first)
    spans = max(watch.length_ms / SPAN_MS, 1.0)
    return Load(round(peak / watch.operators, 2), round(len(times) / spans / watch.operators, 2))


def _by_key(incidents: Iterable[Incident]) -> dict[tuple[str, str], list[Incident]]:
    found: dict[tuple[str, str], list[Incident]] = defaultdict(list)
    for incident in sorted(incidents, key=in_order_of_time):
        found[incident.label, incident.zone].append(incident)
    return found


def _match_key(lefts: list[Incident], rights: list[Incident]) -> list[Match]:
    """Match incidents of one zone and label."""
    openings = {right.opening: right for right in rights}
    matches = []
    matched: set[str] = set()
    alone = []
    for left in lefts:
        right = openings.pop(left.opening, None)
        if right is None:
            alone.append(left)
        else:
            matched.add(right.id)
            matches.append(_match(left, right))
    others = [right for right in rights if right.id not in matched]
    for left in alone:
        meeting = [right for right in others if _overlap(left, right) >= 0]
        right = max(meeting, key=lambda one: _overlap(left, one), default=None)
        if right is not None:
            others.remove(right)
        matches.append(_match(left, right))
    return matches + [_match(None, right) for right in others]


def _overlap(one: Incident, other: Incident) -> int:
    """Return for how long both last, in ms; negative where they do not meet."""
    return min(one.end_ms, other.end_ms) - max(one.start_ms, other.start_ms)


def _match(before: Incident | None, after: Incident | None) -> Match:
    if before is None or after is None:
        return Match("appeared" if before is None else "vanished", before, after)
    if (before.start_ms, before.end_ms) != (after.start_ms, after.end_ms):
        return Match("moved", before, after)
    return Match("same" if before.score == after.score else "rescored", before, after)


def _rows(matches: Sequence[Match]) -> list[Row]:
    found: dict[tuple[str, str], list[Match]] = defaultdict(list)
    for match in matches:
        found[match.either.label, match.either.zone].append(match)
    return [
        Row(
            label=label,
            zone=zone,
            before=sum(match.before is not None for match in group),
            after=sum(match.after is not None for match in group),
            **{kind: sum(match.kind == kind for match in group) for kind in KINDS},
        )
        for (label, zone), group in sorted(found.items())
    ]


def _judged(
    matches: Sequence[Match],
    before: Sequence[Incident],
    after: Sequence[Incident],
    verdicts: Sequence[Verdict],
    alerting: Collection[str],
) -> Verdicts:
    """Judge both sides; a verdict about an alert holds for the incident that was matched with its own, too."""
    aliases: dict[str, tuple[str, ...]] = {}
    for match in matches:
        if match.before is not None and match.after is not None:
            aliases[match.before.id] = aliases[match.after.id] = (
                match.before.id, *match.before.alerts, match.after.id, *match.after.alerts,
            )  # fmt: skip
    return Verdicts(judge(before, verdicts, alerting, aliases), judge(after, verdicts, alerting, aliases))
