"""The demo's last screen: what was played, found, missed, how fast, and whether anything was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_app.demo.judge import to_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.demo.books import Books
    from stream_app.demo.collecting import SeenAlert
    from stream_app.demo.truth import Outputs, PlantedIncident, Published

#: A report's clock may be this far off, so an alert this far from a planted incident still belongs to it. In ms.
_CLOCK_ERROR_MS = 3_000
_PERCENTILES = (50, 90, 99)


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """How the alerts compare with what was planted."""

    found: tuple[PlantedIncident, ...]
    missed: tuple[PlantedIncident, ...]
    false: tuple[dict[str, Any], ...]


def compare(published: Published, alerts: Sequence[dict[str, Any]]) -> Findings:
    """Match opened incidents with planted ones by zone, label and time."""
    opened = [alert for alert in alerts if alert.get("phase") == "opened"]
    found = tuple(planted for planted in published.incidents if any(_is_of(alert, planted) for alert in opened))
    missed = tuple(planted for planted in published.incidents if planted not in found)
    false = tuple(alert for alert in opened if not any(_is_of(alert, planted) for planted in published.incidents))
    return Findings(found=found, missed=missed, false=false)


def latencies(published: Published, seen: Sequence[SeenAlert]) -> list[int]:
    """Return per opened alert the ms from the append of its newest evidence to a subscriber having it."""
    appended = {("text", text.partition, text.offset): text.append_ms for text in published.texts}
    appended.update({("frame", frame.partition, frame.offset): frame.append_ms for frame in published.frames})
    found: list[int] = []
    for alert in seen:
        if alert.body["phase"] != "opened":
            continue
        newest = max(appended[one["kind"], one["partition"], one["offset"]] for one in alert.body["evidence"])
        found.append(alert.seen_ms - newest)
    return sorted(found)


def percentile(values: Sequence[int], percent: int) -> int:
    """Return a percentile by the nearest rank; the values are sorted and not empty."""
    return values[max(0, -(-len(values) * percent // 100) - 1)]


def show(
    console: Console,
    published: Published,
    outputs: Outputs,
    books: Books,
    seen: Sequence[SeenAlert],
    faults: Sequence[str],
    *,
    is_killed: bool,
) -> None:
    """Print the last screen.

    Args:
        console: for people.
        published: what was played.
        outputs: what came out.
        books: where every frame and text ended.
        seen: alerts with the times at which a subscriber had them.
        faults: what the judge found.
        is_killed: a worker was killed on the way; that is said beside the latencies that it made longer.
    """
    table = Table(title="What the demo showed", show_header=False, title_justify="left")
    phases = [str(alert["phase"]) for alert in outputs.alerts if "phase" in alert]
    table.add_row("frames, texts published", f"{len(published.frames)}, {len(published.texts)}")
    table.add_row("pairs joined, scored", f"{books.pairs_joined}, {books.pairs_scored}")
    counted = ", ".join(f"{phases.count(phase)} {phase}" for phase in ("opened", "updated", "closed"))
    table.add_row("alerts", f"{len(phases)}: {counted}")
    if published.has_truth:
        findings = compare(published, outputs.alerts)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(published.kinds.items()))
        table.add_row("reports planted", kinds)
        table.add_row("planted incidents found", f"{len(findings.found)} of {len(published.incidents)}")
        table.add_row(
            "missed", ", ".join(f"{planted.label} in {planted.zone}" for planted in findings.missed) or "none"
        )
        table.add_row("false incidents", ", ".join(f"{a['label']} in {a['zone']}" for a in findings.false) or "none")
    times = latencies(published, seen)
    if times:
        shown = ", ".join(f"p{percent} {percentile(times, percent)} ms" for percent in _PERCENTILES)
        killed = "\na worker was killed on the way: its tasks waited to be taken over" if is_killed else ""
        table.add_row("newest evidence → alert", Text(f"{shown}, max {times[-1]} ms (append to subscriber){killed}"))
    providers = sorted({str(decision["provider"]) for decision in outputs.decisions})
    table.add_row("provider", ", ".join(providers) or "none: nothing was scored")
    console.print(table)
    console.print(f"Books: {books.frames}", soft_wrap=True)
    console.print(f"       {books.texts}", soft_wrap=True)
    console.print(f"       distinct frames in decisions: {books.distinct_frames_scored}")
    if faults or not books.is_balanced:
        for fault in faults:
            # It may quote several lines of a log.
            console.print(Text(f"FAULT: {fault}"), style="bold red")
        if not books.is_balanced:
            console.print("FAULT: the books do not balance", style="bold red")
    else:
        console.print("Nothing lost, nothing twice, no wrong pair. The books balance.", style="bold green")


def starts_of(alert: dict[str, Any]) -> tuple[int, int]:
    """Return the event-time span of an alert's evidence, in ms."""
    return to_ms(alert["start"]), to_ms(alert["end"])


def _is_of(alert: dict[str, Any], planted: PlantedIncident) -> bool:
    start, end = starts_of(alert)
    is_same = alert["zone"] == planted.zone and alert["label"] == planted.label
    return is_same and start <= planted.end_ms + _CLOCK_ERROR_MS and end >= planted.start_ms - _CLOCK_ERROR_MS
