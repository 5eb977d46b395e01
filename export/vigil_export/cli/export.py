"""`vigil-export export`: the bundle of a run. In: a run's folder. Out: a bundle directory, or none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import REFUSED, USAGE, CommandError
from vigil_export.cli.outcome import failures, refuse_existing, say
from vigil_export.evaluation.variants import Variant

if TYPE_CHECKING:
    from vigil_export.packing.bundle import Result

app = typer.Typer(add_completion=False)

_Within = Annotated[
    float | None,
    typer.Option(
        "--choose-smallest-within",
        metavar="X",
        min=0,
        max=1,
        help="Choose the smallest variant that loses at most this much accuracy, balanced accuracy, AUROC and "
        "calibration; 0.005 is half a point.",
    ),
]


@app.command("export")
def export(  # noqa: PLR0913 - each is an option
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Bundle directory to create; must not exist.")],
    name: Annotated[str, typer.Option(help="Name of the bundle. [default: the name of RUN]")] = "",
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "1",
    variant: Annotated[Variant | None, typer.Option(help="fp16 for GPUs, int8 for CPUs. [default: fp32]")] = None,
    within: _Within = None,
    crossval: Annotated[
        Path | None,
        typer.Option("--crossval", metavar="DIR", help="Cross-validation of the same configuration, for the card."),
    ] = None,
    sign: Annotated[Path | None, typer.Option("--sign", metavar="KEY", help="Private key to sign with.")] = None,
    intended_use: Annotated[str, typer.Option(metavar="TEXT", help="For the card: what it is for.")] = "",
    data_origin: Annotated[
        str, typer.Option(metavar="TEXT", help="For the card: where pictures and texts come from.")
    ] = "",
    limits: Annotated[str, typer.Option(metavar="TEXT", help="For the card: what it must not be used for.")] = "",
    licence: Annotated[str, typer.Option(metavar="TEXT", help="For the card: terms of use.")] = "",
    facets: Annotated[
        list[str] | None,
        typer.Option(
            "--facet", metavar="COLUMN", help="Name its values on the card, with the accuracy of each; may be repeated."
        ),
    ] = None,
) -> None:
    """Export the three graphs of a run, check them against PyTorch, write the card, and pack them as a bundle.

    Variants other than fp32 are measured on the run's validation rows, so its data must still be there; the figures go
    on the card and, with this machine's speeds, into RUN/variants.json.
    """
    if variant is not None and within is not None:
        raise CommandError("expected --variant or --choose-smallest-within, found both", status=USAGE)
    if not run.is_dir():
        raise CommandError(f"{run}: expected the folder of a run, found none; `vigil-export train` makes one")
    if (run / "folds.json").exists():
        raise CommandError(
            f"{run}: expected a run with a model, found a cross-validation, which has none: use `train --all-rows`"
        )
    refuse_existing(out)
    name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", run.resolve().name).strip("-._") or "run"
    _require_names(name, version)
    # PyTorch takes seconds to import: --help and wrong usage should not wait for it.
    from stream_app.bundle import BundleError  # noqa: PLC0415
    from stream_app.bundle.graphs import GraphError  # noqa: PLC0415
    from stream_app.bundle.signature import read_private_key  # noqa: PLC0415
    from vigil_export.evaluation.predictions import PredictionsError  # noqa: PLC0415
    from vigil_export.packing.bundle import Order, make_bundle  # noqa: PLC0415
    from vigil_export.packing.card import About  # noqa: PLC0415
    from vigil_export.packing.onnx_export import ExportRefusedError  # noqa: PLC0415
    from vigil_export.packing.source import open_source  # noqa: PLC0415
    from vigil_export.training.run import RunError, RunFolder  # noqa: PLC0415

    with failures():
        try:
            order = Order(
                name=name,
                version=version,
                variant=variant or "fp32",
                within=within,
                about=About(intended_use, data_origin, limits, licence),
                key=None if sign is None else read_private_key(sign),
            )
            source = open_source(RunFolder(run), None if crossval is None else RunFolder(crossval), facets=facets or ())
            result = make_bundle(source, out, order, say=say)
        except (ExportRefusedError, BundleError, GraphError) as error:
            raise CommandError(str(error), status=REFUSED) from error
        except (RunError, PredictionsError) as error:
            raise CommandError(str(error)) from error
    _note_variants(run, result)
    size = sum(path.stat().st_size for path in out.iterdir())
    echo(f"wrote {out}: {size / 1e6:.2f} MB, {'signed' if sign else 'not signed'}, verified")


def _require_names(name: str, version: str) -> None:
    from stream_app.bundle.manifest import NAME_PATTERN  # noqa: PLC0415 - so that --help is quick

    for option, found in (("--name", name), ("--version", version)):
        if not re.fullmatch(NAME_PATTERN, found):
            expected = "1-64 of letters, digits, '.', '_', '-', the first a letter or digit"
            raise CommandError(f"{option}: expected {expected}, found {found!r}", status=USAGE)


def _note_variants(run: Path, result: Result) -> None:
    """Write the variants' figures into the run's folder; if that fails, the bundle is kept."""
    if not result.variants:
        return
    import msgspec  # noqa: PLC0415

    path = run / "variants.json"
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(list(result.variants.values())), indent=2) + b"\n")
    except OSError as error:
        say(f"{path}: could not be written: {error.strerror}")
