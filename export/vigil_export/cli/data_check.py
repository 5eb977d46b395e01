"""`vigil-export data check`: counts and findings of a data set. In: arguments. Out: tables, or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from stream_app.files import write_whole
from stream_app.terminal.console import console
from stream_app.terminal.lines import echo_json
from stream_app.terminal.outcome import REFUSED, USAGE, CommandError
from stream_app.terminal.progress import bar
from vigil_export.cli.options import (
    ColumnOption,
    DataArgument,
    GroupOption,
    LabelOption,
    LabelsOption,
    NegativeOption,
    SequenceOption,
    TaskOption,
    read_options,
)
from vigil_export.cli.outcome import failures
from vigil_export.data.checking.check import KINDS, Report
from vigil_export.data.checking.check import check as look_for_faults
from vigil_export.data.checking.duplicates import NEAR_BITS
from vigil_export.data.checking.parts import Part
from vigil_export.data.reading.read import open_dataset

_ERRORS = tuple(kind for kind, severity in KINDS.items() if severity == "error")
# Rows of labels and of languages in the table; the rest is in --json.
_LINES_AT_MOST = 24


def check(  # noqa: PLR0913 - one parameter an option
    folder: DataArgument,
    *,
    allow: Annotated[
        list[str] | None, typer.Option("--allow", metavar="KIND", help=f"Accept these: {', '.join(_ERRORS)}; or all.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE", help="Page to write: some rows of every label (.html).")
    ] = None,
    min_side: Annotated[int, typer.Option(min=1, help="A picture with a shorter side is tiny, pixels.")] = 32,
    bits: Annotated[
        int, typer.Option(min=0, max=32, help="Near duplicates: hashes differ in at most this many bits of 64.")
    ] = NEAR_BITS,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    label: LabelOption = "",
    group: GroupOption = "",
    sequence: SequenceOption = "",
    column: ColumnOption = None,
    task: TaskOption = "auto",
    labels: LabelsOption = None,
    negative: NegativeOption = None,
) -> None:
    """Count rows, and look for what spoils training or its figures: leaks, duplicates, broken pictures."""
    if unknown := set(allow or ()) - {*_ERRORS, "all"}:
        raise CommandError(f"--allow: expected {', '.join(_ERRORS)}, all; found {', '.join(unknown)}", status=USAGE)
    options = read_options(
        label=label, group=group, sequence=sequence, column=column, task=task, labels=labels, negative=negative
    )
    with failures():
        dataset = open_dataset(folder, options)
        with bar("reading pictures") as looking, bar("comparing pictures") as comparing:
            report = look_for_faults(dataset, min_side=min_side, bits=bits, looking=looking, comparing=comparing)
        if sheet is not None:
            from vigil_export.evaluation.report import sheet_page  # noqa: PLC0415 - matplotlib takes its time

            write_whole(sheet, sheet_page(dataset).encode())
    if as_json:
        echo_json(report, is_pretty=True)
    else:
        _show(report, folder)
    refused = report.refused(_ERRORS if "all" in (allow or ()) else allow or ())
    if refused:
        kinds = ", ".join(found.kind for found in refused)
        raise CommandError(f"REFUSED: {kinds}; fix it, or accept it with --allow", status=REFUSED)


def _show(report: Report, folder: Path) -> None:
    screen = console(highlight=False, soft_wrap=True)
    negative = f"; nothing happened: {', '.join(report.negative)}" if report.negative else ""
    screen.print(str(folder))
    screen.print(f"{report.task}: {', '.join(report.labels)}{negative}")
    screen.print(_table(report.parts))
    for found in report.findings:
        style = {"error": "bold red", "warning": "yellow"}.get(found.severity, "")
        screen.print(f"{found.severity:<8}{found.kind}: {found.count} {found.words}", style=style)
        for example in found.examples:
            screen.print(f"          {example}")


def _table(parts: Sequence[Part]) -> Table:
    table = Table()
    table.add_column("")
    for part in parts:
        table.add_column(part.name or "no split", justify="right")
    plain = ("rows", "groups", "pictures", "without_picture", "without_text", "without_label", "distinct_texts")
    for name in plain:
        table.add_row(name.replace("_", " "), *(str(getattr(part, name)) for part in parts))
    for title, field in (("label", "labels"), ("language", "languages")):
        names = list(dict.fromkeys(name for part in parts for name in getattr(part, field)))
        for name in names[:_LINES_AT_MOST]:
            cells = (_share(getattr(part, field).get(name, 0), part.rows) for part in parts)
            table.add_row(f"{title} {name}", *cells)
    return table


def _share(count: int, rows: int) -> str:
    return f"{count} ({count / rows:.0%})"
