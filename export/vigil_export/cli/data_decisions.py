"""`vigil-export data verdicts` and `from-decisions`: decisions and reviewers' verdicts as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import USAGE, CommandError
from stream_app.terminal.progress import bar
from vigil_export.cli.outcome import failures, refuse_existing, say
from vigil_export.data.reading.write import write_dataset
from vigil_export.data.review.decisions import GroupBy, Outcome, as_dataset, judge, read_decisions
from vigil_export.data.review.evidence import read_evidence
from vigil_export.data.review.review import review_list
from vigil_export.data.review.verdicts import read_verdicts

_SHOWN = 5

DecisionsOption = Annotated[
    Path,
    typer.Option("--decisions", metavar="FILE", help="What `vigil decisions` recorded, or other JSON lines (.jsonl)."),
]
EvidenceOption = Annotated[
    list[Path], typer.Option("--evidence", metavar="DIR", help="What `vigil evidence` wrote; may be repeated.")
]


def verdicts(
    *,
    decisions: DecisionsOption,
    evidence: EvidenceOption,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV to create; must not exist.")],
    several: Annotated[
        bool, typer.Option("--several", help="Write a column `labels`, for several names separated by `;`.")
    ] = False,
) -> None:
    """List every judged text, for a reviewer to fill in what really happened."""
    from stream_app.files import write_whole  # noqa: PLC0415 - quick help

    refuse_existing(out)
    with failures():
        recorded = read_decisions(decisions)
        lines, content = review_list(recorded, read_evidence(evidence), has_lists=several)
        write_whole(out, content)
    echo(f"wrote {out}: {lines} texts and frames to judge, from {len(recorded)} decisions")


def from_decisions(
    *,
    decisions: DecisionsOption,
    verdicts: Annotated[
        Path, typer.Option("--verdicts", metavar="FILE", help="What really happened, as CSV: see docs/data.md.")
    ],
    evidence: EvidenceOption,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to create; must not exist.")],
    group_by: Annotated[
        str, typer.Option("--group-by", help="What must stay in one split: zone, camera or text.")
    ] = "zone",
) -> None:
    """Make a training set from reviewed decisions: the way from false alarms to a better model."""
    if group_by not in get_args(GroupBy):
        raise CommandError(f"--group-by: expected {', '.join(get_args(GroupBy))}, found {group_by}", status=USAGE)
    refuse_existing(out)
    with failures():
        recorded, judged = read_decisions(decisions), read_verdicts(verdicts)
        outcome = judge(recorded, judged, read_evidence(evidence), group_by=group_by)  # type: ignore[arg-type]
        say(f"{len(recorded)} decisions: {outcome.without_verdict} without a verdict")
        _say_some("without their records, left out", outcome.without_evidence)
        _say_some("verdicts match no decision (is the evidence of their alert given?)", outcome.unused)
        if judged.open:
            say(f"{judged.open} lines of verdicts have no label yet")
        _refuse_nothing(outcome)
        with bar("writing") as progress:
            write_dataset(out, as_dataset(outcome.rows, has_lists=judged.has_lists), progress=progress)
    echo(f"wrote {out}: {len(outcome.rows)} rows")


def _say_some(words: str, found: list[str]) -> None:
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        say(f"{len(found)} {words}: {'; '.join(found[:_SHOWN])}{more}")


def _refuse_nothing(outcome: Outcome) -> None:
    if not outcome.rows:
        raise CommandError("expected a decision with a verdict and all its records, found none; see above")
