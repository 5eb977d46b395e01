"""`vigil-export train`: a configuration in, a run folder out. Progress goes to standard error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from export.cli.outcome import USAGE, CommandError, failures, say

app = typer.Typer(add_completion=False)


@app.command("train")
def train(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A .toml or .yaml file; flags win over it.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run; must not exist, unless resumed.")],
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The data set (data.path).")] = None,
    fusion: Annotated[str, typer.Option(help="fusion.kind: concat, product, attention, image_only ...")] = "",
    epochs: Annotated[int | None, typer.Option(min=1, help="recipe.epochs.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Decides weights, order, dropout.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other key, such as recipe.batch=128.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with a training that was cut short.")] = False,
) -> None:
    """Train, calibrate on validation rows, and leave a run that can be evaluated, compared and exported."""
    overrides: dict[str, Any] = {}
    for pair in settings or ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise CommandError(f"--set: expected KEY=VALUE, found {pair}", status=USAGE)
        overrides[key] = value
    given = {"data.path": data and str(data), "fusion.kind": fusion or None, "recipe.epochs": epochs, "seed": seed}
    overrides |= {key: value for key, value in given.items() if value is not None}
    # PyTorch takes seconds to import: --help should not.
    from export.encoders import SpecError, WeightsError  # noqa: PLC0415
    from export.training.config import ConfigError, make_config, read_config  # noqa: PLC0415
    from export.training.fit import fit  # noqa: PLC0415
    from export.training.module import TrainingError  # noqa: PLC0415
    from export.training.run import RunError, RunFolder  # noqa: PLC0415

    run = RunFolder(out)
    try:
        if config is None and resume:
            config = run.config
        wanted = make_config({}, overrides) if config is None else read_config(config, overrides)
    except ConfigError as error:
        raise CommandError(str(error), status=USAGE) from error
    try:
        with failures():
            fit(wanted, run, say=say, resume=resume, shows_progress=sys.stderr.isatty())
    except (ConfigError, RunError, SpecError, TrainingError, WeightsError) as error:
        raise CommandError(str(error)) from error
