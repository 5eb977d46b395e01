"""Writes a file whole or not at all: beside its place, flushed to the disk, renamed at the end.

In: a name. Out: a file to write to, which takes that name when the block ends well. It must not know what is written.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(out: Path) -> Iterator[BinaryIO]:
    """Give a draft to write to; it replaces ``out`` at the end of the block, and is gone if that ends with an error.

    Args:
        out: the file to be; its folders are made.

    Yields:
        The draft, open for writing.

    Raises:
        OSError: if the place cannot be written, or the disk is full; what lay there before still does.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(out)
        _flush_folder(out.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_below(folder: Path, name: str, content: bytes) -> None:
    """Write a file whole, directly in a folder, whatever its name is made of and whatever lies there.

    A link of that name is replaced, never followed.

    Args:
        folder: where; it exists.
        name: of the file, without any folder.
        content: all of it.

    Raises:
        ValueError: if the name is none of a file in this folder.
        OSError: if it cannot be written; what lay there before still does.
    """
    if name in {"", ".", ".."} or any(character in name for character in ("/", "\\", "\0")):
        message = f"expected the name of a file, found {name!r}"
        raise ValueError(message)
    draft = folder / f".{secrets.token_hex(8)}.part"
    try:
        with draft.open("xb") as file:
            file.write(content)
        draft.replace(folder / name)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _flush_folder(folder: Path) -> None:
    # Else a power cut may forget the new name.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
