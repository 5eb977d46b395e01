"""Arrays of one shape on disk: one growing file, read as a memory map, each array under the SHA-256 of what it is of.

Data sets and folds share a store, and what it keeps is worked out once for all of them. It grows by what is new, never
shrinks, and may be deleted at any time.
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from vigil_export.data.rows import DataError

_KEY_BYTES = 64  # a SHA-256 in hexadecimal

T = TypeVar("T", bound=np.generic)


class ArrayStore(Generic[T]):
    """Arrays of one shape and type by a SHA-256.

    `arrays` holds them one behind the other, `index` one line (key) for each. Arrays are on the disk before their lines
    are, so that a process killed between the two leaves bytes that nobody reads and the next one writes over.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: type[T]) -> None:
        """Name the files.

        Args:
            folder: Of this store alone; made when it is needed.
            shape: Of an array.
            dtype: Of an array.
        """
        self._folder = folder
        self._shape = shape
        self._dtype = dtype
        self._size = math.prod(shape) * np.dtype(dtype).itemsize

    @contextmanager
    def writing(self) -> Iterator[dict[str, int]]:
        """Hold the store for one process (others wait), and give key -> place of what is there.

        Raises:
            DataError: The folder cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self._places()
        except OSError as error:
            raise DataError(
                f"{self._folder}: expected a folder that can be written, found: {error.strerror}; free "
                "space, or choose another folder"
            ) from error

    def add(self, keys: Sequence[str], arrays: npt.NDArray[T]) -> None:
        """Append arrays; only within `writing`.

        Args:
            keys: k keys that are not there yet.
            arrays: [k, *shape].

        Raises:
            OSError: The disk is full, or the like; what was there before stays valid.
        """
        begin = len(self._places())
        with self._open("arrays") as file:
            file.seek(begin * self._size)
            file.write(arrays.tobytes())
            file.flush()
            os.fsync(file.fileno())
        with self._open("index") as file:
            file.seek(begin * (_KEY_BYTES + 1))
            file.truncate()
            file.write("".join(f"{key}\n" for key in keys).encode())
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> npt.NDArray[T]:
        """Return all arrays as a memory map, [m, *shape]; an empty one where there are none."""
        count = len(self._places())
        if not count:
            return np.empty((0, *self._shape), self._dtype)
        return np.memmap(self._folder / "arrays", self._dtype, "r", shape=(count, *self._shape))

    def _open(self, name: str) -> BinaryIO:
        path = self._folder / name
        path.touch()
        return path.open("r+b")

    def _places(self) -> dict[str, int]:
        try:
            lines = (self._folder / "index").read_bytes()
            size = (self._folder / "arrays").stat().st_size
        except FileNotFoundError:
            return {}
        # A torn last line is no line, and a line counts only with its whole array.
        count = min(len(lines) // (_KEY_BYTES + 1), size // self._size)
        return {line.decode(): place for place, line in enumerate(lines.split(b"\n")[:count])}
