"""The rooms keep apart what import-linter cannot see: what a fresh interpreter really loads."""

import json
import pkgutil
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY

#: What only adapters may bring in; each takes time and memory, and binds whoever loads it to one library.
_CLIENTS = ("aiohttp", "aiokafka", "cv2", "faust", "numpy", "onnxruntime", "prometheus_client", "torch")


def _modules_below(package: str) -> list[str]:
    found = import_module(package)
    return [package, *(info.name for info in pkgutil.walk_packages(found.__path__, f"{package}."))]


@pytest.mark.parametrize("package", ["stream_app.core", "stream_app.wire", "stream_app.runtime"])
def test_core_wire_and_runtime_load_no_client_library(package: str) -> None:
    imports = "; ".join(f"import {name}" for name in _modules_below(package))
    look = f"import json, sys; {imports}; print(json.dumps(sorted(set({_CLIENTS!r}) & set(sys.modules))))"

    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == []


#: What an installation without extras has to serve: the subscriber, and the commands that read topics.
_READING = ("vigil", *(f"stream_app.cli.{name}" for name in ("watch", "evidence", "decisions", "topics", "task")))
_LOADED = """
import importlib, json, sys
from importlib.metadata import packages_distributions
for name in {names!r}:
    importlib.import_module(name)
owners = packages_distributions()
print(json.dumps(sorted({{owner for name in sys.modules for owner in owners.get(name.partition(".")[0], ())}})))
"""


def _with_what_they_require(requirements: list[str]) -> set[str]:
    """Return the distributions that these requirements bring, by their normalised names."""
    found: set[str] = set()
    left = [Requirement(line) for line in requirements]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        left += [Requirement(line) for line in requires(name) or ()]
    return found


def test_an_installation_without_extras_has_what_the_subscriber_and_the_reading_commands_load() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    done = subprocess.run(
        [sys.executable, "-c", _LOADED.format(names=_READING)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {canonicalize_name(name) for name in json.loads(done.stdout)}
    assert "aiokafka" in loaded
    assert loaded - _with_what_they_require(project["dependencies"]) <= {"vigil-fusion", "pip", "setuptools"}


def test_what_is_installed_collides_with_nobody(tmp_path: Path) -> None:
    """A top-level module called `export`, say, would shadow, or be shadowed by, somebody else's."""
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", build, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    wheel = tmp_path / done.stdout.split()[-1]
    tops = {name.partition("/")[0] for name in ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"stream_app", "vigil", "vigil_export"}
