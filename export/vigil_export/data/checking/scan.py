"""Looks at every picture of a data set once: can it be decoded, how large is it, what does it look like.

In: rows. Out: a `Picture` per file, in the order of the rows. It must not know what is wrong with what it
finds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stream_app.bundle.image import ImageError, decode_image
from stream_app.bundle.manifest import ImageSpec
from stream_app.core.image_header import ImageHeaderError, read_image_header
from vigil_export.data.checking.duplicates import fingerprint
from vigil_export.data.rows import Progress, Row

# Enough for the hash, which looks at 32 x 32, and small enough for the scaled decoding of JPEG.
_LOOK = ImageSpec(height=64, width=64)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One file.

    Attributes:
        file: Where it lies.
        splits: Of the rows that show it, each once, in the order of the rows.
        fault: Why it cannot be decoded; empty where it can.
        width: In pixels; 0 where it cannot be decoded.
        height: Likewise.
        key: SHA-256 of its bytes.
        hash: Perceptual hash, 64 bits.
        thumbnail: uint8 [8, 8, 3].
    """

    file: Path
    splits: tuple[str, ...]
    fault: str
    width: int
    height: int
    key: str
    hash: np.uint64
    thumbnail: npt.NDArray[np.uint8]


def scan(rows: Sequence[Row], progress: Progress | None = None) -> list[Picture]:
    """Look at all pictures of these rows.

    Args:
        rows: Of a data set.
        progress: Told of each picture.
    """
    splits: dict[Path, dict[str, None]] = {}
    for row in rows:
        if row.image is not None:
            splits.setdefault(row.image, {})[row.split] = None
    found = []
    for file, names in splits.items():
        found.append(_look(file, tuple(names)))
        if progress is not None:
            progress(len(found), len(splits))
    return found


def distinct(pictures: Sequence[Picture]) -> list[Picture]:
    """Return the pictures that can be decoded, each content once; its splits are those of all files with it."""
    of_key: dict[str, list[Picture]] = {}
    for picture in pictures:
        if not picture.fault:
            of_key.setdefault(picture.key, []).append(picture)
    return [
        replace(same[0], splits=tuple(dict.fromkeys(split for picture in same for split in picture.splits)))
        for same in of_key.values()
    ]


def hashes_of(pictures: Sequence[Picture]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """Return uint64 [m] and uint8 [m, 8, 8, 3], as `vigil_export.data.checking.duplicates.near_pairs` takes them."""
    hashes = np.array([picture.hash for picture in pictures], np.uint64)
    return hashes, np.array([picture.thumbnail for picture in pictures], np.uint8).reshape(-1, 8, 8, 3)


def _look(file: Path, splits: tuple[str, ...]) -> Picture:
    data = b""
    try:
        data = file.read_bytes()
        header = read_image_header(data)
        print_of, thumbnail = fingerprint(decode_image(data, _LOOK))
    except (ImageHeaderError, ImageError, OSError) as error:
        fault = str(error.strerror if isinstance(error, OSError) else error) or "not decodable"
        nothing = np.zeros((8, 8, 3), np.uint8)
        return Picture(file, splits, fault, 0, 0, hashlib.sha256(data).hexdigest(), np.uint64(0), nothing)
    key = hashlib.sha256(data).hexdigest()
    return Picture(file, splits, "", header.width, header.height, key, print_of, thumbnail)
