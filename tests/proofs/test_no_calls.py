"""No process of Vigil talks to anybody but the addresses it was given, whichever library is on board."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stream_app.local_kafka.jars import maven_repository, verified_class_path
from tests.proofs.closed_network import HOST_NAME, watch

REPOSITORY = Path(__file__).resolve().parents[2]
_PACKAGES = ("stream_app", "vigil_export", "benchmarks")
_FOLDERS = {"stream_app", "export", "benchmarks", "tests"}
_OFF = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")
_IMPORT = re.compile(r"^\s*(?:import|from) onnxruntime\b", re.MULTILINE)


@pytest.mark.parametrize("package", _PACKAGES)
def test_importing_a_package_switches_calls_off_whatever_the_environment_says(package: str) -> None:
    shown = f"import os; print(*map(os.environ.get, {_OFF}))"
    program = (
        f"import subprocess, sys, {package}; assert 'onnxruntime' not in sys.modules; "
        f"subprocess.check_call([sys.executable, '-c', {shown!r}])"
    )
    environment = {**os.environ, **dict.fromkeys(_OFF, "0")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "1 1\n"


def test_only_packages_that_switch_calls_off_import_onnx_runtime() -> None:
    importers = {
        path.relative_to(REPOSITORY).parts[0]
        for folder in (path for path in REPOSITORY.iterdir() if path.is_dir() and not path.name.startswith("."))
        for path in folder.rglob("*.py")
        if _IMPORT.search(path.read_text("utf-8"))
    }
    # Tests import `tests/conftest.py` first, which imports a package.
    assert importers - {"build", "dist"} == _FOLDERS


def _environment(folder: Path) -> dict[str, str]:
    """What the processes see: no proxies, no settings, and the two switches turned the wrong way."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "CI") if name in os.environ}
    paths = {
        "M2_REPO": str(maven_repository()),
        "TMPDIR": str(folder),
        "HOME": str(folder),
        "PYTHONPATH": str(REPOSITORY),
    }
    return {**kept, **paths, **dict.fromkeys(_OFF, "0")}


# The mark says that it may not skip in CI.
@pytest.mark.kafka
def test_the_watcher_sees_every_kind_of_attempt(tmp_path: Path) -> None:
    program = (
        "import contextlib, socket, sys\n"
        "def tried(call, *arguments):\n"
        "    with contextlib.suppress(OSError):\n"
        "        call(*arguments)\n"
        "tried(socket.getaddrinfo, 'asked.invalid', 443)\n"
        "tried(socket.gethostbyname, socket.gethostname())\n"
        "tried(socket.create_connection, ('203.0.113.9', 443), 5)\n"
        "tried(socket.create_connection, ('192.0.2.53', 53), 5)\n"
        "tried(socket.create_connection, ('127.0.0.1', 1), 5)\n"
        "tried(socket.socket(type=socket.SOCK_DGRAM).sendto, b'-', ('203.0.113.10', 9))\n"
        "if sys.argv[1:]:\n"
        "    tried(socket.create_connection, ('2001:db8::9', 443), 5)\n"
        "    tried(socket.create_connection, ('::1', 1), 5)\n"
    )
    six = ["6"] if Path("/proc/net/if_inet6").exists() else []
    seen = watch([[sys.executable, "-c", program, *six]], environment=_environment(tmp_path), timeout_s=60)
    assert (seen.statuses, seen.outputs) == ((0,), ("",))
    expected = {"203.0.113.9", "203.0.113.10", "192.0.2.53"} | ({"2001:db8::9"} if six else set())
    assert set(seen.addresses) == expected
    assert set(seen.names) == {"asked.invalid", HOST_NAME}


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_the_demo_its_workers_and_a_training_run_reach_nobody_else_and_leave_nothing_at_home(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the training side needs the extra `export`")
    from tests.export.folders import fights, imagefolder, small_bert  # noqa: PLC0415 - as above

    verified_class_path()  # downloads Kafka's jars where they are missing: the one call that the demo makes itself
    for name, count in (("train", 8), ("validation", 4)):
        imagefolder(tmp_path / "data" / name, fights(count))
    small_bert(tmp_path / "bert")
    homes = [tmp_path / "home of the demo", tmp_path / "home of the training"]
    for home in homes:
        home.mkdir()
    demo = ["-m", "stream_app", "demo", "--seconds", "15", "--zones", "2", "--cameras", "1", "--fps", "2", "--no-kill"]
    folders = [str(tmp_path / name) for name in ("data", "bert", "run")]
    commands = [
        ["env", f"HOME={homes[0]}", sys.executable, *demo, "--out", str(tmp_path / "demo")],
        ["env", f"HOME={homes[1]}", sys.executable, "-m", "tests.proofs.trained_and_served", *folders],
    ]
    seen = watch(commands, environment=_environment(tmp_path), timeout_s=560)
    assert seen.statuses == (0, 0), seen.outputs
    assert "Nothing lost, nothing twice" in seen.outputs[0]
    assert (seen.addresses, seen.names) == ((), ())
    assert [*homes[0].rglob("*")] == []
    # Fonts that matplotlib found; docs/security.md names them.
    assert {str(path.relative_to(homes[1])) for path in homes[1].glob("*/*")} <= {
        ".cache/matplotlib",
        ".config/matplotlib",
    }
