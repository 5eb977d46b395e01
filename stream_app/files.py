"""Writes files and folders whole or not at all: beside their place, flushed to the disk, renamed at the end.

In: a name. Out: a file or folder to write to, which takes that name when the block ends well. It must not know what is
written. Who writes holds a lock on the draft. The kernel lets go of it when a process is killed, and the next one to
write the same name removes what was left.
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
from typing import BinaryIO

_DRAFT = ".draft"
_PUBLIC = 0o644
_PRIVATE = 0o600
#: Drafts in a folder of many files have one name between them, so that one look finds those that were left.
_BELOW = "below"
#: How the system says that there is no room.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write into; it gets its name when the block ends well, and is gone otherwise.

    Args:
        out: the folder to be; its parents are made.

    Yields:
        The draft beside it.

    Raises:
        FileExistsError: if `out` exists.
        OSError: if it cannot be written, or the disk is full.
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


@contextmanager
def whole_file(out: Path, *, draft_in: Path | None = None, is_private: bool = False) -> Iterator[BinaryIO]:
    """Give a draft to write to; it replaces `out` when the block ends well, and is gone otherwise.

    Args:
        out: the file to be; its folder is made.
        draft_in: where it is written first, on the same disk; None: beside it.
        is_private: nobody but its owner may read it.

    Yields:
        The draft, open for writing.

    Raises:
        OSError: if it cannot be written, or the disk is full; what lay there before still does.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = draft_in or out.parent
    _sweep(out.name, folder)
    with _draft(out.name, folder, out, mode=_PRIVATE if is_private else _PUBLIC) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    _flush(out.parent)


def write_whole(out: Path, content: bytes, *, draft_in: Path | None = None) -> None:
    """Write a file, so that nobody ever sees half of it.

    Args:
        out: the file to be; its folder is made.
        content: all of it.
        draft_in: where it is written first, on the same disk; None: beside it.

    Raises:
        OSError: if it cannot be written, or the disk is full; what lay there before still does.
    """
    with whole_file(out, draft_in=draft_in) as file:
        file.write(content)


def open_below(folder: Path) -> None:
    """Make a folder for `write_below`, and remove what killed processes left in it of files that they wrote so.

    Raises:
        OSError: if it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(_BELOW, folder)


def write_below(folder: Path, name: str, content: bytes) -> None:
    """Write a file whole, directly in a folder, whatever its name is made of and whatever lies there.

    A link of that name is replaced, never followed. For many files: it does not wait for the disk, nor look for drafts.

    Args:
        folder: where; it exists.
        name: of the file, without any folder.
        content: all of it.

    Raises:
        ValueError: if the name is none of a file in this folder.
        OSError: if it cannot be written; what lay there before still does.
    """
    if name in {"", ".", ".."} or any(character in name for character in ("/", "\\", "\0")):
        raise ValueError(f"expected the name of a file, found {name!r}")
    with _draft(_BELOW, folder, folder / name) as file:
        file.write(content)


@contextmanager
def _draft(name: str, folder: Path, out: Path, *, mode: int = _PUBLIC) -> Iterator[BinaryIO]:
    """Give a locked draft to write to, which replaces `out` at the end of the block."""

    def new_file() -> str:
        handle, path = tempfile.mkstemp(prefix=f".{name}.", suffix=_DRAFT, dir=folder)
        os.close(handle)
        return path

    draft, lock = _locked_draft(new_file)
    try:
        with draft.open("wb") as file:
            yield file
        draft.chmod(mode)
        draft.replace(out)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        _name(error, out)
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
