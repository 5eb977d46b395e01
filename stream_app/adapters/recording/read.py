"""Reads recordings: one file or several in a row, by append time, in bounded memory, whatever became of the files.

In: paths. Out: a :class:`~stream_app.replay.recording.Recording`. What is readable is read; what is lost is an error
that says where. A record that two files have is read once.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Self

import msgspec

from stream_app.adapters.recording.chunks import in_order_of_time
from stream_app.adapters.recording.layout import CHANNELS, PICTURES, SUFFIX, Begins, Opening, restore, whole
from stream_app.adapters.recording.mcap_file import McapFile
from stream_app.adapters.recording.viewers import picture_bytes
from stream_app.core.event_time import format_event_time
from stream_app.replay.recording import About, RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from stream_app.replay.recording import Kind, TopicRecord


class McapRecording:
    """Files in a row, open for reading. Implements the port :class:`~stream_app.replay.recording.Recording`."""

    def __init__(self, files: list[McapFile], *, is_past_damage: bool) -> None:
        """Put files in a row.

        Args:
            files: at least one; by when they begin.
            is_past_damage: read on behind damage, and say at the end what is lost.

        Raises:
            RecordingError: if they are not of one deployment, or leave a gap.
        """
        self.files = files
        self._is_past_damage = is_past_damage
        self._about = _about(files)
        #: Records that more than one file had, as found by the last reading.
        self.repeated = 0

    @property
    def about(self) -> About:
        """What it says of itself."""
        return self._about

    @property
    def opening(self) -> Opening:
        """What its first file says of itself."""
        return self.files[0].opening

    @property
    def begins(self) -> Begins:
        """The first offset of each topic and partition that it could hold."""
        found: Begins = {}
        for file in self.files:
            for kind, partition, offset in file.opening.begins:
                found[kind, partition] = min(offset, found.get((kind, partition), offset))
        return found

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Records of the topics that no client could read: they are not in it."""
        return tuple(word for file in self.files if file.ending is not None for word in file.ending.unreadable)

    def close(self) -> None:
        """Close the files."""
        for file in self.files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
        """Yield all records by append time; those of one topic and partition in order of their offsets.

        Raises:
            RecordingError: at the first damage, if it is not to be read past; else at the end. It says what is lost.
        """
        self.repeated = 0
        lost: list[str] = []
        rows: dict[tuple[Kind, int], _Row] = {}
        is_one_of_several = len(self.files) > 1
        for number, kind, record in self._stored(lost):
            row = rows.get((kind, record.partition))
            if row is None:
                row = rows[kind, record.partition] = _Row()
            if row.is_behind(record):
                yield kind, record
            else:
                self.repeated += 1
                with self._losing(lost):
                    row.require_same(record, self._holders(record, row, number))
            if is_one_of_several:
                row.note(number, record)
        lost += self._lost_at_the_end()
        if lost:
            raise RecordingError("; ".join(lost))

    def _holders(self, record: TopicRecord, row: _Row, number: int) -> list[Path]:
        """Return the other files from which this very record can have come already."""
        return [
            self.files[other].path
            for other, (offset, time_ms) in row.read.items()
            if other != number and record.offset <= offset and record.timestamp <= time_ms
        ]

    def _lost_at_the_end(self) -> list[str]:
        last = self.files[-1]
        lost = [word for file in self.files for word in file.damage if file is last or file.ending is not None]
        if last.ending is None and not last.damage:
            lost.append(f"{last.path}: expected its end, found none: the writer was killed, or the disk was full")
        if lost:
            until = "" if last.end_ms is None else f"; records until {format_event_time(last.end_ms - 1)} were read"
            lost[-1] += until
        return lost

    def _stored(self, lost: list[str]) -> Iterator[tuple[int, Kind, TopicRecord]]:
        pictures: dict[tuple[int, int], bytes] = {}
        pictures_ns = -1
        for number, message in in_order_of_time(self.files, partial(self._losing, lost)):
            topic = message.channel.topic
            if message.log_ns > pictures_ns:
                # A picture stands directly before its record: what is left belongs to records that are lost.
                pictures.clear()
            kind = CHANNELS.get(topic)
            if kind is not None:
                try:
                    record = _restored(message.data, number, pictures)
                except RecordingError as error:
                    self._lose(error, lost)
                else:
                    yield number, kind, record
            elif topic.startswith(PICTURES):
                pictures[number, message.sequence] = message.data
                pictures_ns = message.log_ns

    @contextmanager
    def _losing(self, lost: list[str]) -> Iterator[None]:
        try:
            yield
        except RecordingError as error:
            self._lose(error, lost)

    def _lose(self, error: RecordingError, lost: list[str]) -> None:
        """Note what is lost, or end the reading there."""
        if not self._is_past_damage:
            raise error
        lost.append(str(error))


class _Row:
    """What was read so far of one partition of a topic, over all files."""

    def __init__(self) -> None:
        self._newest: TopicRecord | None = None
        self._is_told = False
        #: By file, the highest offset and the latest time that were read of it.
        self.read: dict[int, tuple[int, int]] = {}

    def is_behind(self, record: TopicRecord) -> bool:
        """Whether a record lies behind all that were read; then it is the newest."""
        if self._newest is not None and record.offset <= self._newest.offset:
            return False
        self._newest = record
        return True

    def require_same(self, record: TopicRecord, holders: list[Path]) -> None:
        """Make sure that a record that is not behind the newest is one that was read before.

        Args:
            record: the next one.
            holders: other files that have it, by what was read of them.

        Raises:
            RecordingError: if it is not, the first time.
        """
        newest = self._newest
        if newest is None or self._is_told:
            return
        where = f"record {record.partition}/{record.offset} of {format_event_time(max(record.timestamp, 0))}"
        if not holders:
            self._is_told = True
            raise RecordingError(
                f"{where} follows {newest.partition}/{newest.offset}, and no file had it before: the topic was "
                "recreated meanwhile, or a broker's clock ran back between two files; such records are left out"
            )
        if record.offset == newest.offset and not _is_same(record, newest):
            self._is_told = True
            raise RecordingError(f"{where} is another one in {', '.join(map(str, holders))}")

    def note(self, number: int, record: TopicRecord) -> None:
        """Take note of what a file had."""
        offset, time_ms = self.read.get(number, (record.offset, record.timestamp))
        self.read[number] = (max(offset, record.offset), max(time_ms, record.timestamp))


def _is_same(one: TopicRecord, other: TopicRecord) -> bool:
    """Whether two files hold the same record, the value of which one may have left out."""
    if one.value is None or other.value is None:
        one, other = (msgspec.structs.replace(record, value=None) for record in (one, other))
    return one == other


def open_recording(*paths: Path, is_past_damage: bool = False) -> McapRecording:
    """Open a recording.

    Args:
        paths: its files, in any order; a folder stands for the recordings in it.
        is_past_damage: read on behind damage within a file, and say at the end what is lost. Without it reading ends
            where something is missing, so that nobody takes a hole for silence.

    Raises:
        RecordingError: if there is none, a file is no recording, or they are not one after the other.
        OSError: if a file cannot be read.
    """
    named = sorted({file for path in paths for file in _files_of(path)})
    if not named:
        raise RecordingError(f"expected a recording ({SUFFIX}) in {', '.join(map(str, paths))}, found none")
    files: list[McapFile] = []
    try:
        files.extend(map(McapFile, named))
        files.sort(key=lambda file: (file.opening.about.from_ms, file.opening.number, _to_ms(file)))
        return McapRecording(files, is_past_damage=is_past_damage)
    except BaseException:
        for file in files:
            file.close()
        raise


def _files_of(path: Path) -> Iterable[Path]:
    return path.glob(f"*{SUFFIX}") if path.is_dir() else (path,)


def _restored(data: bytes, number: int, pictures: dict[tuple[int, int], bytes]) -> TopicRecord:
    stored = restore(data)
    if stored.picture is None:
        return whole(stored, stored.value)
    picture = pictures.pop((number, stored.picture), None)
    if picture is None:
        raise RecordingError(f"frame {stored.partition}/{stored.offset}: its picture is missing")
    return whole(stored, picture_bytes(picture))


def _to_ms(file: McapFile) -> int:
    """Return how far a file reaches: as far as it says, or as far as its records go."""
    about = file.opening.about
    if file.ending is not None:
        return file.ending.to_ms
    return max(about.from_ms, file.end_ms if file.end_ms is not None else about.from_ms)


def _about(files: list[McapFile]) -> About:
    first = files[0].opening.about
    to_ms = _to_ms(files[0])
    has_pictures = first.has_pictures
    for file in files[1:]:
        about = file.opening.about
        for name in ("deployment", "topics", "partitions", "zones"):
            expected, found = getattr(first, name), getattr(about, name)
            if expected != found:
                raise RecordingError(f"{file.path}: expected {name} {expected} as in {files[0].path}, found {found}")
        if about.from_ms > to_ms:
            gap = f"{format_event_time(to_ms)} to {format_event_time(about.from_ms)}"
            raise RecordingError(f"{file.path}: expected the recording to go on, found a gap: {gap}")
        to_ms = max(to_ms, _to_ms(file))
        has_pictures = has_pictures and about.has_pictures
    return msgspec.structs.replace(first, to_ms=to_ms, has_pictures=has_pictures)
