"""A pytest plugin: recordings as regression tests of a bundle or of settings. Needs the extra `worker`.

`vigil_replay("night.mcap", bundle="site/2", settings={"open_texts": 2})` judges a recording as `vigil replay` does;
`.assert_incidents("night.json")` compares what it gives with a golden file, which `pytest --vigil-update` writes.

pytest loads this file wherever Vigil is installed, so it imports nothing until it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from stream_app.replay.incidents import Incident


@dataclass(frozen=True, slots=True)
class Replayed:
    """What recordings gave.

    Attributes:
        incidents: In order of time.
        text: What `vigil replay` would have shown.
        is_updating: Whether golden files are written instead of compared.
    """

    incidents: Sequence[Incident]
    text: str
    is_updating: bool = False

    def assert_incidents(self, golden: str | PathLike[str], *, tolerance: float = 0.005) -> None:
        """Fail the test where the incidents differ from a golden file; with `--vigil-update`, write it.

        Args:
            golden: A JSON file beside the test: start, end, label, zone and score of each incident.
            tolerance: Scores that differ by no more agree; another processor may round otherwise.
        """
        files = import_module("stream_app.replay.golden")
        path = Path(golden)
        if self.is_updating:
            path.write_bytes(files.write_golden(self.incidents))
            return
        if not path.is_file():
            pytest.fail(f"{path}: expected a golden file, found none: `pytest --vigil-update` writes it", pytrace=False)
        try:
            expected = files.read_golden(path.read_bytes(), str(path))
        except files.GoldenError as error:
            pytest.fail(str(error), pytrace=False)
        lines = files.difference(expected, self.incidents, tolerance=tolerance)
        if lines:
            pytest.fail("\n".join([f"not the incidents of {path}:", *lines]), pytrace=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--vigil-update`."""
    group = parser.getgroup("vigil")
    group.addoption("--vigil-update", action="store_true", help="Write the golden incidents of vigil_replay tests.")


@pytest.fixture
def vigil_replay(request: pytest.FixtureRequest) -> Callable[..., Replayed]:
    """Return a function that judges recordings.

    It takes paths of recordings, `bundle` (a folder; None: the recorded one) and `settings` (name -> value, as for
    `--set`), and fails the test where a recording cannot be read or a bundle is refused.
    """
    is_updating = bool(request.config.getoption("--vigil-update"))

    def replay(
        *recordings: str | PathLike[str],
        bundle: str | PathLike[str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Replayed:
        # By name: what a worker needs is no requirement of the rest of this package.
        judge = import_module("stream_app.wiring.replaying").judge_for_a_test
        assignments = [f"{name}={value}" for name, value in (settings or {}).items()]
        incidents, lines = judge([Path(one) for one in recordings], bundle and Path(bundle), assignments)
        return Replayed(incidents, "\n".join(lines), is_updating)

    return replay
