"""Reads folders that `vigil evidence` wrote: the frames and texts behind alerts or decisions, by their coordinates.

Layout: `evidence.json` (pieces: topic, partition, offset, and the file or why it is missing), the files, and
`alert.json` where they are those of an alert. It must not know decisions or verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from stream_app.core.admit import read_text
from vigil_export.data.rows import DataError

_Kind = TypeVar("_Kind")
_STRUCTURED = (("content-type", b"application/cloudevents+json"),)


class Place(NamedTuple):
    """Coordinates of a record; written `topic/partition/offset`, as `vigil evidence` prints them."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def parse_place(text: str) -> Place:
    """Read coordinates.

    Raises:
        ValueError: They are of another form.
    """
    topic, partition, offset = text.strip().rsplit("/", 2)
    return Place(topic, int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class Evidence:
    """All pieces of several folders.

    Attributes:
        files: Place -> the file with the bytes that were sent.
        missing: Place -> why it could not be fetched.
        alerts: Id of an alert, or of its incident -> the places behind it.
    """

    files: dict[Place, Path]
    missing: dict[Place, str]
    alerts: dict[str, frozenset[Place]]


class _Piece(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    file: str = ""
    missing: str = ""

    @property
    def place(self) -> Place:
        return Place(self.topic, self.partition, self.offset)


class _Alert(msgspec.Struct):
    id: str
    incident: str


@dataclass(frozen=True, slots=True)
class _Stored:
    """A text as `read_text` takes it; of its record only the value was kept."""

    value: bytes
    headers: Sequence[tuple[str, bytes | None]] = ()
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None


def read_evidence(folders: Iterable[Path]) -> Evidence:
    """Read what `vigil evidence` wrote.

    Args:
        folders: Each its own, or one with such folders in it.

    Raises:
        DataError: No such folder, or a file in it is of another form.
    """
    found = Evidence({}, {}, {})
    for folder in folders:
        indices = sorted(folder.rglob("evidence.json"))
        if not indices:
            raise DataError(f"{folder}: expected a folder that `vigil evidence ... --out DIR` wrote, found none")
        for index in indices:
            _read_one(index, found)
    return found


def _read_one(index: Path, found: Evidence) -> None:
    pieces = _decode(index, list[_Piece])
    for piece in pieces:
        # A name of a file, never a way out of the folder, by a link neither.
        file = index.parent / Path(piece.file).name
        if piece.file and file.is_file() and not file.is_symlink():
            found.files.setdefault(piece.place, file)
        else:
            found.missing[piece.place] = piece.missing or f"no file {file}"
    about = index.parent / "alert.json"
    if not about.is_file():
        return  # what a recording named, or somebody typed
    alert = _decode(about, _Alert)
    places = frozenset(piece.place for piece in pieces)
    for name in (alert.id, alert.incident):
        found.alerts[name] = found.alerts.get(name, frozenset()) | places


def _decode(path: Path, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected a file that `vigil evidence` writes, found none") from error
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: expected what `vigil evidence` writes, found: {error}") from error


def text_of(file: Path) -> str:
    """Return what a text record says, read as the live system reads it.

    Raises:
        DataError: It is no text that would have been admitted.
    """
    value = file.read_bytes()
    try:
        envelope = msgspec.json.decode(value, type=dict[str, object])
        headers = _STRUCTURED if "specversion" in envelope else ()
    except (msgspec.DecodeError, UnicodeDecodeError):
        headers = ()
    try:
        return read_text(_Stored(value, headers)).text
    except ValueError as error:
        raise DataError(f"{file}: expected a text that was admitted, found: {error}") from error
