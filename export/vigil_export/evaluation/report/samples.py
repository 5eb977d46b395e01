"""What a row looks like, for the list of mistakes. In: rows of a data set. Out: texts and small pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vigil_export.data.rows import Dataset, Row

_WIDTH, _HEIGHT = 320, 240
_QUALITY = 70


@dataclass(frozen=True, slots=True)
class Sample:
    """A row as a person sees it; `picture` is an address with the JPEG in it, or None."""

    text: str
    picture: str | None


def read_samples(dataset: Dataset, ids: Iterable[str]) -> dict[str, Sample]:
    """Read the rows of these names; a picture that cannot be read is left out, rows that are not there as well.

    Args:
        dataset: The rows.
        ids: Names of rows, or of the pairs of a text and another row's picture that `sequences` makes.
    """
    row_of = {row.id: row for row in dataset.rows}
    found = {}
    for name in ids:
        if (rows := _rows_of(name, row_of)) is not None:
            text, picture = rows
            found[name] = Sample(text.text, None if picture.image is None else picture_of(picture.image))
    return found


def _rows_of(name: str, row_of: Mapping[str, Row]) -> tuple[Row, Row] | None:
    """Return the row of the text and that of the picture; names of rows may hold spaces themselves."""
    if name in row_of:
        return row_of[name], row_of[name]
    words = name.split(" ")
    pairs = ((" ".join(words[:at]), " ".join(words[at:])) for at in range(1, len(words)))
    return next(((row_of[text], row_of[image]) for text, image in pairs if text in row_of and image in row_of), None)


def picture_of(path: Path) -> str | None:
    """Return a small picture as an address with the JPEG in it; None where the file cannot be read."""
    try:
        pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    shrink = min(1.0, _WIDTH / width, _HEIGHT / height)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return address(data.tobytes(), "image/jpeg") if done else None


def address(data: bytes, kind: str) -> str:
    """Return an address that holds the data itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
