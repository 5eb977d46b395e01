"""`vigil-export bench`: how fast a bundle is on this machine. In: a bundle. Out: a table or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_app.terminal.lines import echo_json, echo_lines
from stream_app.terminal.outcome import REFUSED, USAGE, CommandError
from vigil_export.cli.outcome import say

app = typer.Typer(add_completion=False)


@app.command("bench")
def bench(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder with manifest.json.")],
    *,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", min=1, help="A batch size; may be repeated. [default: 1 2 4 8 16 32]")
    ] = None,
    provider: Annotated[
        list[str] | None, typer.Option("--provider", help="cpu, cuda or tensorrt; repeatable. [default: all that work]")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Intra-operator threads on the CPU.")] = 1,
    repeats: Annotated[int, typer.Option(min=3, help="Runs per batch size; the median is reported.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Measure images/s, texts/s, pairs/s and the latency of each batch, on every provider that works here.

    A pair runs both encoders and the fusion head; `fuse` is the head alone, on features already encoded. JPEG decoding
    is not timed.
    """
    from stream_app.bundle import BundleError  # noqa: PLC0415
    from stream_app.bundle.graphs import GraphError  # noqa: PLC0415
    from stream_app.bundle.load import load_bundle  # noqa: PLC0415
    from vigil_export.packing.bench import BATCHES, PROVIDERS, ProviderMissingError, measure_bundle  # noqa: PLC0415

    unknown = sorted(set(provider or ()) - set(PROVIDERS))
    if unknown:
        raise CommandError(f"--provider: expected {', '.join(PROVIDERS)}, found {', '.join(unknown)}", status=USAGE)
    try:
        found = load_bundle(bundle)
        report = measure_bundle(
            found,
            providers=tuple(dict.fromkeys(provider or ())),
            batches=tuple(sorted(set(batch or BATCHES))),
            threads=threads,
            repeats=repeats,
            say=say,
        )
    except BundleError as error:
        raise CommandError(f"{bundle}: {error}", status=REFUSED) from error
    except (GraphError, ProviderMissingError) as error:
        raise CommandError(str(error)) from error
    if as_json:
        echo_json(report, is_pretty=True)
    else:
        echo_lines(report.table())
