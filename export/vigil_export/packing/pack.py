"""Packs a bundle. In: graphs, tokenizer, manifest fields, card. Out: a complete directory, or none.

The directory is verified as serving verifies it before it gets its name: nobody ever sees half a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_app.bundle.graphs import Graphs
from stream_app.bundle.image import self_check_image
from stream_app.bundle.load import load_bundle
from stream_app.bundle.manifest import MANIFEST_NAME, SIGNATURE_NAME, Manifest, SelfCheckCase, encode_manifest
from stream_app.bundle.signature import sign
from stream_app.bundle.text import Tokenizer
from stream_app.bundle.verify import THOROUGH_BATCHES, require
from stream_app.bundle.verify import measure as run_self_check
from vigil_export.models.model import FusionModel
from vigil_export.packing.folder import publish_folder


def self_check_cases(model: FusionModel, tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[SelfCheckCase, ...]:
    """Compute the expected results of the self-check with PyTorch: pairs, a lone text, a lone picture.

    Args:
        model: A trained model.
        tokenizer: The bundle's tokenizer.
        texts: At least one text.

    Returns:
        One pair per text, then one lone text and one lone picture; the logits are raw.
    """
    sides: list[tuple[int | None, str | None]] = [(seed, text) for seed, text in enumerate(texts, start=1)]
    sides += [(None, texts[0]), (5, None)]
    return tuple(
        SelfCheckCase(image_seed=seed, text=text, logits=_logits(model, tokenizer, seed, text)) for seed, text in sides
    )


def _logits(model: FusionModel, tokenizer: Tokenizer, seed: int | None, text: str | None) -> tuple[float, ...]:
    picture = self_check_image(seed or 0, model.spec.image.height, model.spec.image.width)
    tokens, length = tokenizer.encode_batch([text or "-"])
    with torch.inference_mode():
        logits = model(
            torch.from_numpy(np.stack([picture])),
            torch.from_numpy(tokens),
            torch.from_numpy(length),
            torch.full((1,), float(seed is not None)),
            torch.full((1,), float(text is not None)),
        )
    return tuple(round(float(value), 7) for value in logits[0])


def write_bundle(
    out: Path, manifest: Manifest, files: Mapping[str, bytes], *, key: Ed25519PrivateKey | None = None
) -> None:
    """Write, verify and publish a bundle directory.

    Args:
        out: The directory to create, `.../name/version`; its parents are made.
        manifest: The manifest; it names the hash of every file.
        files: Every other file by name.
        key: Signs the manifest; None leaves the bundle unsigned.

    Raises:
        FileExistsError: `out` exists; a bundle is never overwritten.
        BundleError: The bundle would not be accepted by serving; nothing is left behind.
        OSError: The disk is full, or the place cannot be written; nothing is left behind.
    """
    data = encode_manifest(manifest)
    signature = {} if key is None else {SIGNATURE_NAME: sign(data, key)}
    publish_folder(out, {**files, MANIFEST_NAME: data, **signature}, verify=_verify)


def _verify(directory: Path) -> None:
    bundle = load_bundle(directory)
    graphs = Graphs(bundle, providers=["CPUExecutionProvider"], intra_op_threads=1)
    require(run_self_check(bundle, graphs, batch_sizes=THOROUGH_BATCHES))
