"""One MCAP file of a recording: chunks and channels as of any MCAP file, and what it says of itself."""

from __future__ import annotations

from typing import TypeVar

from stream_app.adapters.recording.chunks import ChunkedFile
from stream_app.adapters.recording.layout import ABOUT, END, MANIFEST, PROFILE, Ending, Opening, from_metadata
from stream_app.replay.recording import RecordingError

_Said = TypeVar("_Said", Opening, Ending)


class McapFile(ChunkedFile):
    """A file that is open for reading.

    ``opening`` and ``ending`` are what it says of itself; ``ending`` is None where the file is cut off.
    """

    opening: Opening
    ending: Ending | None = None
    manifest: bytes | None = None

    @property
    def end_ms(self) -> int | None:
        """Behind the newest record in the file, by the times of its index; None where there is none."""
        newest_ns = self.end_ns
        return None if newest_ns is None else newest_ns // 1_000_000 + 1

    def _require_profile(self, profile: str) -> None:
        if profile != PROFILE:
            raise RecordingError(
                f"{self.path}: expected an MCAP file of the profile {PROFILE}, found the profile {profile!r}"
            )

    def _understand(self, metadata: dict[str, dict[str, str]]) -> None:
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
