"""One MCAP file, whoever wrote it: where its chunks lie, and what can be read of each, however the file was treated.

In: a file. Out: chunks by their times, messages of one chunk, metadata; and what is damaged, in words. A file with a
sound index is read by it. Any other is scanned once from its beginning, as far as it can be read.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import Counter
from typing import IO, TYPE_CHECKING, Final, NamedTuple, Self

import zstandard
from mcap.exceptions import EndOfFile, McapError
from mcap.opcode import Opcode
from mcap.reader import FOOTER_SIZE, MAGIC_SIZE, SeekingReader
from mcap.records import Channel, Chunk, Footer, Header, Message, Metadata, Schema
from mcap.stream_reader import CRCValidationError, StreamReader, breakup_chunk, get_chunk_data_stream

from stream_app.replay.recording import RecordingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mcap.summary import Summary

#: What reading damaged bytes raises: mcap's own errors, and those of what it reads with (RuntimeError is lz4's).
DAMAGE: Final = (
    McapError,
    CRCValidationError,
    zstandard.ZstdError,
    struct.error,
    ValueError,
    MemoryError,
    OverflowError,
    RuntimeError,
)

#: Of a chunk, beside the name of its codec and its data: opcode, length, two times, size, CRC and two lengths.
_CHUNK_HEAD_BYTES: Final = 1 + 8 + 8 + 8 + 8 + 4 + 4 + 8
#: Of a record in a chunk: opcode and length; of a message behind that: channel, sequence and two times.
_MESSAGE: Final = int(Opcode.MESSAGE)
_RECORD_HEAD: Final = struct.Struct("<BQ")
_MESSAGE_HEAD: Final = struct.Struct("<HIQQ")
_MESSAGE_HEAD_BYTES: Final = _RECORD_HEAD.size + _MESSAGE_HEAD.size


class ChunkPlace(NamedTuple):
    """A chunk, or a message outside any: the times of its messages in ns, and where in the file it lies."""

    start_ns: int
    end_ns: int
    begin: int
    length: int


class Logged(NamedTuple):
    """A message: its channel, its number on it, when it was logged in ns, and what it says."""

    channel: Channel
    sequence: int
    log_ns: int
    data: bytes


class ChunkedFile:
    """A file that is open for reading.

    ``channels`` and ``schemas`` are by their numbers, ``counts`` says how many messages a channel has. ``damage`` says
    in words what of the file is lost, as far as that is known without reading it all.
    """

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            RecordingError: if it is no MCAP file, or of a profile that is not wanted.
            OSError: if it cannot be read.
        """
        self.path = path
        self.chunks: list[ChunkPlace] = []
        self.channels: dict[int, Channel] = {}
        self.schemas: dict[int, Schema] = {}
        self.counts: Counter[int] = Counter()
        self.damage: list[str] = []
        self._file: IO[bytes] = path.open("rb")
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self._require_profile(self._profile())
            metadata = self._by_index()
            self._understand(self._by_scan() if metadata is None else metadata)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close it."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def start_ns(self) -> int | None:
        """When the oldest message was logged; None where there is none."""
        return min((place.start_ns for place in self.chunks), default=None)

    @property
    def end_ns(self) -> int | None:
        """When the newest message was logged; None where there is none."""
        return max((place.end_ns for place in self.chunks), default=None)

    def messages(self, place: ChunkPlace) -> list[Logged]:
        """Return the messages of a chunk, in the order of the file.

        Raises:
            RecordingError: if the chunk is damaged.
        """
        try:
            self._file.seek(place.begin)
            record = next(self._records(), None)
            if isinstance(record, Message):
                return [Logged(self.channels[record.channel_id], record.sequence, record.log_time, record.data)]
            if isinstance(record, Chunk):
                stream, length = get_chunk_data_stream(record, validate_crc=True)
                return list(_messages_in(stream.read(length), self.channels))
        except KeyError as error:
            raise RecordingError(
                f"{self.path}: the chunk at byte {place.begin} is damaged: no channel {error}"
            ) from error
        except DAMAGE as error:
            raise RecordingError(f"{self.path}: the chunk at byte {place.begin} is damaged: {error!r}") from error
        raise RecordingError(f"{self.path}: expected a chunk at byte {place.begin}, found none")

    def _require_profile(self, profile: str) -> None:
        """Take files of any profile."""

    def _understand(self, metadata: dict[str, dict[str, str]]) -> None:
        """Take what the file says of itself."""

    def _records(self, *, skip_magic: bool = True) -> Iterator[object]:
        # No record can be longer than the file: a damaged length must not fill the memory.
        reader = StreamReader(self._file, skip_magic, emit_chunks=True, record_size_limit=self.size)
        records: Iterator[object] = reader.records
        return records

    def _profile(self) -> str:
        try:
            header = next(self._records(skip_magic=False), None)
        except DAMAGE as error:
            raise RecordingError(
                f"{self.path}: expected an MCAP file, found {self.size} bytes of another: {error}"
            ) from error
        if not isinstance(header, Header):
            raise RecordingError(f"{self.path}: expected an MCAP file that begins with its header, found none")
        return str(header.profile)

    def _by_index(self) -> dict[str, dict[str, str]] | None:
        """Find everything by the index at the end; None where there is no index that can be believed."""
        try:
            self._file.seek(0)
            reader = SeekingReader(self._file, record_size_limit=self.size)
            summary = reader.get_summary() if self._is_summary_sound() else None
            if summary is None or not _is_whole(summary):
                return None
            self.channels, self.schemas = dict(summary.channels), dict(summary.schemas)
            self.counts = Counter(summary.statistics.channel_message_counts if summary.statistics else {})
            self.chunks = [
                ChunkPlace(one.message_start_time, one.message_end_time, one.chunk_start_offset, one.chunk_length)
                for one in summary.chunk_indexes
            ]
            return {one.name: one.metadata for one in reader.iter_metadata()}
        except (*DAMAGE, OSError):
            return None

    def _is_summary_sound(self) -> bool:
        """Whether the index fits its CRC, which the library does not look at."""
        end = self.size - MAGIC_SIZE - FOOTER_SIZE
        self._file.seek(end)
        head = self._file.read(FOOTER_SIZE - 4)
        self._file.seek(end)
        footer = next(self._records(), None)
        if not isinstance(footer, Footer) or not 0 < footer.summary_start <= end:
            return False
        self._file.seek(footer.summary_start)
        crc = zlib.crc32(head, zlib.crc32(self._file.read(end - footer.summary_start)))
        self._file.seek(0)
        return crc == int(footer.summary_crc)

    def _by_scan(self) -> dict[str, dict[str, str]]:
        """Find what can be found from the beginning on; whatever is behind the first break in the file is lost."""
        metadata: dict[str, dict[str, str]] = {}
        self.chunks, self.channels, self.schemas, self.counts = [], {}, {}, Counter()
        at = 0
        self._file.seek(0)
        try:
            for record in self._records(skip_magic=False):
                at = self._file.tell()
                if isinstance(record, Metadata):
                    metadata[record.name] = record.metadata
                elif isinstance(record, Chunk):
                    self._found_chunk(record, at)
                elif isinstance(record, Message):
                    self._found([record], at - _MESSAGE_HEAD_BYTES - len(record.data), at)
                elif isinstance(record, Channel | Schema):
                    self._found([record], at, at)
        except DAMAGE:
            self.damage.append(f"{self.path}: cut off or damaged behind byte {at} of {self.size}")
        return metadata

    def _found_chunk(self, chunk: Chunk, end: int) -> None:
        begin = end - _CHUNK_HEAD_BYTES - len(chunk.compression) - len(chunk.data)
        try:
            records = breakup_chunk(chunk, validate_crc=True)
        except DAMAGE as error:
            self.damage.append(f"{self.path}: the chunk at byte {begin} is damaged: {error!r}")
            return
        self._found(records, begin, end)

    def _found(self, records: Sequence[object], begin: int, end: int) -> None:
        self.schemas |= {one.id: one for one in records if isinstance(one, Schema)}
        self.channels |= {one.id: one for one in records if isinstance(one, Channel)}
        messages = [one for one in records if isinstance(one, Message)]
        self.counts.update(one.channel_id for one in messages)
        # What the chunk's head says of its times is covered by no CRC.
        times = [one.log_time for one in messages]
        if times:
            self.chunks.append(ChunkPlace(min(times), max(times), begin, end - begin))


def in_order_of_time(
    files: Sequence[ChunkedFile], losing: Callable[[], AbstractContextManager[None]]
) -> Iterator[tuple[int, Logged]]:
    """Yield the messages of several files by log time; those of one time in the order of their files.

    Only chunks that overlap are held.

    Args:
        files: open.
        losing: a block in which a chunk is read; it may take the error of one that is damaged.

    Yields:
        The number of the file, and the message.

    Raises:
        RecordingError: if a chunk is damaged, and ``losing`` lets that pass.
    """
    waiting = sorted(((place, number) for number, file in enumerate(files) for place in file.chunks), reverse=True)
    # The next one is the last, so that what was yielded is held no more.
    read: list[tuple[int, int, int, int, Logged]] = []
    while waiting or read:
        while waiting and (not read or waiting[-1][0].start_ns <= read[-1][0]):
            place, number = waiting.pop()
            with losing():
                messages = files[number].messages(place)
                read += [(one.log_ns, number, place.begin, index, one) for index, one in enumerate(messages)]
                read.sort(reverse=True)
        until_ns = waiting[-1][0].start_ns if waiting else None
        while read and (until_ns is None or read[-1][0] < until_ns):
            _, number, _, _, message = read.pop()
            yield number, message


def _messages_in(data: bytes, channels: Mapping[int, Channel]) -> Iterator[Logged]:
    """Yield the messages of an unpacked chunk; the library's own way to them takes ten times as long.

    Raises:
        KeyError: if a message is of no channel.
        EndOfFile: if a record ends behind the chunk, or a message within its head.
        struct.error: if the chunk ends within the head of a record.
    """
    at = 0
    while at < len(data):
        opcode, length = _RECORD_HEAD.unpack_from(data, at)
        at += _RECORD_HEAD.size
        begin, end = at + _MESSAGE_HEAD.size, at + length
        if end > len(data):
            raise EndOfFile
        if opcode == _MESSAGE:
            if end < begin:
                raise EndOfFile
            channel, sequence, log_ns, _ = _MESSAGE_HEAD.unpack_from(data, at)
            yield Logged(channels[channel], sequence, log_ns, data[begin:end])
        at = end


def _is_whole(summary: Summary) -> bool:
    """Whether an index names all that is in the file; its parts are optional, and messages may lie outside chunks."""
    counted = summary.statistics
    if counted is None or counted.chunk_count != len(summary.chunk_indexes):
        return False
    if counted.message_count and not counted.chunk_count:
        return False
    channels = summary.channels.values()
    return set(counted.channel_message_counts) <= set(summary.channels) and all(
        not channel.schema_id or channel.schema_id in summary.schemas for channel in channels
    )
