"""Files are dealt out by their time limits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.file_order import long_files_first


@dataclass(frozen=True)
class _Test:
    """As much of a test as its order depends on."""

    name: str
    path: Path
    limit_s: float | None

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        assert name == "timeout"
        return None if self.limit_s is None else pytest.mark.timeout(self.limit_s).mark


def test_the_file_with_the_largest_time_limit_comes_first_and_files_stay_whole() -> None:
    short, long, longest = map(Path, ("short.py", "long.py", "longest.py"))
    tests: list[Any] = [
        _Test("a", short, None),
        _Test("b", long, None),
        _Test("c", long, 300),
        _Test("d", short, 10),
        _Test("e", longest, 600),
        _Test("f", longest, 60),
    ]
    assert [test.name for test in long_files_first(tests, default_limit_s=120)] == ["e", "f", "b", "c", "a", "d"]
