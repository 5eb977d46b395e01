"""A recording as its readers see it: the records of a deployment's topics, by append time, as they were on the topics.

A port: the files are read by an adapter. A record has the form of a :class:`~stream_app.core.types.RawRecord`, so the
core takes it as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from stream_app.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The topics that a recording holds, by their names in :class:`~stream_app.wire.topics.Topics`. Checkpoints are not
#: among them: their topic is compacted, and the journal holds keyframes.
Kind = Literal["frames", "texts", "alerts", "decisions", "journal", "dead_letters"]


class TopicRecord(msgspec.Struct, frozen=True, gc=False):
    """One record as it was on its topic.

    ``timestamp`` is in ms since the Unix epoch, -1 where the record had none; ``timestamp_type`` is 0 where the
    producer gave it and 1 where the broker did. A key, a header or a value that is missing is None, which is not the
    same as empty. ``value`` of a frame is None, too, where pictures were left out of the recording; ``size`` is its
    length all the same, in bytes.
    """

    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    size: int


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
