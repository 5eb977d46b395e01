"""Signatures: what was signed is trusted, a wrong signature never, none only if allowed or the bundle ships."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stream_app.bundle import BundleError
from stream_app.bundle import manifest as m
from stream_app.bundle.demo import demo_bundle_path
from stream_app.bundle.load import load_bundle
from stream_app.bundle.signature import (
    check_signature,
    create_key_pair,
    fingerprint,
    read_private_key,
    read_public_key,
    require_trusted,
    sign,
)
from stream_app.cli import main
from stream_app.config import load_settings
from stream_app.terminal.outcome import REFUSED
from stream_app.wiring.model import trusted_bundle
from tests.bundle.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("maker", "other"):
        private, public = create_key_pair()
        (folder / f"{name}.key").write_bytes(private)
        (folder / f"{name}.pub").write_bytes(public)
    return folder


@pytest.fixture
def unsigned(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


@pytest.fixture
def signed(unsigned: Path, keys: Path) -> Path:
    _sign(unsigned, keys / "maker.key")
    return unsigned


def _sign(bundle: Path, key: Path) -> None:
    data = (bundle / m.MANIFEST_NAME).read_bytes()
    (bundle / m.SIGNATURE_NAME).write_bytes(sign(data, read_private_key(key)))


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    output = capsys.readouterr()
    code = ended.value.code
    return code if isinstance(code, int) else 0, output.out, output.err


def test_a_signature_holds_for_its_manifest_and_its_key_alone(signed: Path, keys: Path) -> None:
    maker, other = (read_public_key(keys / f"{name}.pub") for name in ("maker", "other"))
    bundle = load_bundle(signed)
    check_signature(bundle, maker)
    with pytest.raises(BundleError, match=f"by the key {fingerprint(other)}, found one by another key"):
        check_signature(bundle, other)
    manifest = signed / m.MANIFEST_NAME
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    with pytest.raises(BundleError, match="of another manifest"):
        check_signature(load_bundle(signed), maker)


def test_equal_manifests_have_equal_signatures_that_openssl_checks_too(signed: Path, keys: Path) -> None:
    before = (signed / m.SIGNATURE_NAME).read_bytes()
    _sign(signed, keys / "maker.key")
    assert (signed / m.SIGNATURE_NAME).read_bytes() == before
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to compare with")
    words = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(keys / "maker.pub"), "-rawin"]
    words += ["-in", str(signed / m.MANIFEST_NAME), "-sigfile", str(signed / m.SIGNATURE_NAME)]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("data", [b"", b"short", bytes(65)])
def test_a_signature_of_another_length_is_refused_when_the_bundle_is_loaded(unsigned: Path, data: bytes) -> None:
    (unsigned / m.SIGNATURE_NAME).write_bytes(data)
    with pytest.raises(BundleError, match=r"manifest\.sig: expected"):
        load_bundle(unsigned)


def test_a_signature_that_leads_nowhere_is_no_missing_one(unsigned: Path) -> None:
    (unsigned / m.SIGNATURE_NAME).symlink_to(unsigned / "nothing")
    with pytest.raises(BundleError, match=r"manifest\.sig: expected a file"):
        load_bundle(unsigned)


def test_the_rule_which_bundles_are_trusted(signed: Path, keys: Path, tmp_path: Path) -> None:
    maker, other = (read_public_key(keys / f"{name}.pub") for name in ("maker", "other"))
    good, bare = load_bundle(signed), load_bundle(write_tiny_bundle(tmp_path / "bare"))
    shipped = load_bundle(demo_bundle_path())
    for allows in (False, True):
        assert require_trusted(good, key=maker, allows_unsigned=allows) == "signed"
        assert require_trusted(shipped, key=None, allows_unsigned=allows) == "shipped"
        with pytest.raises(BundleError, match="another key"):
            require_trusted(good, key=other, allows_unsigned=allows)
    for bundle, key in ((good, None), (bare, None), (bare, maker)):
        assert require_trusted(bundle, key=key, allows_unsigned=True) == "allowed"
        with pytest.raises(BundleError, match=r"setting bundle_key, or set allow_unsigned=true"):
            require_trusted(bundle, key=key, allows_unsigned=False)


def test_a_copy_of_the_shipped_bundle_is_as_strange_as_any_other_and_a_link_to_it_is_not(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(demo_bundle_path(), tmp_path / "copy"))
    with pytest.raises(BundleError, match="allow_unsigned"):
        require_trusted(load_bundle(copy), key=None, allows_unsigned=False)
    (tmp_path / "link").symlink_to(demo_bundle_path())
    assert require_trusted(load_bundle(tmp_path / "link"), key=None, allows_unsigned=False) == "shipped"


def test_a_worker_takes_key_and_permission_from_its_settings(signed: Path, keys: Path) -> None:
    def load(*assignments: str) -> str:
        return trusted_bundle(load_settings(environ={}, assignments=assignments).operational).manifest.name

    bundle = f"bundle={signed}"
    assert load() == "site"
    assert load(bundle, f"bundle_key={keys / 'maker.pub'}") == "tiny"
    assert load(bundle, "allow_unsigned=true") == "tiny"
    for assignments in ((bundle,), (bundle, f"bundle_key={keys / 'other.pub'}", "allow_unsigned=true")):
        with pytest.raises(BundleError, match="signature"):
            load(*assignments)
    with pytest.raises(BundleError, match="expected a public Ed25519 key"):
        load(bundle, "bundle_key=/nowhere/at/all", "allow_unsigned=true")


@pytest.mark.parametrize("name", [*m.FILE_NAMES, m.MANIFEST_NAME, m.SIGNATURE_NAME])
@pytest.mark.parametrize("how", ["changed", "longer", "gone"])
def test_a_signed_bundle_is_refused_by_check_and_worker_whichever_file_was_tampered_with(
    signed: Path, keys: Path, capsys: pytest.CaptureFixture[str], name: str, how: str
) -> None:
    file, data = signed / name, bytearray((signed / name).read_bytes())
    if how == "gone":
        file.unlink()
    else:
        data[len(data) // 2] ^= how == "changed"
        file.write_bytes(bytes(data) + (b"" if how == "changed" else b"\n"))
    status, _, error = _run(
        capsys, "bundle", "check", "--provider", "cpu", "--key", str(keys / "maker.pub"), str(signed)
    )
    assert (status, "refused" in error) == (REFUSED, True)
    assignments = (f"bundle={signed}", f"bundle_key={keys / 'maker.pub'}")
    with pytest.raises(BundleError):
        trusted_bundle(load_settings(environ={}, assignments=assignments).operational)


def test_what_is_no_key_is_refused_in_words_without_its_bytes(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"expected a public Ed25519 key .*, found a PEM file with: private key"):
        read_public_key(keys / "maker.key")
    with pytest.raises(
        BundleError, match=r"expected an unencrypted private Ed25519 key .*, found a PEM file with: public key"
    ):
        read_private_key(keys / "maker.pub")
    (tmp_path / "words").write_text("secret words")
    with pytest.raises(BundleError, match=r"found no PEM$"):
        read_private_key(tmp_path / "words")
    elliptic = ec.generate_private_key(ec.SECP256R1())
    encoding, info = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "elliptic").write_bytes(elliptic.public_key().public_bytes(encoding, info))
    with pytest.raises(BundleError, match=r"found .*EllipticCurve|found .*ECPublicKey"):
        read_public_key(tmp_path / "elliptic")
    locked = read_private_key(keys / "maker.key").private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    (tmp_path / "locked").write_bytes(locked)
    with pytest.raises(BundleError, match="found a PEM file with: encrypted private key"):
        read_private_key(tmp_path / "locked")
    with pytest.raises(BundleError, match="found something that is no file"):
        read_public_key(Path(os.devnull))


def test_the_commands_say_whether_a_bundle_is_signed(
    signed: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = write_tiny_bundle(tmp_path / "bare")
    _, output, _ = _run(capsys, "bundle", "show", str(bare))
    assert "signature        none" in output
    _, output, _ = _run(capsys, "bundle", "show", str(signed))
    assert "Ed25519" in output
    _, output, _ = _run(capsys, "bundle", "show", str(signed), "--json")
    assert json.loads(output)["signed"] is True
    check = ("bundle", "check", "--provider", "cpu", "--key")
    status, output, _ = _run(capsys, *check, str(keys / "maker.pub"), str(signed))
    assert (status, "valid, by the key" in output) == (0, True)
    for key, bundle, words in (("other", signed, "another key"), ("maker", bare, "the bundle is not signed")):
        status, _, error = _run(capsys, *check, str(keys / f"{key}.pub"), str(bundle))
        assert status == REFUSED
        assert words in error
    status, _, error = _run(capsys, "config", "check", "--set", "bundle_key=/nowhere/at/all")
    assert status == REFUSED
    assert "setting bundle_key: expected a PEM file" in error
