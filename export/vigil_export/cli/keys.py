"""`vigil-export keys`: key pairs, and signatures of existing bundles. In: paths. Out: small files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import REFUSED, CommandError
from vigil_export.cli.outcome import failures, refuse_existing

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create keys and sign bundles.")


@app.command()
def create(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="NAME.key and NAME.pub are written; neither may exist.")],
) -> None:
    """Create an Ed25519 key pair: NAME.key signs and stays with you, NAME.pub goes to the workers."""
    from stream_app.bundle.signature import create_key_pair, fingerprint, read_public_key  # noqa: PLC0415 - quick help

    private, public = (name.with_name(f"{name.name}.{ending}") for ending in ("key", "pub"))
    refuse_existing(private)
    refuse_existing(public)
    with failures():
        for path, data, mode in zip((private, public), create_key_pair(), (0o600, 0o644), strict=True):
            # O_EXCL: of two that create the same pair at once, one fails, and no key is ever overwritten.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with open(handle, "wb") as file:  # noqa: PTH123 - a handle, not a path
                file.write(data)
        made = fingerprint(read_public_key(public))
    echo(f"wrote {private} (keep it secret) and {public}; fingerprint {made}")


@app.command()
def sign(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle not yet signed by another key.")],
    *,
    key: Annotated[Path, typer.Option("--key", metavar="KEY", help="Private key (PEM).")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace a signature by another key.")] = False,
) -> None:
    """Sign an existing bundle, after checking the hash of every file."""
    from stream_app.bundle import BundleError  # noqa: PLC0415
    from stream_app.bundle.load import load_bundle  # noqa: PLC0415
    from stream_app.bundle.manifest import SIGNATURE_NAME  # noqa: PLC0415
    from stream_app.bundle.signature import fingerprint, read_private_key  # noqa: PLC0415
    from stream_app.bundle.signature import sign as make_signature  # noqa: PLC0415
    from vigil_export.packing.folder import add_file  # noqa: PLC0415 - quick help

    with failures():
        try:
            private, found = read_private_key(key), load_bundle(bundle)
        except BundleError as error:
            raise CommandError(str(error), status=REFUSED) from error
        signature = make_signature(found.manifest_data, private)
        if found.signature not in {None, signature} and not replace:
            raise CommandError(f"{bundle}: expected no signature by another key, found one: --replace replaces it")
        add_file(bundle.resolve() / SIGNATURE_NAME, signature)
    echo(f"signed {found.manifest.name} {found.manifest.version} with the key {fingerprint(private.public_key())}")
