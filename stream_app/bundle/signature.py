"""Who made a bundle: an Ed25519 signature over the bytes of its manifest, and the rule which bundles are trusted.

The manifest holds the SHA-256 of every other file, so its signature covers them all. ``manifest.sig`` is the bare
signature of 64 bytes (RFC 8032); keys are PEM files, so that OpenSSL can check what was signed here:
``openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in manifest.json -sigfile manifest.sig``. It must not know
settings; its refusals name settings only because a person has to act on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stream_app.bundle.demo import is_shipped
from stream_app.bundle.errors import BundleError
from stream_app.bundle.manifest import SIGNATURE_NAME, sha256_hex

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.bundle.load import Bundle

#: Why a bundle is trusted: its signature was checked, it came with the package, or it is allowed to go unsigned.
Trust = Literal["signed", "shipped", "allowed"]

# A key file has some hundred bytes; /dev/zero as a key should not fill the memory.
_MAX_KEY_BYTES = 64 * 1024
_KEY_COMMAND = "`vigil-export keys create` makes a pair"


def create_key_pair() -> tuple[bytes, bytes]:
    """Return a new private key (PKCS #8) and its public key, both PEM. The private one is not encrypted."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key()
    return (
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    )


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        BundleError: if the file is missing, encrypted, or holds another kind of key.
    """
    expected = f"an unencrypted private Ed25519 key (PEM); {_KEY_COMMAND}"
    data = _read_key(path, expected)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BundleError(str(path), expected=expected, found=_found(data, error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(str(path), expected=expected, found=type(key).__name__)
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        BundleError: if the file is missing or holds something else, such as the private key.
    """
    expected = f"a public Ed25519 key (PEM); {_KEY_COMMAND}"
    data = _read_key(path, expected)
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BundleError(str(path), expected=expected, found=_found(data, error)) from error
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(str(path), expected=expected, found=type(key).__name__)
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return what names a key to people: the first 16 hex digits of the SHA-256 of its 32 bytes."""
    return sha256_hex(key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))[:16]


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return the content of ``manifest.sig``, 64 bytes; equal for equal manifests and keys."""
    return key.sign(manifest)


def check_signature(bundle: Bundle, key: Ed25519PublicKey) -> None:
    """Check the signature of a bundle.

    Raises:
        BundleError: if there is none, or it is not that of this manifest by this key.
    """
    expected = f"a signature by the key {fingerprint(key)}"
    if bundle.signature is None:
        raise BundleError(SIGNATURE_NAME, expected=expected, found="none: the bundle is not signed")
    try:
        key.verify(bundle.signature, bundle.manifest_data)
    except InvalidSignature as error:
        found = "one by another key, or of another manifest"
        raise BundleError(SIGNATURE_NAME, expected=expected, found=found) from error


def require_trusted(bundle: Bundle, *, key: Ed25519PublicKey | None, allows_unsigned: bool) -> Trust:
    """Refuse an untrusted bundle.

    Args:
        bundle: a loaded bundle.
        key: the public key whose owner is trusted (setting ``bundle_key``), or None.
        allows_unsigned: whether a bundle may go without a checked signature (setting ``allow_unsigned``).

    Returns:
        Why it is trusted.

    Raises:
        BundleError: if there is a key and the signature is wrong, whatever is allowed; or if the bundle did not come
            with the package, has no checked signature, and that is not allowed.
    """
    if key is not None and bundle.signature is not None:
        check_signature(bundle, key)
        return "signed"
    if is_shipped(bundle.path):
        return "shipped"
    if allows_unsigned:
        return "allowed"
    if bundle.signature is None:
        what = "sign it (`vigil-export keys sign DIR --key KEY`) and name the public key in the setting bundle_key"
        found = "none"
    else:
        what, found = "name the public key of its maker in the setting bundle_key", "a signature, and no key"
    expected = f"a signature that can be checked: {what}, or set allow_unsigned=true to run it all the same"
    raise BundleError(f"{SIGNATURE_NAME} of {bundle.path}", expected=expected, found=found)


def _read_key(path: Path, expected: str) -> bytes:
    if not path.is_file():
        found = "none" if not path.exists() else "something that is no file"
        raise BundleError(str(path), expected=expected, found=found)
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise BundleError(str(path), expected=expected, found=error.strerror) from error


def _found(data: bytes, error: Exception) -> str:
    for word in ("PUBLIC KEY", "ENCRYPTED PRIVATE KEY", "PRIVATE KEY", "CERTIFICATE"):
        if f"BEGIN {word}".encode() in data:
            return f"a PEM file with: {word.lower()}"
    # The library explains itself at length; a key file is no secret, but its bytes do not belong in a log.
    return "no PEM" if b"-----BEGIN" not in data else type(error).__name__
