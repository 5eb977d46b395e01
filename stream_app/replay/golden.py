"""Golden incidents: those that a recording gave once, kept beside a test, and how others differ from them.

In: incidents, and the bytes of a golden file. Out: such bytes, or the lines of a difference for people.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import msgspec

from stream_app.core.event_time import format_event_time, parse_event_time
from stream_app.terminal.sanitise import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_app.replay.incidents import Incident


class GoldenError(ValueError):
    """A golden file of another form."""


class Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of an incident: what it is, when, where, and its score. Ids depend on offsets, and are not kept."""

    start: str
    end: str
    label: str
    zone: str
    score: float


def golden_of(incidents: Iterable[Incident]) -> list[Golden]:
    """Return what is kept of incidents."""
    return [
        Golden(
            start=format_event_time(one.start_ms),
            end=format_event_time(one.end_ms),
            label=one.label,
            zone=one.zone,
            score=one.score,
        )
        for one in incidents
    ]


def write_golden(incidents: Iterable[Incident]) -> bytes:
    """Return the bytes of a golden file, a line for each incident."""
    lines = [msgspec.json.encode(one) for one in golden_of(incidents)]
    return b"[\n  " + b",\n  ".join(lines) + b"\n]\n" if lines else b"[]\n"


def read_golden(data: bytes, name: str) -> list[Golden]:
    """Read a golden file.

    Raises:
        GoldenError: if it is of another form.
    """
    try:
        found = msgspec.json.decode(data, type=list[Golden])
        for one in found:
            parse_event_time(one.start)
            parse_event_time(one.end)
    except ValueError as error:
        raise GoldenError(f"{name}: expected a list of incidents, found: {error}") from error
    return found


def difference(golden: Sequence[Golden], incidents: Iterable[Incident], *, tolerance: float) -> list[str]:
    """Return the lines by which incidents differ from golden ones: ``-`` expected, ``+`` found; none where they agree.

    Args:
        golden: from :func:`read_golden`.
        incidents: in order of time.
        tolerance: scores that differ by no more agree; another processor may round otherwise.
    """
    left = list(golden)
    shown: list[str] = []
    for found in golden_of(incidents):
        same = next((one for one in left if _agree(one, found, tolerance)), None)
        if same is not None:
            left.remove(same)
        shown.append(_line(same or found))
    lines = difflib.unified_diff([_line(one) for one in golden], shown, "expected", "found", lineterm="", n=1)
    return list(lines)


def _agree(one: Golden, other: Golden, tolerance: float) -> bool:
    return msgspec.structs.replace(one, score=0.0) == msgspec.structs.replace(other, score=0.0) and (
        abs(one.score - other.score) <= tolerance
    )


def _line(one: Golden) -> str:
    return visible(f"{one.start} to {one.end}  {one.label} in {one.zone}, score {one.score:.4f}")
