"""Folders and files that are there whole or not at all. Goes in: names and bytes. Goes out: a published directory.

It must not know what a bundle is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path


def publish_folder(out: Path, files: Mapping[str, bytes], *, verify: Callable[[Path], None]) -> None:
    """Write a folder under another name beside its place, flush it to the disk, verify it, and only then rename it.

    Args:
        out: The directory to create; its parents are made.
        files: Name -> content.
        verify: Is given the draft; what it raises leaves nothing behind.

    Raises:
        FileExistsError: `out` exists, or came into being meanwhile; it is left alone.
        OSError: The disk is full, or the place cannot be written.
    """
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, data in files.items():
            _write_through(draft / name, data)
        verify(draft)
        draft.chmod(0o755)
        _flush_directory(draft)
        # A rename takes the place of an empty folder without a word; one with files makes it fail.
        refuse_existing(out)
        draft.rename(out)
        _flush_directory(out.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def refuse_existing(out: Path) -> None:
    """Raise where something lies.

    Raises:
        FileExistsError: with what to do.
    """
    if out.exists() or out.is_symlink():
        raise FileExistsError(f"expected no {out}, found one: a bundle is never overwritten, choose another version")


def add_file(path: Path, data: bytes) -> None:
    """Put one file into a folder, whole: it is written beside the folder and moved in, so no reader meets a part of it.

    Raises:
        OSError: The disk is full, or the place cannot be written; what lay there before still does.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent.parent)
    os.close(handle)
    draft = Path(name)
    try:
        _write_through(draft, data)
        draft.chmod(0o644)
        draft.replace(path)
        _flush_directory(path.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
