"""`vigil bundle`: a whole bundle is shown and holds; a broken one ends with status 4, expected and found."""

import json
from pathlib import Path

import pytest

from stream_app.bundle import manifest as m
from stream_app.cli import main
from stream_app.terminal.outcome import REFUSED
from tests.bundle.tiny_bundle import write_tiny_bundle


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["bundle", *arguments])
    output = capsys.readouterr()
    code = ended.value.code
    return code if isinstance(code, int) else 0, output.out, output.err


def test_show_prints_labels_thresholds_and_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiny_bundle(tmp_path)
    status, output, _ = _run(capsys, "show", str(path))
    assert status == 0
    assert "label fight" in output
    assert "opens at 0.8" in output
    status, output, _ = _run(capsys, "show", str(path), "--json")
    shown = json.loads(output)
    assert shown["sha256"] == m.sha256_hex((path / m.MANIFEST_NAME).read_bytes())
    assert shown["manifest"]["labels"][0]["name"] == "fight"


def test_check_prints_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiny_bundle(tmp_path)
    status, output, _ = _run(capsys, "check", str(path), "--provider", "cpu")
    assert status == 0
    assert "CPUExecutionProvider" in output
    assert "no bit changes" in output
    status, output, _ = _run(capsys, "check", str(path), "--provider", "cpu", "--json")
    found = json.loads(output)
    assert found["is_batch_exact"] is True
    assert found["self_check"]["parity_difference"] < 1e-4


def test_check_refuses_a_changed_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiny_bundle(tmp_path)
    (path / m.MODEL_CARD).write_text("another card")
    status, _, error = _run(capsys, "check", str(path))
    assert status == REFUSED
    assert "SHA-256 of MODEL_CARD.md: expected" in error


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, error = _run(capsys, "show", str(tmp_path))
    assert status == REFUSED
    assert "manifest.json: expected a file, found none" in error
