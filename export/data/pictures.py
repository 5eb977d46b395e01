"""Prepared pictures on disk: raw pixels in one growing file, read as a memory map. Bytes of a picture are its key.

A store belongs to one size of picture; data sets and folds share it, and a picture is decoded once for all of them. It
grows by what is new and never shrinks: delete its folder whenever you like.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from export.data.rows import DataError
from stream_app.bundle.manifest import ImageSpec

# Part of a store's name: to be counted up when the same bytes would give other pixels.
_PREPARATION = 1
_KEY_BYTES = 64  # a SHA-256 in hexadecimal


class PictureStore:
    """Pictures of one size by the SHA-256 of their files.

    `pixels` holds pictures one behind the other, `index` one line (key) for each. Pixels are on the disk before their
    lines are, so that a process killed between the two leaves pixels that nobody reads and the next one writes over.
    """

    def __init__(self, cache: Path, spec: ImageSpec) -> None:
        """Name the files.

        Args:
            cache: Folder of all stores; made when it is needed.
            spec: Size of the pictures.
        """
        self._folder = cache / f"{spec.resize}-{spec.color}-{spec.height}x{spec.width}-v{_PREPARATION}"
        self._shape = (spec.height, spec.width, 3)
        self._size = spec.height * spec.width * 3

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
                f"{self._folder}: expected a folder of pictures that can be written, found: {error.strerror}; free "
                "space, or choose another folder"
            ) from error

    def add(self, keys: Sequence[str], pixels: npt.NDArray[np.uint8]) -> None:
        """Append pictures; only within `writing`.

        Args:
            keys: k keys that are not there yet.
            pixels: uint8 [k, h, w, 3].

        Raises:
            OSError: The disk is full, or the like; what was there before stays valid.
        """
        begin = len(self._places())
        with self._open("pixels") as file:
            file.seek(begin * self._size)
            file.write(pixels.tobytes())
            file.flush()
            os.fsync(file.fileno())
        with self._open("index") as file:
            file.seek(begin * (_KEY_BYTES + 1))
            file.truncate()
            file.write("".join(f"{key}\n" for key in keys).encode())
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> npt.NDArray[np.uint8]:
        """Return all pictures as a memory map, uint8 [m, h, w, 3]; an empty array where there are none."""
        count = len(self._places())
        if not count:
            return np.empty((0, *self._shape), np.uint8)
        return np.memmap(self._folder / "pixels", np.uint8, "r", shape=(count, *self._shape))

    def _open(self, name: str) -> BinaryIO:
        path = self._folder / name
        path.touch()
        return path.open("r+b")

    def _places(self) -> dict[str, int]:
        try:
            lines = (self._folder / "index").read_bytes()
            size = (self._folder / "pixels").stat().st_size
        except FileNotFoundError:
            return {}
        # A torn last line is no line, and a line counts only with all its pixels.
        count = min(len(lines) // (_KEY_BYTES + 1), size // self._size)
        return {line.decode(): place for place, line in enumerate(lines.split(b"\n")[:count])}
