"""What stood behind incidents: the frames and sentences that a report shows, taken from the recording by their places.

In: recordings and incidents. Out: bytes of frames, words of texts. Only what is shown is kept, up to a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.core.admit import admit
from stream_app.core.settings import Semantic
from stream_app.core.types import Refused, Side
from stream_app.replay.incidents import Incident, Piece, Place
from stream_app.replay.reading import readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_app.replay.recording import Recording

#: Of an incident so many frames and so many texts are shown: the first of its evidence.
FRAMES_OF_ONE = 6
TEXTS_OF_ONE = 6
#: A page with more bytes of pictures opens slowly in a browser; what is beyond is left out, and said.
MOST_BYTES = 48 * 1024 * 1024

_SIDES = {"frames": Side.FRAME, "texts": Side.TEXT}
#: What was admitted once, by whatever bounds, is read again.
_LARGEST = 1 << 40
_ANY = Semantic(
    max_image_bytes=_LARGEST,
    max_image_pixels=_LARGEST,
    max_image_side=_LARGEST,
    max_text_bytes=_LARGEST,
    max_ahead_ms=_LARGEST,
)

#: A place and the event time there: several recordings may have records of one place.
_Named = tuple[Place, int]


class Shown(msgspec.Struct, frozen=True):
    """Frames and sentences; ``has_left_out`` says that there was no room for some frames."""

    frames: Mapping[_Named, bytes]
    texts: Mapping[_Named, str]
    has_left_out: bool = False

    def frame(self, piece: Piece) -> bytes | None:
        """Return the bytes of a frame, None where they are not at hand."""
        return self.frames.get((piece.place, piece.time_ms))

    def text(self, piece: Piece) -> str | None:
        """Return the words of a text, None where they are not at hand."""
        return self.texts.get((piece.place, piece.time_ms))


def pieces_of(incident: Incident) -> tuple[Piece, ...]:
    """Return the evidence of an incident that is shown: texts first, each kind in its order."""
    texts = [piece for piece in incident.evidence if piece.kind == "text"][:TEXTS_OF_ONE]
    frames = [piece for piece in incident.evidence if piece.kind == "frame"][:FRAMES_OF_ONE]
    return (*texts, *frames)


def evidence_in(recordings: Iterable[Recording], incidents: Iterable[Incident]) -> Shown:
    """Look up in recordings what is shown of these incidents, as far as they can be read."""
    wanted = {(piece.place, piece.time_ms) for incident in incidents for piece in pieces_of(incident)}
    places = {place for place, _ in wanted}
    frames: dict[_Named, bytes] = {}
    texts: dict[_Named, str] = {}
    room = MOST_BYTES
    has_left_out = False
    for recording in recordings if wanted else ():
        topics = recording.about.topics
        for kind, record in readable(recording):
            side = _SIDES.get(kind)
            if side is None or record.value is None:
                continue
            place = Place(topics.of(side), record.partition, record.offset)
            if place not in places:
                continue
            intake = admit(side, record, _ANY)
            if isinstance(intake, Refused):
                continue
            name = (place, intake.event_ms)
            if name not in wanted or name in frames:
                continue
            if side is Side.TEXT:
                texts[name] = intake.text
            elif len(record.value) <= room:
                room -= len(record.value)
                frames[name] = record.value
            else:
                has_left_out = True
    return Shown(frames, texts, has_left_out)
