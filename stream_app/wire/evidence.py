"""Pieces of evidence: frames and texts that alerts and decisions name, as a folder holds them, and their file names.

In: what names a record. Out: a piece, and the name of its file. It must not know where records come from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from stream_app.wire.references import EvidenceRef

#: The pieces of a folder, as a JSON array; and beside it, of an incident, its newest alert.
INDEX = "evidence.json"
ALERT = "alert.json"
_SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"RI": ".webp"}


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of evidence: where the alert says it lies, the file it was written to, or why it is missing."""

    kind: Literal["text", "frame"]
    topic: str
    partition: int
    offset: int
    time: str = ""
    camera: str = ""
    file: str = ""
    missing: str = ""


def piece_of(named: EvidenceRef) -> Piece:
    """Return the piece of evidence that an alert or a decision names."""
    return Piece(**msgspec.structs.asdict(named))


def index_of(pieces: Sequence[Piece]) -> bytes:
    """Return the content of a folder's index."""
    return msgspec.json.format(msgspec.json.encode([msgspec.structs.asdict(piece) for piece in pieces])) + b"\n"


def file_name(piece: Piece, value: bytes, taken: set[str]) -> str:
    """Return a name that no other piece has, not in other case either: records of two topics may share a place."""
    stem = f"{piece.kind}-{piece.partition:d}-{piece.offset:d}"
    if piece.kind == "frame":
        # A camera's name comes from whoever sends frames; it must not lead out of the folder.
        camera = re.sub(r"[^A-Za-z0-9_-]+", "_", piece.camera)[:40]
        stem = f"{stem}-{camera}" if camera else stem
        suffix = _SUFFIXES.get(value[:2], ".bin")
    else:
        suffix = ".json" if value.lstrip().startswith(b"{") else ".txt"
    name, number = f"{stem}{suffix}", 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}.{number}{suffix}"
    taken.add(name.lower())
    return name
