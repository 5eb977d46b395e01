"""The most bytes that a checkpoint can have, whatever comes: the sum of the bounds of all that is in it.

Each bound is kept by the stage that it belongs to, at the head of the merge order; compression is not counted on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.core.admit import MAX_NAME_BYTES
from stream_app.core.crowd import LABEL_BYTES, NAME_BYTES, SLOT_BYTES, TEXT_BYTES
from stream_app.core.decide import MAX_REACHED
from stream_app.core.incident import MAX_INCIDENT_BYTES
from stream_app.core.marks import MAX_MARK_BYTES
from stream_app.core.rate import MAX_ZONES
from stream_app.core.thin import MAX_SAMPLED

if TYPE_CHECKING:
    from stream_app.core.settings import Semantic
    from stream_app.core.types import Model

#: A number, as MessagePack writes the longest.
_NUMBER = 9
_NAME = MAX_NAME_BYTES + NAME_BYTES
#: Runs of expiries of both sides: 33 each (an H of 31 ms has steps of 1 ms), and as many again for a switch of H.
_EXPIRIES = 4 * 33 * (1 + 2 * _NUMBER)
#: Names of fields, positions, deployment, hash, and the counters: one for each thing that can become of a record.
_REST = 16 * 1024


def largest_checkpoint(settings: Semantic, model: Model) -> int:
    """Return the most bytes that a checkpoint under these settings and this model can have."""
    text = TEXT_BYTES + LABEL_BYTES * len(model.labels)
    # A bound is looked at before a record is taken: the last one may have gone past it.
    most_texts = settings.held_texts_bytes // text + 1
    last_text = text + settings.max_slots * SLOT_BYTES + settings.max_cameras * _NAME
    last_frame = most_texts * SLOT_BYTES + _NAME
    # A record may be held and another one remembered.
    marks = (2 * settings.max_held + 1) * MAX_MARK_BYTES
    texts = settings.held_texts_bytes + max(last_text, last_frame)
    incidents = settings.incidents_bytes + MAX_INCIDENT_BYTES
    rates = MAX_ZONES * (_NAME + 4 + 2 * _NUMBER)
    sampled = MAX_SAMPLED * (2 * _NAME + 4 + _NUMBER)
    labels = max((len(label.name.encode()) for label in model.labels), default=0)
    reached = MAX_REACHED * (_NAME + labels + 9 + 4 * _NUMBER)
    in_force = len(msgspec.msgpack.encode(model)) + len(msgspec.msgpack.encode(settings))
    whole = marks + _EXPIRIES + texts + incidents + rates + sampled + reached + in_force + _REST
    # What cannot be compressed grows: five bytes for each block of 16 KiB, and the frame of zlib.
    return whole + whole // (16 * 1024) * 5 + 64
