"""Folders of bundles: written whole and verified, or not at all. In: names and bytes. Out: a directory.

It must not know what a bundle is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from stream_app.files import new_folder, write_whole


def publish_folder(out: Path, files: Mapping[str, bytes], *, verify: Callable[[Path], None]) -> None:
    """Write a folder under another name beside its place, verify it, flush it to the disk, and only then rename it.

    Args:
        out: The directory to create; its parents are made.
        files: Name -> content.
        verify: Is given the draft; what it raises leaves nothing behind.

    Raises:
        FileExistsError: `out` exists, or was created meanwhile; it is left alone.
        OSError: The disk is full, or the place cannot be written.
    """
    refuse_existing(out)
    with new_folder(out) as draft:
        for name, data in files.items():
            (draft / name).write_bytes(data)
        verify(draft)
        refuse_existing(out)


def refuse_existing(out: Path) -> None:
    """Raise if the path exists.

    Raises:
        FileExistsError: with what to do.
    """
    if out.exists() or out.is_symlink():
        raise FileExistsError(f"expected no {out}, found one: a bundle is never overwritten, choose another version")


def add_file(path: Path, data: bytes) -> None:
    """Put one file into a folder that others read: it is written outside it first, so no reader sees a draft.

    Raises:
        OSError: The disk is full, or the place cannot be written; the file that was there before stays.
    """
    write_whole(path, data, draft_in=path.parent.parent)
