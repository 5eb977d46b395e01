"""Who made a recording: an Ed25519 signature over the SHA-256 of its file, beside it.

In: a file and a key. Out: ``FILE.sig`` with the bare 64 bytes (RFC 8032), by keys as bundles are signed with. OpenSSL
checks it too: ``openssl dgst -sha256 -binary FILE > digest``, then ``openssl pkeyutl -verify -pubin -inkey KEY.pub
-rawin -in digest -sigfile FILE.sig``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature

from stream_app.bundle.signature import fingerprint, sign
from stream_app.files import write_whole
from stream_app.replay.recording import RecordingError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_SIGNATURE_BYTES = 64


def signature_path(path: Path) -> Path:
    """Return where the signature of a file lies."""
    return path.with_name(f"{path.name}.sig")


def sign_file(path: Path, key: Ed25519PrivateKey) -> None:
    """Sign a file.

    Raises:
        OSError: if it cannot be read, or the signature not be written.
    """
    write_whole(signature_path(path), sign(_digest(path), key))


def check_file(path: Path, key: Ed25519PublicKey) -> None:
    """Check the signature of a file.

    Raises:
        RecordingError: if there is none, or it is not that of this file by this key.
        OSError: if it cannot be read.
    """
    expected = f"{path}: expected a signature by the key {fingerprint(key)}"
    beside = signature_path(path)
    if not beside.is_file():
        raise RecordingError(f"{expected}, found none")
    with beside.open("rb") as file:
        signature = file.read(_SIGNATURE_BYTES + 1)
    try:
        key.verify(signature, _digest(path))
    except InvalidSignature as error:
        raise RecordingError(f"{expected}, found one by another key, or of other bytes") from error


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
