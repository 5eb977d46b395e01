"""MCAP files of other tools, as input: which cameras they have, their pictures by time, and a recording made of them.

In: a file. Out: pictures with the time at which they were logged and their own; or a
:class:`~stream_app.replay.recording.Recording`, with texts that come from elsewhere.
"""

from __future__ import annotations

import heapq
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from stream_app.adapters.recording.chunks import ChunkedFile, in_order_of_time
from stream_app.adapters.recording.foreign_images import ForeignImage, ForeignImageError, decoder_of
from stream_app.adapters.recording.layout import ABOUT, CHANNELS, PROFILE, SUFFIX
from stream_app.core.event_time import format_event_time
from stream_app.core.image_header import ImageHeaderError, read_image_header
from stream_app.replay.recording import About, Kind, RecordingError, TopicRecord
from stream_app.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mcap.records import Channel

    from stream_app.adapters.recording.chunks import Logged

#: A picture's own time is taken where it lies so near to the time of the log, in ms: others are of another clock, such
#: as the time since a robot was switched on.
_NEAR_MS: Final = 60_000
#: So many messages that cannot be read are named.
_NAMED: Final = 5
_NS: Final = 1_000_000
#: Of a topic.
_NAME_CHARS: Final = 249


class Picture(NamedTuple):
    """A picture of a topic. Times in ms since the Unix epoch: ``log_ms`` of the log, ``event_ms`` of the picture."""

    topic: str
    log_ms: int
    event_ms: int
    data: bytes
    format: str


class Words(NamedTuple):
    """A text beside the pictures: a record's value, its zone, and its time or how long after the beginning it comes."""

    value: bytes
    zone: str
    time_ms: int | None
    offset_ms: int | None


class _Header(ChunkedFile):
    """A file of which only the header is read."""

    def _by_index(self) -> dict[str, dict[str, str]] | None:
        return {}

    def _understand(self, metadata: dict[str, dict[str, str]]) -> None:
        """There is none."""

    def _require_profile(self, profile: str) -> None:
        self.profile = profile


def is_foreign(path: Path) -> bool:
    """Whether other tools wrote an MCAP file, or all of them in a folder; no for what is none.

    Raises:
        OSError: if it cannot be read.
    """
    try:
        return all([_is_foreign_file(file) for file in files_of(path)] or [False])
    except RecordingError:
        return False


def files_of(path: Path) -> list[Path]:
    """Return the files that a path stands for: itself, or the MCAP files in a folder."""
    return sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]


def _is_foreign_file(path: Path) -> bool:
    with _Header(path) as header:
        return header.profile != PROFILE


class _File(ChunkedFile):
    """One file; it knows which of its channels have pictures."""

    def _understand(self, metadata: dict[str, dict[str, str]]) -> None:
        self.decoders: dict[int, Callable[[bytes], ForeignImage]] = {}
        for number, channel in self.channels.items():
            schema = self.schemas.get(channel.schema_id)
            decoder = None if schema is None else decoder_of(schema.name, channel.message_encoding)
            if decoder is not None:
                self.decoders[number] = decoder
        self.is_recording = ABOUT in metadata or any(channel.topic in CHANNELS for channel in self.channels.values())

    def count(self, topic: str) -> int:
        return sum(self.counts[number] for number in self.decoders if self.channels[number].topic == topic)

    def picture(self, message: Logged) -> Picture:
        image = self.decoders[message.channel.id](message.data)
        shape = read_image_header(image.data)
        log_ms = message.log_ns // _NS
        own_ms = image.time_ms
        event_ms = own_ms if own_ms is not None and abs(own_ms - log_ms) <= _NEAR_MS else log_ms
        return Picture(message.channel.topic, log_ms, event_ms, image.data, shape.format)

    def schema_name(self, channel: Channel) -> str:
        schema = self.schemas.get(channel.schema_id)
        return f"{schema.name if schema else 'no schema'}, {channel.message_encoding}"


class ForeignFile:
    """A file with pictures that another tool wrote, open for reading; or a folder of them, as if they were one."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            RecordingError: if it is, or in it there is, no MCAP file, or one that is none.
            OSError: if it cannot be read.
        """
        self.path = path
        self._files: list[_File] = []
        try:
            self._files.extend(map(_File, files_of(path)))
        except BaseException:
            self.close()
            raise
        if not self._files:
            raise RecordingError(f"{path}: expected MCAP files, found none")
        self.is_recording = any(file.is_recording for file in self._files)

    def close(self) -> None:
        """Close it."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that have pictures, by name."""
        found = {file.channels[number].topic for file in self._files for number in file.decoders if file.counts[number]}
        return tuple(sorted(found))

    @property
    def start_ms(self) -> int:
        """When its first message was logged; 0 where there is none."""
        return self._start_ns // _NS

    @property
    def length_ms(self) -> int:
        """From the first message to the last."""
        return (self._end_ns - self._start_ns) // _NS

    def count(self, topic: str) -> int:
        """Return how many pictures a topic has."""
        return sum(file.count(topic) for file in self._files)

    def require_pictures(self) -> None:
        """Make sure that there are pictures, at times.

        Raises:
            RecordingError: if not; it names what is there.
        """
        if not self.topics:
            there = {
                f"{channel.topic} ({file.schema_name(channel)})"
                for file in self._files
                for channel in file.channels.values()
            }
            raise RecordingError(
                f"{self.path}: expected topics of foxglove.CompressedImage or sensor_msgs/CompressedImage, found "
                + (", ".join(sorted(there)) or "no topics")
                + "".join(f"; {word}" for file in self._files for word in file.damage)
            )
        if not self._end_ns:
            raise RecordingError(f"{self.path}: expected messages with the time at which they were logged, found none")

    def pictures(self, topic: str | None = None) -> Iterator[Picture]:
        """Yield pictures by the time at which they were logged.

        Args:
            topic: whose; None for all.

        Raises:
            RecordingError: at the end, if not all could be read; it says what is lost.
        """
        lost = [word for file in self._files for word in file.damage]
        unread = 0

        @contextmanager
        def losing() -> Iterator[None]:
            try:
                yield
            except RecordingError as error:
                lost.append(str(error))

        for number, message in in_order_of_time(self._files, losing):
            file, channel = self._files[number], message.channel
            if channel.id not in file.decoders or topic not in {None, channel.topic}:
                continue
            try:
                yield file.picture(message)
            except (ForeignImageError, ImageHeaderError) as error:
                unread += 1
                if unread <= _NAMED:
                    when = format_event_time(message.log_ns // _NS)
                    lost.append(
                        f"{file.path}, {channel.topic} at {when}: expected a JPEG, PNG or WebP picture in "
                        f"{file.schema_name(channel)}, found another: {error}"
                    )
        if unread > _NAMED:
            lost.append(f"and {unread - _NAMED} more")
        if lost:
            raise RecordingError("; ".join(lost))

    @property
    def _start_ns(self) -> int:
        return min((file.start_ns for file in self._files if file.start_ns is not None), default=0)

    @property
    def _end_ns(self) -> int:
        return max((file.end_ns or 0 for file in self._files), default=0)


class ForeignRecording:
    """A file of another tool, with texts beside it, as a recording: each topic a camera, all of them in one zone.

    Implements the port :class:`~stream_app.replay.recording.Recording`.
    """

    def __init__(self, file: ForeignFile, words: Sequence[Words], *, zone: str, words_name: str) -> None:
        """Make it.

        Args:
            file: open; this closes it.
            words: the texts.
            zone: of the pictures, and of texts that name none.
            words_name: where the texts are from. By this and the file's name its records are called.

        Raises:
            RecordingError: if it has no pictures, or no text lies near them.
        """
        file.require_pictures()
        if file.is_recording:
            raise RecordingError(f"{file.path}: expected a recording, found one whose header is damaged")
        self._file = file
        self._zone = zone.encode()
        start_ms = file.start_ms
        timed = [(one.time_ms if one.time_ms is not None else start_ms + (one.offset_ms or 0), one) for one in words]
        self._words = sorted(timed, key=lambda found: found[0])
        end_ms = start_ms + file.length_ms
        times = [time_ms for time_ms, _ in self._words]
        if times and not any(start_ms - _NEAR_MS <= time_ms <= end_ms + _NEAR_MS for time_ms in times):
            raise RecordingError(
                f"expected texts of the time of {file.path}, {format_event_time(start_ms)} to "
                f"{format_event_time(end_ms)}, found {format_event_time(times[0])} to {format_event_time(times[-1])}"
            )
        self._about = About(
            deployment=_name(file.path.stem),
            # It has no outputs, and came from no topics.
            topics=Topics(
                frames=_name(file.path.name),
                texts=_name(words_name or f"{file.path.name}.texts"),
                **dict.fromkeys(("alerts", "decisions", "journal", "state", "dead_letters"), ""),
            ),
            partitions=(0,),
            from_ms=min([start_ms, *times]),
            to_ms=max([end_ms, *times]) + 1,
        )

    @property
    def about(self) -> About:
        """What it is taken for."""
        return self._about

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> ForeignRecording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
        """Yield pictures as frames, and the texts, by time.

        Raises:
            RecordingError: at the end, if not all pictures could be read; it says what is lost.
        """
        lost: list[RecordingError] = []
        yield from heapq.merge(self._frames(lost), self._texts(), key=lambda entry: entry[1].timestamp)
        for error in lost:
            raise error

    def _frames(self, lost: list[RecordingError]) -> Iterator[tuple[Kind, TopicRecord]]:
        try:
            for offset, picture in enumerate(self._file.pictures()):
                headers = {"camera": picture.topic.strip("/"), "ce_time": format_event_time(picture.event_ms)}
                yield "frames", _record(offset, picture.log_ms, self._zone, picture.data, headers)
        except RecordingError as error:
            # Texts may come behind the last picture.
            lost.append(error)

    def _texts(self) -> Iterator[tuple[Kind, TopicRecord]]:
        for offset, (time_ms, words) in enumerate(self._words):
            zone = words.zone.encode() or self._zone
            yield "texts", _record(offset, time_ms, zone, words.value, {})


def _record(offset: int, time_ms: int, zone: bytes, value: bytes, headers: dict[str, str]) -> TopicRecord:
    content = tuple((name, written.encode()) for name, written in headers.items())
    return TopicRecord(0, offset, time_ms, 1, zone, value, content, len(value))


def _name(path: str) -> str:
    """Return a file's name as a topic or a deployment may be called."""
    return re.sub(r"[^a-zA-Z0-9._-]", "_", path)[:_NAME_CHARS]
