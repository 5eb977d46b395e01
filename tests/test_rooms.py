"""The rooms keep apart what import-linter cannot see: what a fresh interpreter really loads."""

import json
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

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
