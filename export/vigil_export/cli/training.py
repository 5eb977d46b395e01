"""What `train` and `crossval` share: how a configuration is assembled, and which failures are expected.

It must not import PyTorch before a command runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_app.terminal.outcome import USAGE, CommandError
from vigil_export.cli.outcome import failures
from vigil_export.training.run import RunError, RunFolder, TrainingError

if TYPE_CHECKING:
    from vigil_export.training.config import TrainConfig

ConfigArgument = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG]", help="A .toml or .yaml file; flags override it.")
]
DataOption = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The data set (data.path).")]
FusionOption = Annotated[str, typer.Option("--fusion", help="fusion.kind: concat, product, attention, image_only ...")]
ImageWeightsOption = Annotated[
    str,
    typer.Option(
        "--image-weights", metavar="pretrained|random|FILE", help="image.weights: the hub's, none, or a .safetensors."
    ),
]
EpochsOption = Annotated[int | None, typer.Option("--epochs", min=1, help="recipe.epochs.")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of weights, order and dropout.")]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other key, such as recipe.batch=128.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")]


def overrides_of(settings: Sequence[str] | None, flags: Mapping[str, object]) -> dict[str, Any]:
    """Return dotted key -> value of what was asked for besides the file.

    Args:
        settings: Values of `--set`; flags override them.
        flags: Dotted key -> value; empty means not given.

    Raises:
        CommandError: A setting is not KEY=VALUE.
    """
    overrides: dict[str, Any] = {}
    for pair in settings or ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise CommandError(f"--set: expected KEY=VALUE, found {pair}", status=USAGE)
        overrides[key] = value
    given = {key: value for key, value in flags.items() if value is not None and value is not False and value != ""}
    return overrides | {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}


def wanted(path: Path | None, overrides: dict[str, Any], run: RunFolder, *, resume: bool) -> TrainConfig:
    """Read the configuration; a resumed run has its own.

    Raises:
        CommandError: It cannot be read, or has an unknown key.
        RunError: There is nothing to resume.
    """
    from vigil_export.training.claim import require_begun  # noqa: PLC0415
    from vigil_export.training.config import ConfigError, make_config, read_config  # noqa: PLC0415

    if resume:
        require_begun(run)
    try:
        if path is None and resume:
            path = run.config
        if path is None and "data.path" not in overrides:
            raise CommandError("expected a CONFIG, or --data DIR, found neither", status=USAGE)
        return make_config({}, overrides) if path is None else read_config(path, overrides)
    except ConfigError as error:
        raise CommandError(str(error), status=USAGE) from error


@contextmanager
def training_failures() -> Iterator[None]:
    """Turn failures of configurations, data, weights, memory and files into a last line and status 1."""
    from vigil_export.evaluation.calibrated import CalibratedError  # noqa: PLC0415
    from vigil_export.evaluation.predictions import PredictionsError  # noqa: PLC0415
    from vigil_export.models.encoders import SpecError, WeightsError  # noqa: PLC0415
    from vigil_export.training.config import ConfigError  # noqa: PLC0415

    try:
        with failures():
            yield
    except (
        CalibratedError,
        ConfigError,
        PredictionsError,
        RunError,
        SpecError,
        TrainingError,
        WeightsError,
    ) as error:
        raise CommandError(str(error)) from error
