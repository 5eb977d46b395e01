"""`vigil-export data`: check, split and create data sets. In: arguments. Out: tables, folders, statuses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import USAGE, CommandError
from stream_app.terminal.progress import bar
from vigil_export.cli.data_check import check
from vigil_export.cli.data_decisions import from_decisions, verdicts
from vigil_export.cli.options import (
    ColumnOption,
    GroupOption,
    LabelOption,
    LabelsOption,
    NegativeOption,
    SequenceOption,
    TaskOption,
    read_options,
)
from vigil_export.cli.outcome import failures, refuse_existing, say
from vigil_export.data.dividing.partition import split as divide
from vigil_export.data.dividing.ties import tie_pictures as find_ties
from vigil_export.data.reading.read import open_datasets
from vigil_export.data.reading.site_folder import write_site
from vigil_export.data.reading.write import write_dataset
from vigil_export.data.rows import SPLIT_NAMES, Dataset, SplitName

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Check, split and create data sets.")

app.command()(check)
app.command()(verdicts)
app.command("from-decisions")(from_decisions)

OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to create; must not exist.")]


@app.command()
def split(  # noqa: PLR0913 - one parameter an option
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="A data set, or several to merge.")],
    *,
    out: OutOption,
    train: Annotated[float, typer.Option(min=0, help="Share of the rows.")] = 0.7,
    validation: Annotated[float, typer.Option(min=0)] = 0.15,
    test: Annotated[float, typer.Option(min=0)] = 0.15,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", metavar="SPLIT", help="Leave this split as it is; may be repeated.")
    ] = None,
    tie_pictures: Annotated[
        bool, typer.Option("--tie-pictures", help="Keep rows with equal or nearly equal pictures together.")
    ] = False,
    links: Annotated[bool, typer.Option("--links", help="Hard-link the pictures instead of copying.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same splits.")] = 0,
    label: LabelOption = "",
    group: GroupOption = "",
    sequence: SequenceOption = "",
    column: ColumnOption = None,
    task: TaskOption = "auto",
    labels: LabelsOption = None,
    negative: NegativeOption = None,
) -> None:
    """Split a data set into train, validation and test; groups stay whole, labels are spread evenly."""
    options = read_options(
        label=label, group=group, sequence=sequence, column=column, task=task, labels=labels, negative=negative
    )
    if unknown := set(keep or ()) - set(SPLIT_NAMES):
        raise CommandError(f"--keep: expected {', '.join(SPLIT_NAMES)}, found {', '.join(unknown)}", status=USAGE)
    shares = dict(zip(SPLIT_NAMES, (train, validation, test), strict=True))
    kept = tuple(name for name in SPLIT_NAMES if name in (keep or ()))
    if not any(share for name, share in shares.items() if name not in kept):
        raise CommandError("expected a share above 0 for a split that is not kept, found none", status=USAGE)
    refuse_existing(out)
    with failures():
        dataset = open_datasets(folders, options)
        say(_meaning(dataset))
        tied = _ties(dataset) if tie_pictures else ()
        divided = divide(dataset, shares, seed=seed, keep=kept, tied=tied)
        for doubt in _doubts(divided, {name: share for name, share in shares.items() if share and name not in kept}):
            say(f"WARNING: {doubt}")
        with bar("writing") as progress:
            write_dataset(out, divided, links=links, progress=progress)
    echo(_sizes(divided))
    echo(f"wrote {out}")


def _doubts(divided: Dataset, wanted: dict[SplitName, float]) -> Iterator[str]:
    whole = sum(wanted.values())
    if len(wanted) == len(SPLIT_NAMES) and not math.isclose(whole, 1, abs_tol=1e-6):
        taken = ", ".join(f"{name} {share / whole:.0%}" for name, share in wanted.items())
        yield f"the shares sum to {whole:g}, not to 1; using {taken}"
    present = {row.split for row in divided.rows}
    if empty := [name for name in wanted if name not in present]:
        groups = len({row.group for row in divided.rows})
        yield f"no rows left for {', '.join(empty)}: groups stay whole, and there are only {groups}"


@app.command()
def site(
    *,
    out: OutOption,
    train: Annotated[int, typer.Option(min=1, help="Pictures to draw.")] = 2000,
    validation: Annotated[int, typer.Option(min=0)] = 480,
    test: Annotated[int, typer.Option(min=0, help="Half of them with wording that training never uses.")] = 960,
    texts: Annotated[int, typer.Option(min=1, help="Texts per picture.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Determines every picture and text.")] = 0,
) -> None:
    """Draw the demo's security site as a data set, to try everything out."""
    refuse_existing(out)
    with failures(), bar("drawing") as progress:
        pictures: dict[SplitName, int] = {"train": train, "validation": validation, "test": test}
        rows = write_site(out, pictures, texts=texts, seed=seed, progress=progress)
    echo(f"wrote {out}: {rows} rows of {train + validation + test} pictures")


def _ties(dataset: Dataset) -> list[tuple[int, int]]:
    with bar("reading pictures") as looking, bar("comparing pictures") as comparing:
        return find_ties(dataset.rows, looking=looking, comparing=comparing)


def _meaning(dataset: Dataset) -> str:
    """Say how the labels were interpreted."""
    negative = f"; nothing happened: {', '.join(dataset.negative)}" if dataset.negative else ""
    return f"{dataset.task}: {', '.join(dataset.labels)}{negative}"


def _sizes(dataset: Dataset) -> str:
    lines = []
    for name in SPLIT_NAMES:
        rows = [row for row in dataset.rows if row.split == name]
        groups = len({row.group for row in rows})
        lines.append(f"{name:<10} {len(rows):>7} rows in {groups} groups")
    return "\n".join(lines)
