"""Writes files and folders whole or not at all: beside their place, flushed to the disk, renamed at the end.

Who writes holds a lock on the draft. The kernel lets go of it when a process is killed, and the next one to write the
same name removes what was left.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_DRAFT = ".draft"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""How the system says that there is no room."""


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
    _sweep(out.name, out.parent)
    draft, lock = _locked_draft(lambda: tempfile.mkdtemp(prefix=f".{out.name}.", suffix=_DRAFT, dir=out.parent))
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
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        _name(error, out)
        raise
    finally:
        os.close(lock)


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
    folder = draft_in or path.parent
    _sweep(path.name, folder)

    def new_file() -> str:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_DRAFT, dir=folder)
        os.close(handle)
        return name

    draft, lock = _locked_draft(new_file)
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(path)
        _flush(path.parent)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        _name(error, path)
        raise
    finally:
        os.close(lock)


def _name(error: BaseException, place: Path) -> None:
    """Say where a write failed: the system names no file, or the draft, which is gone."""
    if isinstance(error, OSError) and error.errno in FULL:
        error.filename, error.filename2 = str(place), None


def _sweep(name: str, folder: Path) -> None:
    """Remove the drafts of this name whose writers were killed."""
    is_draft = re.compile(rf"\.{re.escape(name)}\.[a-z0-9_]+{re.escape(_DRAFT)}").fullmatch
    for path in folder.iterdir():
        if not is_draft(path.name) or path.is_symlink():
            continue
        with contextlib.suppress(OSError):  # somebody else's, or gone already
            handle = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its writer lives
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            finally:
                os.close(handle)


def _locked_draft(make: Callable[[], str]) -> tuple[Path, int]:
    """Make a draft and lock it; who takes it for a dead one before it is locked has removed it, so make another."""
    while True:
        draft = Path(make())
        try:
            handle = os.open(draft, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        except OSError:
            return draft, handle  # a file system without locks: there nobody removes a draft
        if draft.exists():
            return draft, handle
        os.close(handle)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
