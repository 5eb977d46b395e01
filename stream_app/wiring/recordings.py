"""Opens recordings, Vigil's own and MCAP files of other tools with the texts beside them; light enough for commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stream_app.replay.recording import RecordingError

if TYPE_CHECKING:
    from stream_app.replay.recording import Recording

DEFAULT_ZONE = "zone-1"


class Beside(msgspec.Struct, frozen=True):
    """What an MCAP file of another tool does not say: the zone of its pictures, and a file of texts."""

    zone: str = DEFAULT_ZONE
    texts: Path | None = None


def open_recording(path: Path, beside: Beside) -> Recording:
    """Open a recording, or a folder of files that follow one another; what can be read of a damaged one is read.

    Args:
        path: a file or a folder.
        beside: holds for a file of another tool.

    Raises:
        RecordingError: if it is none, or cannot be opened, or its texts cannot be read.
    """
    # Here and not at the top: other recordings, such as those of tests, need no library of files.
    from stream_app.adapters.recording.foreign import is_foreign  # noqa: PLC0415
    from stream_app.adapters.recording.read import open_recording as open_files  # noqa: PLC0415

    try:
        if is_foreign(path):
            return _foreign(path, beside)
        if beside.texts is not None:
            raise RecordingError(f"{path}: expected an MCAP file of another tool for the texts of {beside.texts}, "
                                 "found a recording, which has its own")  # fmt: skip
        return open_files(path, is_past_damage=True)
    except OSError as error:
        raise RecordingError(f"{path} cannot be opened: {error.strerror or error}") from error


def _foreign(path: Path, beside: Beside) -> Recording:
    from stream_app.adapters.feed.camera import FeedError  # noqa: PLC0415 - as above
    from stream_app.adapters.feed.texts import body_of, read_texts  # noqa: PLC0415
    from stream_app.adapters.recording.foreign import ForeignFile, ForeignRecording, Words  # noqa: PLC0415

    # Bytes of the command line that are no UTF-8 come as lone surrogates.
    if not beside.zone or any("\ud800" <= character <= "\udfff" for character in beside.zone):
        raise RecordingError(f"expected a zone in UTF-8, found {beside.zone!r}")
    try:
        texts = () if beside.texts is None else read_texts(beside.texts)
    except FeedError as error:
        raise RecordingError(str(error)) from error
    words = [Words(body_of(text), text.zone, text.time_ms, text.offset_ms) for text in texts]
    file = ForeignFile(path)
    try:
        return ForeignRecording(
            file, words, zone=beside.zone, words_name="" if beside.texts is None else beside.texts.name
        )
    except BaseException:
        file.close()
        raise
