"""`vigil-export crossval`: one run per held-out fold. In: a configuration. Out: a folder of runs, and a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from stream_app.terminal.console import console
from vigil_export.cli.outcome import say
from vigil_export.cli.training import (
    ConfigArgument,
    DataOption,
    EpochsOption,
    FusionOption,
    ImageWeightsOption,
    ResumeOption,
    SeedOption,
    SettingsOption,
    overrides_of,
    training_failures,
    wanted,
)

app = typer.Typer(add_completion=False)


@app.command("crossval")
def crossval(  # noqa: PLR0913 - one parameter an option
    config: ConfigArgument = None,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the runs; must not exist, unless resumed.")],
    folds: Annotated[
        int | None, typer.Option(min=2, help="Number of folds; groups stay whole, labels are spread evenly.")
    ] = None,
    fold_column: Annotated[str, typer.Option(metavar="COLUMN", help="Column that names the fold of a row.")] = "",
    data: DataOption = None,
    fusion: FusionOption = "",
    image_weights: ImageWeightsOption = "",
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    settings: SettingsOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train and test once per held-out fold of a data set; `evaluate` and `compare` read the result like a run."""
    flags = {
        "data.path": data,
        "fusion.kind": fusion,
        "image.weights": image_weights,
        "recipe.epochs": epochs,
        "seed": seed,
        "data.folds": folds,
        "data.fold_column": fold_column,
    }
    overrides = overrides_of(settings, flags)
    # PyTorch takes seconds to import: --help should not.
    from vigil_export.training.crossval import crossval as compute  # noqa: PLC0415
    from vigil_export.training.run import RunFolder  # noqa: PLC0415

    with training_failures():
        run = RunFolder(out)
        found = compute(wanted(config, overrides, run, resume=resume), run, say=say, resume=resume)
    table = Table()
    for column in ("", *(f"{mode}: mean (sd)" for mode in found)):
        table.add_column(column, justify="right" if column else "left")
    for figure in found["rows"]:
        cells = (f"{figures[figure].mean:.3f} ({figures[figure].deviation:.3f})" for figures in found.values())
        table.add_row(figure, *cells)
    console().print(table)
    say(f"figures over all rows, with intervals: vigil-export evaluate {out}")
