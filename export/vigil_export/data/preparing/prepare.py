"""Rows to arrays: reads and decodes each picture once, as serving will. It must not know models or purposes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stream_app.bundle.image import ImageError, decode_image
from stream_app.bundle.manifest import ImageSpec
from vigil_export.data.preparing.store import ArrayStore
from vigil_export.data.rows import DataError, Dataset, Row
from vigil_export.data.split import NO_IMAGE, Split

# Part of a store's name: to be counted up when the same bytes would give other pixels.
_PREPARATION = 1
# How many decoded pictures wait in memory to be written to the store together.
_BATCH = 256
# A column with longer values is prose and breaks no figure down; as an array it would take four bytes a character, of
# the longest value for every row.
_FACET_CHARACTERS = 64


def prepare(dataset: Dataset, rows: Sequence[Row], image: ImageSpec, cache: Path) -> Split:
    """Read rows in the form of training and evaluation.

    Args:
        dataset: Gives the labels their columns, and groups and sequences their numbers: the same in all its splits.
        rows: n of its rows.
        image: Size of the pictures.
        cache: Folder where prepared pictures are kept as a memory map.

    Returns:
        The rows. Facets are the rows' own (but for prose: values of more than 64 characters), `group` and, where there
        are any, `language`.

    Raises:
        DataError: A picture cannot be read or decoded (it is named), or the cache cannot be written.
    """
    store = picture_store(cache, image)
    place_of = _put(list(dict.fromkeys(row.image for row in rows if row.image is not None)), store, image)
    places = (NO_IMAGE if row.image is None else place_of[row.image] for row in rows)
    return Split(
        images=store.read(),
        image_of=np.fromiter(places, np.int64, len(rows)),
        texts=tuple(row.text for row in rows),
        truth=truth_of(dataset, rows),
        groups=_numbers([row.group for row in rows], [row.group for row in dataset.rows]),
        sequences=_numbers([row.sequence for row in rows], [row.sequence for row in dataset.rows]),
        ids=tuple(row.id for row in rows),
        facets=_facets(rows),
    )


def picture_store(cache: Path, image: ImageSpec) -> ArrayStore[np.uint8]:
    """Return the store of pictures of this size, uint8 [h, w, 3] each, by the SHA-256 of their files."""
    name = f"{image.resize}-{image.color}-{image.height}x{image.width}-v{_PREPARATION}"
    return ArrayStore(cache / name, (image.height, image.width, 3), np.uint8)


def truth_of(dataset: Dataset, rows: Sequence[Row]) -> npt.NDArray[np.float32]:
    """Return float32 [n, L]: 1 where the row has the label of that column."""
    column = {name: number for number, name in enumerate(dataset.labels)}
    truth = np.zeros((len(rows), len(dataset.labels)), np.float32)
    for number, row in enumerate(rows):
        truth[number, [column[name] for name in row.labels if name in column]] = 1
    return truth


def _put(files: Sequence[Path], store: ArrayStore[np.uint8], spec: ImageSpec) -> dict[Path, int]:
    """Decode what the store does not hold yet, each content once; return the place of each file."""
    places: dict[Path, int] = {}
    waiting: dict[str, npt.NDArray[np.uint8]] = {}
    with store.writing() as known:
        for number, file in enumerate(files, 1):
            key, data = _read(file)
            if key not in known:
                known[key], waiting[key] = len(known), _decode(file, data, spec)
            places[file] = known[key]
            if waiting and (len(waiting) == _BATCH or number == len(files)):
                store.add(list(waiting), np.stack(list(waiting.values())))
                waiting.clear()
    return places


def _read(file: Path) -> tuple[str, bytes]:
    """Return the SHA-256 of a picture's file, and its bytes."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: expected a picture that can be read, found: {error.strerror}") from error
    return hashlib.sha256(data).hexdigest(), data


def _decode(file: Path, data: bytes, spec: ImageSpec) -> npt.NDArray[np.uint8]:
    try:
        return decode_image(data, spec)
    except ImageError as error:
        raise DataError(
            f"{file}: expected a whole JPEG, PNG or WebP, found: {error}; fix or remove it "
            "(`vigil-export data check` lists all such pictures)"
        ) from error


def _numbers(values: Sequence[str], everywhere: Sequence[str]) -> npt.NDArray[np.int64]:
    """Number names in their order within the whole data set; -1 for an empty one."""
    number: Mapping[str, int] = {name: at for at, name in enumerate(sorted({*everywhere, *values} - {""}))}
    return np.fromiter((number.get(value, -1) for value in values), np.int64, len(values))


def _facets(rows: Sequence[Row]) -> dict[str, npt.NDArray[np.str_]]:
    names = sorted({name for row in rows for name, _ in row.facets})
    values = [dict(row.facets) for row in rows]
    longest = {name: max(len(value.get(name, "")) for value in values) for name in names}
    facets = {
        name: np.array([value.get(name, "") for value in values], np.str_)
        for name in names
        if longest[name] <= _FACET_CHARACTERS
    }
    facets["group"] = np.array([row.group for row in rows], np.str_)
    if any(row.lang for row in rows):
        facets["language"] = np.array([row.lang for row in rows], np.str_)
    return facets
