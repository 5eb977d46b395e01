"""`vigil-export train`: one run. In: a configuration. Out: a run folder; progress goes to standard error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_app.terminal.progress import bar
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
from vigil_export.training.run import RunFolder

app = typer.Typer(add_completion=False)


@app.command("train")
def train(  # noqa: PLR0913 - one parameter an option
    config: ConfigArgument = None,
    *,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run; must not exist, unless resumed.")],
    data: DataOption = None,
    fusion: FusionOption = "",
    image_weights: ImageWeightsOption = "",
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    all_rows: Annotated[
        bool, typer.Option("--all-rows", help="Train on all rows, the test split's too (data.uses_all_rows).")
    ] = False,
    settings: SettingsOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train, calibrate on validation rows, and leave a run that can be evaluated, compared and exported."""
    flags = {
        "data.path": data,
        "fusion.kind": fusion,
        "image.weights": image_weights,
        "recipe.epochs": epochs,
        "seed": seed,
        "data.uses_all_rows": all_rows,
    }
    overrides = overrides_of(settings, flags)
    # PyTorch takes seconds to import: --help should not.
    from vigil_export.training.fit import fit  # noqa: PLC0415

    run = RunFolder(out)
    with training_failures():
        asked = wanted(config, overrides, run, resume=resume)
        with bar("training") as progress:
            fit(asked, run, say=say, resume=resume, progress=progress)
