"""Writes files and folders whole or not at all: beside their place, flushed to the disk, renamed at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write into; it gets its name when the block ends well, and is gone otherwise.

    Args:
        out: The folder to be; its parents are made.

    Yields:
        The draft beside it.

    Raises:
        FileExistsError: `out` exists.
        OSError: It cannot be written, or the disk is full.
    """
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield draft
        draft.chmod(0o755)
        for folder, _, names in os.walk(draft):
            for name in names:
                _flush(Path(folder) / name)
            _flush(Path(folder))
        refuse_existing(out)  # it may have come up meanwhile, and renaming would replace an empty one
        draft.rename(out)
        _flush(out.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def refuse_existing(out: Path) -> None:
    """Raise FileExistsError where something is: what somebody has is never overwritten."""
    if out.exists():
        raise FileExistsError(f"{out}: expected nothing there, found something: choose another name, or remove it")


def write_whole(path: Path, data: bytes, *, draft_in: Path | None = None) -> None:
    """Write a file, so that nobody ever sees half of it.

    Args:
        path: The file to be; its folder is made.
        data: Its content.
        draft_in: Where it is written first, on the same disk; None: beside it.

    Raises:
        OSError: The disk is full, or the place cannot be written; what lay there before still does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=draft_in or path.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(path)
        _flush(path.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
