"""A recording as its readers see it: the records of a deployment's topics, by append time, as they were on the topics.

A port: the files are read by an adapter. A record has the form of a :class:`~stream_app.core.types.RawRecord`, so the
core takes it as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from stream_app.core.types import NO_TIME_MS, Unreadable
from stream_app.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.core.types import RawRecord

#: The topics that a recording holds, by their names in :class:`~stream_app.wire.topics.Topics`. Checkpoints are not
#: among them: their topic is compacted, and the journal holds keyframes.
Kind = Literal["frames", "texts", "alerts", "decisions", "journal", "dead_letters"]


class Lost(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why no client can read what lies on a topic; see :class:`~stream_app.core.types.Unreadable`.

    ``first_offset`` to the record's own is what is lost. ``near_ms`` is the append time of the record before it on its
    partition, or of the range's beginning: its own is not always known.
    """

    first_offset: int
    reason: str
    detail: str
    near_ms: int


class TopicRecord(msgspec.Struct, frozen=True, gc=False):
    """One record as it was on its topic.

    ``timestamp`` is in ms since the Unix epoch, -1 where the record had none; ``timestamp_type`` is 0 where the
    producer gave it and 1 where the broker did. A key, a header or a value that is missing is None, which is not the
    same as empty. ``value`` of a frame is None, too, where pictures were left out of the recording; ``size`` is its
    length all the same, in bytes. ``lost`` is there where no client can read it: then key, value and headers are what
    could be had, and its timestamp may be :data:`~stream_app.core.types.NO_TIME_MS`.
    """

    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    size: int
    lost: Lost | None = None

    @property
    def append_ms(self) -> int:
        """Its append time, or about that where it is not known."""
        return self.lost.near_ms if self.lost is not None and self.timestamp == NO_TIME_MS else self.timestamp


def as_input(record: TopicRecord) -> RawRecord:
    """Return a record of an input topic as the live core got it: what no client could read by its reason."""
    lost = record.lost
    if lost is None:
        return record
    return Unreadable(
        offset=record.offset,
        first_offset=lost.first_offset,
        timestamp=record.timestamp,
        reason=lost.reason,
        detail=lost.detail,
        key=record.key,
        value=record.value,
        headers=record.headers,
    )


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording says of itself. ``from_ms`` to ``to_ms`` (exclusive) is the range of append times asked for.

    The records of the inputs may begin earlier: with what the first keyframe still needs. Where ``zones`` are named,
    records of other zones are there without their values, of texts too, and the range cannot be verified.
    """

    deployment: str
    topics: Topics
    partitions: tuple[int, ...]
    from_ms: int
    to_ms: int
    has_pictures: bool = True
    zones: tuple[str, ...] = ()


class Recording(Protocol):
    """A recording that is open for reading, any number of times."""

    @property
    def about(self) -> About:
        """What it says of itself."""
        ...

    def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
        """Yield all records by append time; those of one topic and partition in order of their offsets.

        Raises:
            RecordingError: if the rest cannot be read; what was yielded before is good.
        """
        ...


class RecordingError(ValueError):
    """A recording cannot be read, or not as far as it should reach; the message says where, expected and found."""
