"""The order in which test files are given to the processes of a run: those that may take longest come first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def long_files_first(items: list[pytest.Item], *, default_limit_s: float) -> list[pytest.Item]:
    """Sort tests by the largest time limit in their file: a long one that begins last would run alone at the end.

    Args:
        items: all tests; those of a file, and files of the same limit, stay in their order.
        default_limit_s: the limit of a test that has no mark `timeout`, in seconds.
    """
    limits: dict[Path, float] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        limit_s = float(marker.args[0]) if marker is not None else default_limit_s
        limits[item.path] = max(limit_s, limits.get(item.path, 0.0))
    return sorted(items, key=lambda item: -limits[item.path])
