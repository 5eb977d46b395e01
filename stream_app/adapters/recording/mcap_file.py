"""One MCAP file of a recording: where its chunks lie, and what can be read of each, however the file was treated.

In: a file. Out: chunks by their times, messages of one chunk; and what is damaged, in words. A file with a sound index
is read by it. Any other is scanned once from its beginning, as far as it can be read.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import IO, TYPE_CHECKING, Final, NamedTuple, TypeVar

import zstandard
from mcap.exceptions import McapError
from mcap.reader import FOOTER_SIZE, MAGIC_SIZE, SeekingReader
from mcap.records import Channel, Chunk, Footer, Header, Message, Metadata
from mcap.stream_reader import CRCValidationError, StreamReader, breakup_chunk

from stream_app.adapters.recording.layout import ABOUT, END, MANIFEST, PROFILE, Ending, Opening, from_metadata
from stream_app.replay.recording import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mcap.summary import Summary

#: What reading damaged bytes raises: mcap's own errors, and those of what it reads with.
DAMAGE: Final = (
    McapError,
    CRCValidationError,
    zstandard.ZstdError,
    struct.error,
    ValueError,
    MemoryError,
    OverflowError,
)

#: Of a chunk, beside the name of its codec and its data: opcode, length, two times, size, CRC and two lengths.
_CHUNK_HEAD_BYTES: Final = 1 + 8 + 8 + 8 + 8 + 4 + 4 + 8


class ChunkPlace(NamedTuple):
    """A chunk: the times of its messages in ns, and where in the file it lies."""

    start_ns: int
    end_ns: int
    begin: int
    length: int


_Said = TypeVar("_Said", Opening, Ending)


class McapFile:
    """A file that is open for reading.

    ``opening`` and ``ending`` are what it says of itself; ``ending`` is None where the file is cut off. ``damage`` says
    in words what of it is lost, as far as that is known without reading it all.
    """

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            RecordingError: if it is no recording, or of another schema.
            OSError: if it cannot be read.
        """
        self.path = path
        self.chunks: list[ChunkPlace] = []
        self.damage: list[str] = []
        self.ending: Ending | None = None
        self.manifest: bytes | None = None
        self._channels: dict[int, str] = {}
        self._file: IO[bytes] = path.open("rb")
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self._require_recording()
            self._read_metadata(self._by_index() or self._by_scan())
        except BaseException:
            self._file.close()
            raise

    @property
    def end_ms(self) -> int | None:
        """Behind the newest record in the file, by the times of its index; None where there is none."""
        newest_ns = max((place.end_ns for place in self.chunks), default=None)
        return None if newest_ns is None else newest_ns // 1_000_000 + 1

    def close(self) -> None:
        """Close it."""
        self._file.close()

    def messages(self, place: ChunkPlace) -> Iterator[tuple[str, Message]]:
        """Yield the messages of a chunk with their channels' names, in the order of the file.

        Raises:
            RecordingError: if the chunk is damaged; then it yields none.
        """
        try:
            self._file.seek(place.begin)
            chunk = next(self._records(emit_chunks=True), None)
            if not isinstance(chunk, Chunk):
                raise RecordingError(f"{self.path}: expected a chunk at byte {place.begin}, found none")
            records = breakup_chunk(chunk, validate_crc=True)
            found = [(self._channels[one.channel_id], one) for one in records if isinstance(one, Message)]
        except KeyError as error:
            raise RecordingError(
                f"{self.path}: the chunk at byte {place.begin} is damaged: no channel {error}"
            ) from error
        except DAMAGE as error:
            raise RecordingError(f"{self.path}: the chunk at byte {place.begin} is damaged: {error!r}") from error
        yield from found

    def _read_metadata(self, metadata: dict[str, dict[str, str]]) -> None:
        if ABOUT not in metadata:
            raise RecordingError(f"{self.path}: expected the metadata {ABOUT} of a recording, found none")
        self.opening = self._said(metadata[ABOUT], Opening)
        if END in metadata:
            self.ending = self._said(metadata[END], Ending)
        if MANIFEST in metadata:
            self.manifest = metadata[MANIFEST].get("json", "").encode()

    def _said(self, metadata: dict[str, str], wanted: type[_Said]) -> _Said:
        try:
            return from_metadata(metadata, wanted)
        except RecordingError as error:
            raise RecordingError(f"{self.path}: {error}") from error

    def _records(self, *, emit_chunks: bool, skip_magic: bool = True) -> Iterator[object]:
        # No record can be longer than the file: a damaged length must not fill the memory.
        reader = StreamReader(self._file, skip_magic, emit_chunks=emit_chunks, record_size_limit=self.size)
        records: Iterator[object] = reader.records
        return records

    def _require_recording(self) -> None:
        try:
            header = next(self._records(emit_chunks=True, skip_magic=False), None)
        except DAMAGE as error:
            raise RecordingError(
                f"{self.path}: expected an MCAP file, found {self.size} bytes of another: {error}"
            ) from error
        if not isinstance(header, Header) or header.profile != PROFILE:
            found = f"the profile {header.profile!r}" if isinstance(header, Header) else "no header"
            raise RecordingError(f"{self.path}: expected an MCAP file of the profile {PROFILE}, found {found}")

    def _by_index(self) -> dict[str, dict[str, str]]:
        """Find everything by the index at the end; nothing where there is no index that can be believed."""
        try:
            reader = SeekingReader(self._file, record_size_limit=self.size)
            summary = reader.get_summary() if self._is_summary_sound() else None
            if summary is None:
                return {}
            self._index(summary)
            return {one.name: one.metadata for one in reader.iter_metadata()}
        except (*DAMAGE, OSError):
            return {}

    def _is_summary_sound(self) -> bool:
        """Whether the index fits its CRC, which the library does not look at."""
        end = self.size - MAGIC_SIZE - FOOTER_SIZE
        self._file.seek(end)
        head = self._file.read(FOOTER_SIZE - 4)
        self._file.seek(end)
        footer = next(self._records(emit_chunks=True), None)
        if not isinstance(footer, Footer) or not 0 < footer.summary_start <= end:
            return False
        self._file.seek(footer.summary_start)
        crc = zlib.crc32(head, zlib.crc32(self._file.read(end - footer.summary_start)))
        self._file.seek(0)
        return crc == int(footer.summary_crc)

    def _index(self, summary: Summary) -> None:
        self._channels = {number: channel.topic for number, channel in summary.channels.items()}
        self.chunks = [
            ChunkPlace(one.message_start_time, one.message_end_time, one.chunk_start_offset, one.chunk_length)
            for one in summary.chunk_indexes
        ]

    def _by_scan(self) -> dict[str, dict[str, str]]:
        """Find what can be found from the beginning on; whatever is behind the first break in the file is lost."""
        metadata: dict[str, dict[str, str]] = {}
        self.chunks, self._channels = [], {}
        at = 0
        self._file.seek(0)
        try:
            for record in self._records(emit_chunks=True, skip_magic=False):
                at = self._file.tell()
                if isinstance(record, Metadata):
                    metadata[record.name] = record.metadata
                elif isinstance(record, Chunk):
                    self._found(record, at)
        except DAMAGE:
            self.damage.append(f"{self.path}: cut off or damaged behind byte {at} of {self.size}")
        return metadata

    def _found(self, chunk: Chunk, end: int) -> None:
        length = _CHUNK_HEAD_BYTES + len(chunk.compression) + len(chunk.data)
        try:
            records = breakup_chunk(chunk, validate_crc=True)
        except DAMAGE as error:
            self.damage.append(f"{self.path}: the chunk at byte {end - length} is damaged: {error!r}")
            return
        self._channels |= {one.id: one.topic for one in records if isinstance(one, Channel)}
        # What the chunk's head says of its times is covered by no CRC.
        times = [one.log_time for one in records if isinstance(one, Message)]
        if times:
            self.chunks.append(ChunkPlace(min(times), max(times), end - length, length))
