"""Loading a bundle: a directory in, checked bytes out. Nothing is run here and ONNX Runtime is not known.

Each file is read once, its SHA-256 is compared, and the very bytes that were compared are what everybody uses after:
a file that is exchanged in between changes nothing. A graph that keeps weights in another file is refused, for no hash
covers that one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream_app.bundle.errors import BundleError
from stream_app.bundle.manifest import (
    FILE_NAMES,
    FUSION_HEAD,
    IMAGE_ENCODER,
    MANIFEST_NAME,
    SIGNATURE_NAME,
    TEXT_ENCODER,
    TOKENIZER,
    Manifest,
    parse_manifest,
    sha256_hex,
)
from stream_app.bundle.onnx_model import opset_of, read_model, refuse_outside_data
from stream_app.bundle.text import Tokenizer

if TYPE_CHECKING:
    from pathlib import Path

_GRAPHS = (IMAGE_ENCODER, TEXT_ENCODER, FUSION_HEAD)
# A manifest is some kilobytes; one of gigabytes is a mistake that should not fill the memory before it is refused.
_MAX_MANIFEST_BYTES = 16 * 1024 * 1024
_SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files are exactly those its manifest names.

    ``sha256`` is the hash of ``manifest.json``, which holds the hash of every other file: it names the bundle.
    ``graphs`` are the serialized ONNX models by file name. ``manifest_data`` are the very bytes of the manifest, and
    ``signature`` what lies beside it, 64 bytes that nobody checked yet (``stream_app.bundle.signature``).
    """

    path: Path
    manifest: Manifest
    sha256: str
    graphs: dict[str, bytes]
    tokenizer: Tokenizer
    manifest_data: bytes
    signature: bytes | None


def load_bundle(directory: Path) -> Bundle:
    """Read and check a bundle.

    Args:
        directory: the folder that holds ``manifest.json``.

    Returns:
        The bundle; its graphs were not run yet (``stream_app.bundle.graphs``, ``stream_app.bundle.verify``).

    Raises:
        BundleError: if the manifest is refused, a file is missing, changed or too many, an opset differs, or a graph
            would have ONNX Runtime read another file.
    """
    if not directory.is_dir():
        raise BundleError("bundle", expected="a directory", found=str(directory))
    data = _read(directory, MANIFEST_NAME, limit=_MAX_MANIFEST_BYTES)
    manifest = parse_manifest(data)
    _check_file_set(directory)
    contents = {}
    for name in FILE_NAMES:
        contents[name] = _read(directory, name)
        found = sha256_hex(contents[name])
        if found != manifest.files[name]:
            raise BundleError(f"SHA-256 of {name}", expected=manifest.files[name], found=found)
    for name in _GRAPHS:
        model = read_model(contents[name], name)
        refuse_outside_data(model, name)
        opset = opset_of(model, name)
        if opset != manifest.opset:
            raise BundleError(f"opset of {name}", expected=manifest.opset, found=opset)
    return Bundle(
        path=directory,
        manifest=manifest,
        sha256=sha256_hex(data),
        graphs={name: contents[name] for name in _GRAPHS},
        tokenizer=Tokenizer(contents[TOKENIZER], manifest.text),
        manifest_data=data,
        signature=_read_signature(directory),
    )


def _check_file_set(directory: Path) -> None:
    expected = {MANIFEST_NAME, *FILE_NAMES}
    found = {entry.name for entry in directory.iterdir()}
    if found - {SIGNATURE_NAME} != expected:
        raise BundleError("files of the bundle", expected=sorted(expected), found=sorted(found))


def _read_signature(directory: Path) -> bytes | None:
    # Of a link that leads nowhere `exists` says no; such a bundle is not unsigned but damaged.
    if not (directory / SIGNATURE_NAME).exists() and not (directory / SIGNATURE_NAME).is_symlink():
        return None
    signature = _read(directory, SIGNATURE_NAME, limit=_SIGNATURE_BYTES)
    if len(signature) != _SIGNATURE_BYTES:
        raise BundleError(SIGNATURE_NAME, expected=f"{_SIGNATURE_BYTES} bytes", found=len(signature))
    return signature


def _read(directory: Path, name: str, *, limit: int | None = None) -> bytes:
    path = directory / name
    # A pipe in place of a file would stop start-up for ever.
    if not path.is_file():
        raise BundleError(name, expected="a file", found="none" if not path.exists() else "something else")
    size = path.stat().st_size
    if limit is not None and size > limit:
        raise BundleError(name, expected=f"at most {limit} bytes", found=size)
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(name, expected="a file that can be read", found=error.strerror) from error
