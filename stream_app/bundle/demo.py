"""Where the bundle lies that ships with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from stream_app.bundle.errors import BundleError

_PLACE = ("demo_bundle", "site", "1")


def demo_bundle_path() -> Path:
    """Return the directory of the demo bundle.

    Raises:
        BundleError: if this installation has none, or lies in an archive instead of a folder.
    """
    place = resources.files("stream_app").joinpath(*_PLACE)
    if not isinstance(place, Path) or not place.is_dir():
        raise BundleError("demo bundle", expected=f"a directory at {place}", found="none in this installation")
    return place


def is_shipped(directory: Path) -> bool:
    """Return whether a bundle's directory is the one in the package: who can change it can change the code."""
    place = resources.files("stream_app").joinpath(*_PLACE)
    return isinstance(place, Path) and place.exists() and directory.resolve() == place.resolve()
