"""The files of one recording while it is made: named, rolled by size and time, ended, signed.

In: records by append time. Out: one file, or files in a folder that are read as one. It must not know where records
come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from stream_app.adapters.recording.choose import is_left_out
from stream_app.adapters.recording.layout import SUFFIX, Begins, Ending, Opening
from stream_app.adapters.recording.signing import sign_file
from stream_app.adapters.recording.write import RecordingWriter
from stream_app.core.event_time import format_event_time

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from stream_app.replay.recording import Kind, TopicRecord

_NO_MS: Final = -(1 << 60)


class Rolling(msgspec.Struct, frozen=True):
    """When a file is full: from so many bytes or so much append time on the next one begins."""

    max_bytes: int
    max_ms: int


class Sink:
    """Where a recording is written to."""

    def __init__(
        self,
        out: Path,
        opening: Opening,
        *,
        manifest: bytes | None,
        rolling: Rolling | None = None,
        key: Ed25519PrivateKey | None = None,
    ) -> None:
        """Open the first file.

        Args:
            out: a file whose name ends in ``.mcap``, or a folder.
            opening: what it says of itself.
            rolling: None: it is one file, however long.
            manifest: of the bundle; None: the recording holds none.
            key: to sign with.

        Raises:
            FileExistsError: if something is there.
            OSError: if it cannot be written.
        """
        self._out = out
        self._opening = opening
        self._rolling = rolling
        self._manifest = manifest
        self._key = key
        self._newest_ms = self._first_ms = _NO_MS
        self._next: Begins = {(kind, partition): offset for kind, partition, offset in opening.begins}
        self._left_out = 0
        #: What is to be said at the end of the file in hand: records that no client can read.
        self.unreadable: list[str] = []
        self.said_unreadable: list[str] = []
        self.files: list[Path] = []
        self.records = 0
        self._bytes = 0
        self._writer = self._open()

    @property
    def size(self) -> int:
        """Bytes on the disk, of all files."""
        return self._bytes + self._writer.size

    @property
    def newest_ms(self) -> int | None:
        """The newest append time; None before there is one."""
        return None if self._newest_ms == _NO_MS else self._newest_ms

    def add(self, kind: Kind, record: TopicRecord) -> None:
        """Add a record.

        Raises:
            OSError: if the disk takes no more; what is in the files stays readable.
        """
        append_ms = record.append_ms
        if append_ms > self._newest_ms:
            if self._is_full(append_ms):
                self._roll(append_ms)
            self._newest_ms = append_ms
        if not self._writer.records:
            self._first_ms = append_ms
        self._writer.add(kind, record)
        self._next[kind, record.partition] = record.offset + 1
        self._left_out += is_left_out(record)
        self.records += 1

    def flush(self) -> None:
        """Make what was added safe from a `kill -9`."""
        self._writer.flush()

    def finish(self, *, is_whole: bool = True) -> None:
        """End the file in hand.

        Args:
            is_whole: whether all that was asked for came; else it says that it ends with its newest record.

        Raises:
            OSError: if the disk takes no more; what is in the file stays readable.
        """
        about = self._opening.about
        if is_whole and not self._opening.is_open_ended:
            self._end(about.to_ms)
        else:
            self._end(max(about.from_ms, self._newest_ms + 1))

    def abandon(self) -> None:
        """Leave the file in hand as it is: readable, without an end."""
        self._writer.abandon()

    def _open(self) -> RecordingWriter:
        about = self._opening.about
        path = self._out
        if path.suffix == SUFFIX:
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            path.mkdir(parents=True, exist_ok=True)
            time = format_event_time(about.from_ms).replace("-", "").replace(":", "")
            path = path / f"{about.deployment}-{time}{SUFFIX}"
        writer = RecordingWriter(path, self._opening, manifest=self._manifest)
        self.files.append(path)
        return writer

    def _is_full(self, now_ms: int) -> bool:
        rolling = self._rolling
        if rolling is None or self._newest_ms == _NO_MS:
            return False
        return self._writer.size >= rolling.max_bytes or now_ms - self._first_ms >= rolling.max_ms

    def _roll(self, from_ms: int) -> None:
        self._end(from_ms)
        self._bytes += self._writer.size
        self._opening = msgspec.structs.replace(
            self._opening,
            about=msgspec.structs.replace(self._opening.about, from_ms=from_ms),
            number=self._opening.number + 1,
            begins=tuple((*place, offset) for place, offset in self._next.items()),
            in_force=(),
        )
        self._writer = self._open()

    def _end(self, to_ms: int) -> None:
        self._writer.finish(Ending(to_ms=to_ms, unreadable=tuple(self.unreadable), values_left_out=self._left_out))
        self.said_unreadable += self.unreadable
        self.unreadable.clear()
        self._left_out = 0
        if self._key is not None:
            sign_file(self._writer.path, self._key)
