"""The pytest plugin, as somebody's own CI runs it: in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.replay.site import site_recording
from vigil.pytest_plugin import Replayed

_TEST = """
def test_same(vigil_replay):
    found = vigil_replay("night.mcap", settings={"provider": "cpu"})
    assert "incidents" in found.text
    found.assert_incidents("night.json")

def test_other(vigil_replay):
    vigil_replay("night.mcap", settings={"provider": "cpu", "open_texts": 2}).assert_incidents("night.json")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Here and not at the top: the plugin's other tests need no library of files.
    from tests.cli.test_replay_commands import write  # noqa: PLC0415

    made = tmp_path_factory.mktemp("ci")
    write(made / "night.mcap", site_recording(seconds=45))
    return made


def run(folder: Path, *options: str) -> tuple[int, str]:
    (folder / "test_night.py").write_text(_TEST, "utf-8")
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *_plugin(), *options]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def _plugin() -> list[str]:
    """Name the plugin where this tree is not what is installed: there its entry point names it."""
    from importlib.metadata import entry_points  # noqa: PLC0415

    is_installed = any(point.value == "vigil.pytest_plugin" for point in entry_points(group="pytest11"))
    return [] if is_installed else ["-p", "vigil.pytest_plugin"]


def test_a_recording_is_a_regression_test_of_settings(folder: Path) -> None:
    status, said = run(folder, "-k", "same", "--vigil-update")
    assert status == 0, said
    status, said = run(folder)
    assert status == 1
    assert "1 failed, 1 passed" in said
    assert "not the incidents of night.json" in said
    assert "--- expected" in said
    assert "\n-2023-11-14T22:1" in said


def test_a_golden_file_that_is_missing_or_of_another_form_fails_the_test(tmp_path: Path) -> None:
    golden = tmp_path / "night.json"
    with pytest.raises(pytest.fail.Exception, match="expected a golden file, found none: `pytest --vigil-update`"):
        Replayed([], "").assert_incidents(golden)
    golden.write_text("{}", "utf-8")
    with pytest.raises(pytest.fail.Exception, match="expected a list of incidents"):
        Replayed([], "").assert_incidents(golden)


def test_the_plugin_loads_nothing_of_what_a_worker_needs() -> None:
    look = (
        "import sys, vigil.pytest_plugin\n"
        "heavy = {'onnxruntime', 'cv2', 'numpy', 'faust', 'mcap', 'stream_app.replay.canonical'} & set(sys.modules)\n"
        "sys.exit(f'loaded for nothing: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
