"""Writes a recording: an indexed MCAP file that anybody may stop writing at any time.

In: records in about the order of their append times. Out: a private file. What was written up to the last whole chunk
can be read however the writing ends: a process that is killed, a disk that is full. It must not know Kafka.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Final, cast

from mcap.writer import CompressionType, Writer

from stream_app.adapters.recording import viewers
from stream_app.adapters.recording.layout import (
    ABOUT,
    CHANNELS,
    ENCODING,
    END,
    MANIFEST,
    PROFILE,
    Ending,
    Opening,
    as_metadata,
    store,
)
from stream_app.adapters.recording.viewers import Camera, camera_of

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.replay.recording import Kind, TopicRecord

#: Uncompressed; what a `kill -9` may cost, and what a reader holds in memory at once.
CHUNK_BYTES: Final = 4 * 1024 * 1024
#: Cameras with a channel of their own; pictures of others stand in their records. A channel's number has 16 bits.
MAX_CAMERAS: Final = 2_000
_PRIVATE: Final = 0o600
_NS: Final = 1_000_000
_LAST_NS: Final = 2**64 - 1


class RecordingWriter:
    """One file, open for writing. Nothing is ever appended to a file that is there."""

    def __init__(
        self, path: Path, opening: Opening, *, manifest: bytes | None = None, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        """Create the file.

        Args:
            path: where; there must be nothing.
            opening: what it says of itself.
            manifest: of the bundle, its very bytes.
            chunk_bytes: a chunk is written once it has more, uncompressed.

        Raises:
            FileExistsError: if something is there.
            OSError: if it cannot be written.
        """
        self.path = path
        self._disk = _Disk(path)
        self._writer = Writer(cast("IO[bytes]", self._disk), chunk_bytes, CompressionType.ZSTD)
        self._channels: dict[str, int] = {}
        self._cameras: dict[tuple[str, str], int] = {}
        self._newest_ns: dict[tuple[str, int], int] = {}
        self._pictures = 0
        self.records = 0
        try:
            self._writer.start(profile=PROFILE)
            self._writer.add_metadata(ABOUT, as_metadata(opening))
            if manifest is not None:
                self._writer.add_metadata(MANIFEST, {"json": manifest.decode()})
        except BaseException:
            self.abandon()
            raise
        for name in CHANNELS:
            self._channels[name] = self._writer.register_channel(name, ENCODING, 0)
        self._image_schema = self._schema("foxglove.CompressedImage", viewers.schema_of(viewers.IMAGE))
        log_schema = self._schema("foxglove.Log", viewers.schema_of(viewers.LOG))
        for name in viewers.LINES.values():
            self._channels[name] = self._writer.register_channel(name, viewers.ENCODING, log_schema)

    @property
    def size(self) -> int:
        """Bytes on the disk; a chunk that is not full is not among them."""
        return self._disk.tell()

    def add(self, kind: Kind, record: TopicRecord) -> None:
        """Add a record; those of a topic and partition in order of their offsets.

        Raises:
            OSError: if the disk takes no more; what is in the file stays readable.
        """
        time_ns = self._time(kind, record)
        sequence = None
        # What no client can read is no picture to be shown, though a part of it may look like one.
        if kind == "frames" and record.lost is None and (camera := self._camera(record)) is not None:
            channel, whose = camera
            sequence = self._pictures = (self._pictures + 1) % 2**32
            # Directly before its record and at its time: a reader has to keep few pictures in hand.
            self._writer.add_message(channel, time_ns, viewers.picture(record, whose), time_ns, sequence)
        self._message(f"/vigil/{kind}", time_ns, store(record, sequence))
        is_shown = kind in viewers.LINES and record.lost is None
        if is_shown and (line := viewers.line(kind, record)) is not None:
            self._message(viewers.LINES[kind], time_ns, line)
        self.records += 1

    def flush(self) -> None:
        """Write the chunk that is not full yet, so that it is safe from a `kill -9`."""
        self._writer.flush()

    def finish(self, ending: Ending) -> None:
        """Write index and ending, wait for the disk, close.

        Raises:
            OSError: if the disk takes no more; the file is closed all the same and readable.
        """
        try:
            self._writer.flush()
            self._writer.add_metadata(END, as_metadata(ending))
            self._writer.finish()
            self._disk.sync()
        finally:
            self._disk.close()

    def abandon(self) -> None:
        """Close as it is: readable up to its last whole chunk, and without an end."""
        self._disk.close()

    def _schema(self, name: str, data: bytes) -> int:
        return int(self._writer.register_schema(name, viewers.ENCODING, data))

    def _message(self, channel: str, time_ns: int, data: bytes) -> None:
        self._writer.add_message(self._channels[channel], time_ns, data, time_ns)

    def _time(self, kind: Kind, record: TopicRecord) -> int:
        """Return a time to index by. MCAP has none before 1970; and readers must find a partition's offsets in order.

        The record's own time, whatever it is, stands in the record.
        """
        place = (kind, record.partition)
        # A producer's time may be any; an index has none behind 2554.
        own_ns = min(record.append_ms * _NS, _LAST_NS)
        time_ns = self._newest_ns[place] = max(own_ns, self._newest_ns.get(place, 0))
        return time_ns

    def _camera(self, frame: TopicRecord) -> tuple[int, Camera] | None:
        camera = camera_of(frame)
        if camera is None:
            return None
        known = self._cameras.get(camera[:2])
        if known is None:
            if len(self._cameras) >= MAX_CAMERAS:
                return None
            known = self._writer.register_channel(camera.channel, viewers.ENCODING, self._image_schema)
            self._cameras[camera[:2]] = known
        return known, camera


class _Disk:
    """A new private file without a buffer; a write that fails leaves no half of a chunk behind."""

    def __init__(self, path: Path) -> None:
        self._handle: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
        self._path = path
        self._at = 0

    def write(self, data: bytes) -> int:
        if self._handle is None:
            raise OSError(f"{self._path}: closed")
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._handle, left) :]
        except OSError as error:
            os.ftruncate(self._handle, self._at)
            error.filename = str(self._path)
            raise
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing waits here."""

    def sync(self) -> None:
        if self._handle is not None:
            os.fsync(self._handle)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
