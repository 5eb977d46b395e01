"""Expectations: which incidents a recording has to give, as a file beside it, so that it becomes a test.

In: the text of a TOML file, and incidents. Out: which lines hold, which incidents no line covers, in words and as
JUnit.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from typing import TYPE_CHECKING, Literal
from xml.sax import saxutils

import msgspec

from stream_app.core.event_time import format_event_time, parse_event_time
from stream_app.replay.incidents import Incident
from stream_app.terminal.sanitise import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

_Uncovered = Literal["fail", "warn", "ignore"]
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class ExpectError(ValueError):
    """A file of expectations of another form; the message says where, expected and found."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation: of incidents of this label and zone (empty: any) that meet this time, how many there are.

    ``from_ms`` is included, ``to_ms`` is not; None is without end. An incident meets it with any moment of its own.
    """

    name: str
    label: str = ""
    zone: str = ""
    from_ms: int | None = None
    to_ms: int | None = None
    at_least: int = 0
    at_most: int | None = None

    def covers(self, incident: Incident) -> bool:
        """Return whether it says something of this incident."""
        return (
            (not self.label or self.label == incident.label)
            and (not self.zone or self.zone == incident.zone)
            and (self.from_ms is None or incident.end_ms >= self.from_ms)
            and (self.to_ms is None or incident.start_ms < self.to_ms)
        )

    @property
    def wanted(self) -> str:
        """The number that is expected, in words."""
        if self.at_least == self.at_most:
            return f"exactly {self.at_least}"
        bounds = [f"at least {self.at_least}"] if self.at_least else []
        return " and ".join(bounds + ([] if self.at_most is None else [f"at most {self.at_most}"]))


class Expectations(msgspec.Struct, frozen=True):
    """The lines of a file, and what becomes of an incident that none of them covers."""

    lines: tuple[Line, ...]
    uncovered: _Uncovered


class Result(msgspec.Struct, frozen=True):
    """One line, and the incidents that it covers."""

    line: Line
    found: tuple[Incident, ...]

    @property
    def holds(self) -> bool:
        """Whether there are as many as expected."""
        count = len(self.found)
        return self.line.at_least <= count and (self.line.at_most is None or count <= self.line.at_most)

    @property
    def words(self) -> str:
        """Expected and found, on one line."""
        found = ", ".join(map(_brief, self.found[:3])) + (", ..." if len(self.found) > 3 else "")
        return f"expected {self.line.wanted}, found {len(self.found)}{': ' if found else ''}{found}"


class Outcome(msgspec.Struct, frozen=True):
    """What became of the expectations."""

    results: tuple[Result, ...]
    uncovered: tuple[Incident, ...]
    policy: _Uncovered

    @property
    def holds(self) -> bool:
        """Whether nothing failed."""
        return all(result.holds for result in self.results) and not (self.policy == "fail" and self.uncovered)


class _Entry(msgspec.Struct, forbid_unknown_fields=True, rename={"from_": "from"}):
    name: str = ""
    label: str = ""
    zone: str = ""
    from_: object = None
    to: object = None
    at_least: int | None = None
    at_most: int | None = None
    exactly: int | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    expect: list[_Entry]
    uncovered: _Uncovered = "fail"


def read_expectations(text: str, name: str) -> Expectations:
    """Read a file of expectations.

    Args:
        text: TOML; see docs/comparing.md.
        name: of the file, for messages.

    Raises:
        ExpectError: if it is of another form.
    """
    try:
        found = msgspec.convert(tomllib.loads(text), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise ExpectError(f"{name}: expected expectations as in docs/comparing.md, found: {error}") from error
    lines = tuple(_line(entry, f"{name}: expect[{number}]") for number, entry in enumerate(found.expect))
    return Expectations(lines, found.uncovered)


def hold_against(expectations: Expectations, incidents: Sequence[Incident]) -> Outcome:
    """Hold incidents against expectations."""
    results = tuple(
        Result(line, tuple(incident for incident in incidents if line.covers(incident))) for line in expectations.lines
    )
    covered = {incident.id for result in results for incident in result.found}
    uncovered = tuple(incident for incident in incidents if incident.id not in covered)
    return Outcome(results, uncovered, expectations.uncovered)


def in_words(outcome: Outcome) -> list[str]:
    """Return lines for people: what failed first, then what no line covers, then a count."""
    lines = [f"FAILED  {visible(one.line.name)}: {visible(one.words)}" for one in outcome.results if not one.holds]
    if outcome.policy != "ignore":
        word = "FAILED " if outcome.policy == "fail" else "warning"
        lines += [f"{word} no line covers {visible(_brief(incident))}" for incident in outcome.uncovered]
    held = sum(result.holds for result in outcome.results)
    return [*lines, f"{held} of {len(outcome.results)} expectations hold, {len(outcome.uncovered)} incidents uncovered"]


def junit(outcomes: Sequence[tuple[str, Outcome]]) -> str:
    """Return JUnit XML: one suite per side, one case per line, and one for what no line covers."""
    suites = [_suite(name, outcome) for name, outcome in outcomes]
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>", *suites, "</testsuites>", ""])


def _suite(name: str, outcome: Outcome) -> str:
    suite = saxutils.quoteattr(visible(name))
    cases = [_case(suite, one.line.name, "" if one.holds else one.words) for one in outcome.results]
    if outcome.policy != "ignore":
        words = ", ".join(map(_brief, outcome.uncovered))
        failure = f"no line covers {words}" if words and outcome.policy == "fail" else ""
        output = f"warning: no line covers {words}" if words and outcome.policy == "warn" else ""
        cases.append(_case(suite, "every incident is covered", failure, output))
    failures = sum("<failure" in case for case in cases)
    head = f'<testsuite name={suite} tests="{len(cases)}" failures="{failures}" errors="0" skipped="0">'
    return "\n".join([head, *cases, "</testsuite>"])


def _case(suite: str, name: str, failure: str, output: str = "") -> str:
    words = saxutils.escape(visible(failure))
    inner = f"<failure message={saxutils.quoteattr(visible(failure))}>{words}</failure>" if failure else ""
    inner += f"<system-out>{saxutils.escape(visible(output))}</system-out>" if output else ""
    return f"<testcase classname={suite} name={saxutils.quoteattr(visible(name))}>{inner}</testcase>"


def _brief(incident: Incident) -> str:
    return f"{incident.label} in {incident.zone} at {format_event_time(incident.start_ms)}"


def _line(entry: _Entry, where: str) -> Line:
    if entry.exactly is not None and (entry.at_least is not None or entry.at_most is not None):
        raise ExpectError(f"{where}: expected exactly, or at_least and at_most, found both")
    at_least, at_most = entry.at_least or 0, entry.at_most
    if entry.exactly is not None:
        at_least = at_most = entry.exactly
    elif entry.at_least is None and at_most is None:
        raise ExpectError(f"{where}: expected exactly, at_least or at_most, found none")
    if at_least < 0 or (at_most is not None and at_most < at_least):
        raise ExpectError(f"{where}: expected 0 <= at_least <= at_most, found {at_least} and {at_most}")
    from_ms, to_ms = _moment(entry.from_, f"{where}.from"), _moment(entry.to, f"{where}.to")
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise ExpectError(f"{where}: expected from before to, found {entry.from_} and {entry.to}")
    line = Line(
        name=entry.name,
        label=entry.label,
        zone=entry.zone,
        from_ms=from_ms,
        to_ms=to_ms,
        at_least=at_least,
        at_most=at_most,
    )
    return msgspec.structs.replace(line, name=entry.name or _name_of(line))


def _name_of(line: Line) -> str:
    words = f"{line.label or 'any label'} in {line.zone or 'any zone'}"
    if line.from_ms is not None:
        words += f" from {format_event_time(line.from_ms)}"
    return words if line.to_ms is None else f"{words} to {format_event_time(line.to_ms)}"


def _moment(value: object, where: str) -> int | None:
    """Return a time of TOML's own, or of text, in ms since the Unix epoch."""
    if value is None:
        return None
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return (value - _EPOCH) // dt.timedelta(milliseconds=1)
    try:
        return parse_event_time(str(value))
    except ValueError as error:
        raise ExpectError(f"{where}: expected a time with offset, as 2026-01-01T02:03:04Z, found {value}") from error
