"""Opens what `vigil feed` plays: videos, folders, cameras, and topics of MCAP files that other tools wrote."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from stream_app.adapters.feed import FeedError, Footage, Shot, open_footage
from stream_app.replay.recording import RecordingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from stream_app.adapters.recording.foreign import ForeignFile, Picture

#: Behind a file's name, the topic of its pictures follows.
TOPIC_MARK = ".mcap#"


def open_source(source: str, *, fps: float | None = None, quality: int = 85) -> Footage:
    """Find out what a source is, and that it can be read.

    Args:
        source: as :func:`~stream_app.adapters.feed.open_footage` takes it, or an MCAP file, with ``#TOPIC`` behind its
            name where it has pictures of more than one. A folder of such files stands for all of them in a row.
        fps: at most so many frames per second; None for all.
        quality: of JPEGs that are encoded here, 1 to 100; pictures of MCAP files are passed on as they are.

    Raises:
        FeedError: if there is nothing of the kind.
    """
    path, topic = _parts(source)
    if path is None or not path.exists():
        return open_footage(source, fps=fps, quality=quality)
    # Here and not at the top: feeding needs no library of recordings otherwise.
    from stream_app.adapters.recording.foreign import ForeignFile  # noqa: PLC0415

    try:
        with ForeignFile(path) as file:
            file.require_pictures()
            there = file.topics
            if topic is None and len(there) == 1:
                (topic,) = there
            if topic is not None and topic in there:
                return _Pictures(file, topic, fps)
    except RecordingError as error:
        raise FeedError(str(error)) from error
    except OSError as error:
        raise FeedError(f"{path} cannot be read: {error.strerror or error}") from error
    wanted = "the topic of its pictures" if topic is None else f"pictures of {topic}"
    raise FeedError(f"{path}: expected {wanted}, as in {path}#{there[0]}, found pictures of {', '.join(there)}")


def _parts(source: str) -> tuple[Path | None, str | None]:
    """Return the path of an MCAP file, or of a folder of them, and its topic; None where the source cannot be one."""
    name, mark, topic = source.partition(TOPIC_MARK)
    if mark:
        return Path(name + TOPIC_MARK.rstrip("#")), topic
    name, mark, topic = source.partition("#")
    if Path(name).is_dir() and any(Path(name).glob("*.mcap")):
        return Path(name), topic if mark else None
    return (Path(source), None) if source.endswith(".mcap") else (None, None)


class _Pictures:
    """The pictures of one topic, unchanged, each as long after the file's beginning as it was logged or taken."""

    is_live = False

    def __init__(self, file: ForeignFile, topic: str, fps: float | None) -> None:
        self._path = file.path
        self._topic = topic
        self._fps = fps
        count = file.count(topic)
        #: How many are picked is known when they are read.
        self.count: int | None = count if fps is None else None
        # As if one more came after the mean distance: a round must not begin at the very time at which one ended.
        self.length_ms: int | None = file.length_ms + max(file.length_ms // max(count - 1, 1), 1)

    async def shots(self) -> AsyncIterator[Shot]:
        # Here and not at the top: see above.
        from stream_app.adapters.recording.foreign import ForeignFile  # noqa: PLC0415

        offset_ms = 0
        ticks = -1
        try:
            with await asyncio.to_thread(ForeignFile, self._path) as file:
                pictures = file.pictures(self._topic)
                while (picture := await asyncio.to_thread(_next, pictures)) is not None:
                    # Their own times may run back by some ms; what is played never does.
                    offset_ms = max(picture.event_ms - file.start_ms, offset_ms)
                    tick = int(offset_ms * (self._fps or 0) / 1_000)
                    if self._fps is None or tick > ticks:
                        ticks = tick
                        yield Shot(picture.data, f"image/{picture.format}", offset_ms)
        except (RecordingError, OSError) as error:
            raise FeedError(str(error)) from error


def _next(pictures: Iterator[Picture]) -> Picture | None:
    return next(pictures, None)
