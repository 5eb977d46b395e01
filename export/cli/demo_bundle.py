"""`vigil-export demo-bundle`: the bundle that ships. Goes in: arguments. Goes out: a bundle directory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from export.cli.outcome import CommandError

app = typer.Typer(add_completion=False)


@app.command("demo-bundle")
def demo_bundle(
    *,
    out: Annotated[Path, typer.Option(help="Directory to create; must not exist.")],
    seed: Annotated[int, typer.Option(min=0, help="Decides pictures, texts, weights and order.")] = 0,
    epochs: Annotated[int, typer.Option(min=1)] = 7,
    rows: Annotated[int, typer.Option(min=128, help="Training rows to draw.")] = 12_000,
    check_rows: Annotated[int, typer.Option(min=240, help="Rows for calibration, and of each test set.")] = 3000,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of PyTorch. Another number, slightly other weights.")
    ] = 2,
    bf16: Annotated[
        bool, typer.Option(help="Compute convolutions in bfloat16: faster where the processor has it.")
    ] = False,
) -> None:
    """Draw the site, train the demo's model on it, measure it and pack it as a bundle."""
    # PyTorch takes seconds to import: --help should not.
    import cv2  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from export.demo_bundle import Order, make_demo_bundle  # noqa: PLC0415
    from export.packing.onnx_export import ExportRefusedError  # noqa: PLC0415
    from export.training.train import Recipe  # noqa: PLC0415
    from stream_app.bundle import BundleError  # noqa: PLC0415

    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    begun = time.monotonic()

    def say(line: str) -> None:
        typer.echo(f"{time.monotonic() - begun:6.1f} s  {line}", err=True)

    order = Order(
        rows=rows,
        validation_rows=check_rows,
        test_rows=check_rows,
        recipe=Recipe(epochs=epochs, seed=seed, uses_bf16=bf16),
    )
    try:
        make_demo_bundle(out, order, say=say)
    except (FileExistsError, ExportRefusedError, BundleError) as error:
        raise CommandError(str(error)) from error
