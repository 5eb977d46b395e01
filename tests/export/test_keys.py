"""`vigil-export keys`: a pair whose halves fit, never overwritten; a signature is in a bundle whole or not at all."""

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import onnx
import pytest

from stream_app.bundle import BundleError
from stream_app.bundle import manifest as m
from stream_app.bundle.load import load_bundle
from stream_app.bundle.signature import check_signature, read_private_key, read_public_key, require_trusted
from tests.bundle.tiny_bundle import write_tiny_bundle
from vigil_export.cli import main
from vigil_export.packing.folder import add_file, publish_folder
from vigil_export.packing.pack import write_bundle


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["keys", *map(str, arguments)])
    output = capsys.readouterr()
    return ended.value.code if isinstance(ended.value.code, int) else 0, output.out + output.err


def test_a_pair_signs_and_checks_and_its_private_half_is_for_its_owner_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_tiny_bundle(tmp_path)
    status, words = _run(capsys, "create", tmp_path / "maker")
    assert (status, "keep it secret" in words) == (0, True)
    assert (tmp_path / "maker.key").stat().st_mode & 0o777 == 0o600
    status, words = _run(capsys, "sign", bundle, "--key", tmp_path / "maker.key")
    assert (status, "signed tiny 1 with the key" in words) == (0, True)
    check_signature(load_bundle(bundle), read_public_key(tmp_path / "maker.pub"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maker.key", "maker.pub", "tiny"]
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == ["1"]


def test_no_key_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "maker.pub").write_text("mine")
    status, words = _run(capsys, "create", tmp_path / "maker")
    assert status == 1
    assert "expected nothing there" in words
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    status, words = _run(capsys, "create", tmp_path / "nowhere" / "maker")
    assert status == 1
    assert "No such file or directory" in words


def test_a_signature_by_another_key_is_replaced_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_tiny_bundle(tmp_path)
    for name in ("one", "two"):
        _run(capsys, "create", tmp_path / name)
    for _ in range(2):
        assert _run(capsys, "sign", bundle, "--key", tmp_path / "one.key")[0] == 0
    before = (bundle / m.SIGNATURE_NAME).read_bytes()
    status, words = _run(capsys, "sign", bundle, "--key", tmp_path / "two.key")
    assert (status, "--replace replaces it" in words) == (1, True)
    assert (bundle / m.SIGNATURE_NAME).read_bytes() == before
    assert _run(capsys, "sign", bundle, "--key", tmp_path / "two.key", "--replace")[0] == 0
    check_signature(load_bundle(bundle), read_public_key(tmp_path / "two.pub"))


def test_a_bundle_that_is_refused_for_want_of_a_signature_is_accepted_once_what_the_refusal_says_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_tiny_bundle(tmp_path)
    _run(capsys, "create", tmp_path / "maker")
    with pytest.raises(BundleError) as refusal:
        require_trusted(load_bundle(bundle), key=None, allows_unsigned=False)
    command = str(refusal.value).split("`")[1]
    assert command.startswith("vigil-export keys ")
    words = command.removeprefix("vigil-export keys ").replace("DIR", str(bundle))
    assert _run(capsys, *words.replace("KEY", str(tmp_path / "maker.key")).split())[0] == 0
    key = read_public_key(tmp_path / "maker.pub")
    assert require_trusted(load_bundle(bundle), key=key, allows_unsigned=False) == "signed"


def test_a_damaged_bundle_is_not_signed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_tiny_bundle(tmp_path)
    _run(capsys, "create", tmp_path / "maker")
    (bundle / m.MODEL_CARD).write_text("another card")
    status, words = _run(capsys, "sign", bundle, "--key", tmp_path / "maker.key")
    assert (status, "SHA-256 of MODEL_CARD.md" in words) == (4, True)
    assert not (bundle / m.SIGNATURE_NAME).exists()


def _put_weights_outside(bundle: Path) -> m.Manifest:
    """Have a graph keep weights in a file beside the bundle, with a manifest that hashes all that the bundle holds."""
    model = onnx.load(str(bundle / m.FUSION_HEAD))
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")
    (bundle / m.FUSION_HEAD).write_bytes(model.SerializeToString())
    manifest = m.parse_manifest((bundle / m.MANIFEST_NAME).read_bytes())
    files = {name: m.sha256_hex((bundle / name).read_bytes()) for name in m.FILE_NAMES}
    manifest = msgspec.structs.replace(manifest, files=files)
    (bundle / m.MANIFEST_NAME).write_bytes(m.encode_manifest(manifest))
    return manifest


def test_a_bundle_whose_weights_could_be_exchanged_is_neither_signed_nor_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_tiny_bundle(tmp_path)
    manifest = _put_weights_outside(bundle)
    _run(capsys, "create", tmp_path / "maker")
    status, words = _run(capsys, "sign", bundle, "--key", tmp_path / "maker.key")
    assert (status, "found external data at 'weights.bin'" in words) == (4, True)
    assert not (bundle / m.SIGNATURE_NAME).exists()
    files = {name: (bundle / name).read_bytes() for name in m.FILE_NAMES}
    with pytest.raises(BundleError, match="external data"):
        write_bundle(tmp_path / "out" / "1", manifest, files, key=read_private_key(tmp_path / "maker.key"))
    assert [*(tmp_path / "out").iterdir()] == []


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    out = tmp_path / "models" / "site" / "1"

    def fill(draft: Path) -> None:
        (draft / "more").symlink_to(full)
        (draft / "more").write_bytes(b"x" * 1_000_000)

    with pytest.raises(OSError, match="No space left"):
        publish_folder(out, {"a": b"1"}, verify=fill)
    assert [*out.parent.iterdir()] == []


def test_an_interruption_leaves_nothing_half_written_and_a_folder_that_came_meanwhile_alone(tmp_path: Path) -> None:
    out = tmp_path / "site" / "1"

    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_folder(out, {"a": b"1"}, verify=interrupt)
    assert [*out.parent.iterdir()] == []
    with pytest.raises(FileExistsError, match="never overwritten"):
        publish_folder(out, {"a": b"1"}, verify=lambda _: out.mkdir())
    assert [*out.parent.iterdir()] == [out]
    assert [*out.iterdir()] == []


def test_a_kill_while_a_bundle_is_written_leaves_none_and_it_can_be_written_again(tmp_path: Path) -> None:
    out = tmp_path / "site" / "1"
    program = (
        "import os, signal, sys; from pathlib import Path; from vigil_export.packing.folder import publish_folder; "
        "publish_folder(Path(sys.argv[1]), {'a': b'1'}, verify=lambda _: os.kill(os.getpid(), signal.SIGKILL))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(out)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    others = [out.parent / name for name in (".1.notes", ".12.abcdefgh.draft")]
    for other in others:
        other.mkdir()
    assert len([*out.parent.iterdir()]) == 1 + len(others), "a kill leaves a draft"
    publish_folder(out, {"a": b"1"}, verify=lambda _: None)
    assert sorted(out.parent.iterdir()) == sorted([out, *others])
    assert [path.name for path in out.iterdir()] == ["a"]


def test_a_file_is_added_whole_or_what_was_there_stays(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        add_file(folder / "taken", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    add_file(folder / "new", b"data")
    assert (folder / "new").read_bytes() == b"data"
