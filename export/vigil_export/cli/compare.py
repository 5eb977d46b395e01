"""`vigil-export compare`: is fusing worth it? In: runs. Out: one sentence, then tables, and a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from stream_app.files import write_whole
from stream_app.terminal.console import console
from stream_app.terminal.lines import echo, echo_json
from stream_app.terminal.progress import bar
from vigil_export.cli.outcome import say
from vigil_export.cli.runs import (
    JsonOption,
    ModeOption,
    ResamplesOption,
    SplitOption,
    calibrated_of,
    open_run,
    predictions_of,
    run_failures,
)
from vigil_export.evaluation.compare import HEADLINE, Comparison
from vigil_export.evaluation.compare import compare as compute
from vigil_export.evaluation.intervals import RESAMPLES
from vigil_export.evaluation.report import comparison_page
from vigil_export.evaluation.report.page import span

app = typer.Typer(add_completion=False)

FLATTERING = "Calibration was fitted to these validation rows: the figures are optimistic."
_SHOWN = ("accuracy", "AUROC", "ECE")


@app.command("compare")
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders; the first line is about the first fusion.")
    ],
    *,
    split: SplitOption = "test",
    mode: ModeOption = "rows",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Report to write (.html).")] = None,
    resamples: ResamplesOption = RESAMPLES,
    as_json: JsonOption = False,
) -> None:
    """Compare runs on the same decisions, always with text alone and image alone; the first line states the gain."""
    folders = [open_run(path) for path in runs]
    with run_failures():
        opened = [(predictions_of(folder, split, mode), calibrated_of(folder)) for folder in folders]
        with bar("intervals"):
            found = compute(opened, resamples=resamples)
        if split == "validation":
            found = replace(found, notes=(*found.notes, FLATTERING))
        if out is not None:
            write_whole(out, comparison_page(found).encode())
    if as_json:
        echo_json(_document(found), is_pretty=True)
    else:
        _show(found)
    if out is not None:
        say(f"report: {out}")


def _document(found: Comparison) -> dict[str, Any]:
    scored = found.contenders[0].scored
    return {
        "first_line": found.first_line,
        "decisions": len(scored),
        "groups": len(np.unique(scored.groups)),
        "contenders": [
            {"name": one.name, "sides": one.sides, "is_own_run": one.is_own_run} for one in found.contenders
        ],
        "figures": found.figures,
        "gains": found.gains,
        "pairs": found.pairs,
        "notes": found.notes,
    }


def _show(found: Comparison) -> None:
    echo(found.first_line)
    for gain in found.gains[1:]:
        echo(gain.sentence)
    screen = console()
    table = Table()
    for column in ("", "inputs", *_SHOWN):
        table.add_column(column, justify="right" if column in _SHOWN else "left", overflow="fold")
    for one in found.contenders:
        inputs = "both" if one.sides == "both" else f"{one.sides} alone"
        table.add_row(one.name, inputs, *(span(found.figures[one.name][figure]) for figure in _SHOWN))
    screen.print(table)
    pairs = Table(title="first minus second", title_justify="left")
    for column in ("first", "second", *HEADLINE):
        pairs.add_column(column, justify="left" if column in {"first", "second"} else "right", overflow="fold")
    for pair in found.pairs:
        differences = (span(pair.differences[figure], signed=True) for figure in HEADLINE)
        pairs.add_row(pair.first, pair.second, *differences)
    screen.print(pairs)
    for note in found.notes:
        echo(note)
