"""What stood behind incidents: the frames and sentences that a report shows, taken from the recording by their places.

In: a recording and places. Out: bytes of frames, words of texts. Only what is asked for is kept, up to a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.core.admit import read_text
from stream_app.core.types import Side
from stream_app.replay.incidents import Incident, Piece, Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_app.replay.recording import Recording

#: Of an incident so many frames and so many texts are shown: the first of its evidence.
FRAMES_OF_ONE = 6
TEXTS_OF_ONE = 6
#: A page with more bytes of pictures opens slowly in a browser; what is beyond is left out, and said.
MOST_BYTES = 48 * 1024 * 1024

_SIDES = {"frames": Side.FRAME, "texts": Side.TEXT}


class Shown(msgspec.Struct, frozen=True):
    """Frames and sentences by place; ``has_left_out`` says that there was no room for some frames."""

    frames: Mapping[Place, bytes]
    texts: Mapping[Place, str]
    has_left_out: bool = False


def pieces_of(incident: Incident) -> tuple[Piece, ...]:
    """Return the evidence of an incident that is shown: texts first, each kind in its order."""
    texts = [piece for piece in incident.evidence if piece.kind == "text"][:TEXTS_OF_ONE]
    frames = [piece for piece in incident.evidence if piece.kind == "frame"][:FRAMES_OF_ONE]
    return (*texts, *frames)


def evidence_in(recordings: Iterable[Recording], incidents: Iterable[Incident]) -> Shown:
    """Look up in recordings what is shown of these incidents.

    Raises:
        RecordingError: if one cannot be read.
    """
    wanted = {piece.place for incident in incidents for piece in pieces_of(incident)}
    frames: dict[Place, bytes] = {}
    texts: dict[Place, str] = {}
    room = MOST_BYTES
    has_left_out = False
    for recording in recordings:
        topics = recording.about.topics
        for kind, record in recording.records():
            side = _SIDES.get(kind)
            if side is None:
                continue
            place = Place(topics.of(side), record.partition, record.offset)
            if place not in wanted or record.value is None or place in frames or place in texts:
                continue
            if side is Side.TEXT:
                texts[place] = read_text(record).text
            elif len(record.value) <= room:
                room -= len(record.value)
                frames[place] = record.value
            else:
                has_left_out = True
    return Shown(frames, texts, has_left_out)
