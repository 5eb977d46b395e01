"""`vigil bundle`: what a model bundle says about itself, and whether it is valid on this machine.

In: a directory. Out: a table or JSON; exit status 4, with expected and found, where the bundle is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from stream_app.adapters.inference.engine import Engine
from stream_app.adapters.inference.providers import ProviderError
from stream_app.bundle import BundleError
from stream_app.bundle.demo import demo_bundle_path
from stream_app.bundle.graphs import GraphError
from stream_app.bundle.load import Bundle, load_bundle
from stream_app.bundle.manifest import Manifest
from stream_app.bundle.schema import schema_text
from stream_app.bundle.signature import check_signature, fingerprint, read_public_key
from stream_app.bundle.verify import THOROUGH_BATCHES, Measurement, measure, require
from stream_app.config import BY_NAME, Operational, Provider
from stream_app.terminal.console import console
from stream_app.terminal.lines import echo, echo_json
from stream_app.terminal.outcome import REFUSED, CommandError, notice
from stream_app.wiring.model import engine_settings

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show or check a model bundle.")

_Directory = Annotated[
    Path | None, typer.Argument(metavar="[DIR]", help="The folder with manifest.json; by default the demo bundle.")
]
_Key = Annotated[
    Path | None, typer.Option("--key", metavar="PUB", help="Public key (PEM) that it must be signed with.")
]
_AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")]


@app.command()
def show(directory: _Directory = None, *, as_json: _AsJson = False) -> None:
    """Print what the manifest says, after checking every file's hash. Nothing is run."""
    bundle = _load(directory)
    manifest = bundle.manifest
    if as_json:
        about = {"path": str(bundle.path), "sha256": bundle.sha256, "signed": bundle.signature is not None}
        _print_json(about | {"manifest": msgspec.to_builtins(manifest)})
        return
    table = _table()
    for name, value in _facts(bundle):
        table.add_row(name, value)
    console().print(table)


@app.command()
def check(
    directory: _Directory = None,
    *,
    provider: Annotated[Provider, typer.Option(help="Where to run it; any but auto must work here.")] = BY_NAME[
        "provider"
    ].default,
    key: _Key = None,
    as_json: _AsJson = False,
) -> None:
    """Check hashes, schema, shapes and opset, then run the self-check. Exit status 4 where the bundle is refused.

    With --key, the signature is checked too: a bundle without one is then refused.
    """
    bundle = _load(directory)
    signed = _signature(bundle, key)
    settings = engine_settings(Operational(provider=provider))
    try:
        engine = Engine.open(bundle, on_notice=notice, settings=settings)
        measurement = measure(bundle, engine.graphs, batch_sizes=THOROUGH_BATCHES)
        require(measurement)
    except (BundleError, GraphError, ProviderError) as error:
        raise CommandError(f"refused: {bundle.path}: {error}", status=REFUSED) from error
    if as_json:
        content = {"path": str(bundle.path), "sha256": bundle.sha256, "self_check": msgspec.to_builtins(measurement)}
        _print_json(content | {"signature": signed, "is_batch_exact": measurement.is_batch_exact})
        return
    table = _table()
    table.add_row("signature", signed)
    for name, value in _findings(measurement):
        table.add_row(name, value)
    console().print(table)
    echo(f"{bundle.manifest.name} {bundle.manifest.version} is valid; sha256 {bundle.sha256}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of manifests, as the package holds it in schemas/manifest.schema.json."""
    echo_json(schema_text().encode(), is_pretty=True)


def _signature(bundle: Bundle, key: Path | None) -> str:
    """Check the signature if there is a key, and say in words what is known about it."""
    if key is None:
        return "none" if bundle.signature is None else "not checked: name the public key with --key"
    try:
        public = read_public_key(key)
        check_signature(bundle, public)
    except BundleError as error:
        raise CommandError(f"refused: {bundle.path}: {error}", status=REFUSED) from error
    return f"valid, by the key {fingerprint(public)}"


def _load(directory: Path | None) -> Bundle:
    try:
        return load_bundle(demo_bundle_path() if directory is None else directory)
    except BundleError as error:
        where = "" if directory is None else f"{directory}: "
        raise CommandError(f"refused: {where}{error}", status=REFUSED) from error


def _facts(bundle: Bundle) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    facts = [
        ("bundle", f"{manifest.name} {manifest.version}"),
        ("path", str(bundle.path)),
        ("sha256", bundle.sha256),
        ("signature", "none" if bundle.signature is None else "Ed25519 (`vigil bundle check --key PUB` checks it)"),
        ("task", manifest.task),
    ]
    facts += [(f"label {label.name}", _thresholds(manifest, index)) for index, label in enumerate(manifest.labels)]
    image, text, features = manifest.image, manifest.text, manifest.features
    bounds = f"at most {text.max_chars} characters and {text.max_tokens} of {bundle.tokenizer.vocabulary_size} tokens"
    facts += [
        ("image", f"{image.width} x {image.height} {image.color}, {image.resize}, features {list(features.image)}"),
        ("text", f"{bounds}, {text.normalization}, features {list(features.text)}"),
        ("opset", str(manifest.opset)),
        ("graphs", ", ".join(f"{name} {len(data) / 1e6:.2f} MB" for name, data in bundle.graphs.items())),
        ("source revision", manifest.source_revision),
    ]
    free = {"training": manifest.training, "metrics": manifest.metrics}
    facts += [(what, f"{', '.join(sorted(content))}; --json prints them") for what, content in free.items() if content]
    return facts


def _thresholds(manifest: Manifest, index: int) -> str:
    label = manifest.labels[index]
    if not label.alerts:
        return "does not alert"
    return f"alerts; opens at {label.open_at:g}, supported from {label.close_at:g}"


def _findings(measurement: Measurement) -> list[tuple[str, str]]:
    sizes = ", ".join(map(str, measurement.batch_sizes))
    exact = "no bit changes" if measurement.is_batch_exact else "bits change, within the tolerance"
    findings = [
        ("provider", measurement.provider),
        ("parity", f"largest difference {measurement.parity_difference:.2g}, allowed {measurement.tolerance:g}"),
        ("cases", f"{measurement.case_count}, the largest difference in case {measurement.parity_case}"),
        ("batches", f"{exact}: rows in batches of {sizes} against the same row alone"),
    ]
    findings += [(f"  {graph}", f"{value:.2g}") for graph, value in measurement.batch_differences.items()]
    findings.append(("padding", f"largest difference {measurement.padding_difference:.2g} of padded texts"))
    return findings


def _table() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _print_json(content: object) -> None:
    echo_json(content, is_pretty=True)
