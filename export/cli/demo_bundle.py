"""`vigil-export demo-bundle`: the bundle that ships. Goes in: arguments. Goes out: a bundle directory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from export.cli.training import EpochsOption, FusionOption, SettingsOption, overrides_of, training_failures
from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import REFUSED, CommandError

app = typer.Typer(add_completion=False)

_Pictures = Annotated[int, typer.Option(min=48, help="Pictures to draw.")]


@app.command("demo-bundle")
def demo_bundle(  # noqa: PLR0913 - one parameter an option
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Bundle directory to create; must not exist.")],
    work: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep data set and run here. [default: nowhere]")
    ] = None,
    train: _Pictures = 12_000,
    validation: _Pictures = 3000,
    test: _Pictures = 6000,
    seed: Annotated[int, typer.Option(min=0, help="Decides pictures, texts, weights and order.")] = 0,
    fusion: FusionOption = "",
    epochs: EpochsOption = None,
    settings: SettingsOption = None,
) -> None:
    """Draw the site, train the demo's model on it, test it and pack it as a bundle.

    The same as `data site`, `train` with export/site.toml, `evaluate` and `export` one after the other.
    """
    overrides: dict[str, Any] = overrides_of(
        settings, data=None, fusion=fusion, image_weights="", epochs=epochs, seed=None
    )
    # PyTorch takes seconds to import: --help should not.
    from export.demo_bundle import Order, make_demo_bundle  # noqa: PLC0415
    from export.packing.onnx_export import ExportRefusedError  # noqa: PLC0415
    from stream_app.bundle import BundleError  # noqa: PLC0415

    begun = time.monotonic()

    def say(line: str) -> None:
        echo(f"{time.monotonic() - begun:6.1f} s  {line}", err=True)

    order = Order(train=train, validation=validation, test=test, seed=seed, overrides=overrides)
    with training_failures():
        try:
            make_demo_bundle(out, order, say=say, work=work)
        except (ExportRefusedError, BundleError) as error:
            raise CommandError(str(error), status=REFUSED) from error
    size = sum(path.stat().st_size for path in out.iterdir())
    echo(f"wrote {out}: {size / 1e6:.2f} MB, verified")
