"""Options that several commands share: how a data set is to be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer

from stream_app.terminal.outcome import USAGE, CommandError
from vigil_export.data.reading.read import COLUMNS, ReadOptions
from vigil_export.data.rows import Task

DataArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder with metadata.jsonl, metadata.csv or questions; or such a file.")
]
LabelOption = Annotated[str, typer.Option("--label", metavar="COLUMN", help="Column of the label, if not `label`.")]
GroupOption = Annotated[
    str, typer.Option("--group", metavar="COLUMN", help="Column of what must stay in one split: scene, camera, person.")
]
SequenceOption = Annotated[
    str, typer.Option("--sequence", metavar="COLUMN", help="Column that pictures of one event share: clip.")
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="NAME=COLUMN", help=f"The name that a column has here: {', '.join(COLUMNS)}."),
]
TaskOption = Annotated[
    str, typer.Option("--task", help="auto, binary, multiclass or multilabel; auto infers it from the labels.")
]
LabelsOption = Annotated[
    list[str] | None, typer.Option("--labels", metavar="NAME", help="An output of the model; repeat, in order.")
]
NegativeOption = Annotated[
    list[str] | None, typer.Option("--negative", metavar="NAME", help='A label that means "nothing happened".')
]


def read_options(
    *,
    label: str = "",
    group: str = "",
    sequence: str = "",
    column: Sequence[str] | None = None,
    task: str = "auto",
    labels: Sequence[str] | None = None,
    negative: Sequence[str] | None = None,
) -> ReadOptions:
    """Combine the options of reading.

    Raises:
        CommandError: One of them is malformed.
    """
    if task not in {"auto", *get_args(Task)}:
        raise CommandError(f"--task: expected auto, {', '.join(get_args(Task))}, found {task}", status=USAGE)
    columns = {}
    for pair in column or ():
        ours, equals, theirs = pair.partition("=")
        if ours not in COLUMNS or not equals or not theirs:
            raise CommandError(
                f"--column: expected NAME=COLUMN, NAME of {', '.join(COLUMNS)}; found {pair}", status=USAGE
            )
        columns[ours] = theirs
    named = {"label": label, "group": group, "sequence": sequence}
    columns |= {ours: theirs for ours, theirs in named.items() if theirs}
    return ReadOptions(
        task=task,  # type: ignore[arg-type]
        labels=tuple(labels or ()),
        negative=tuple(negative or ()),
        columns=columns,
    )
