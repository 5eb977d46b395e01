"""Writes a file whole or not at all: beside its place, flushed to the disk, renamed at the end.

In: a name. Out: a file to write to, which takes that name when the block ends well. It must not know what is written.
"""

from __future__ import annotations

import os
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


def _flush_folder(folder: Path) -> None:
    # Else a power cut may forget the new name.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
