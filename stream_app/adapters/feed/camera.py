"""Where frames come from: a video file, a folder of images, an HTTP MJPEG address, RTSP, a webcam.

In: a source's name. Out: footage, whose shots are encoded images with their time since the beginning. It must not know
Kafka. JPEGs of folders and MJPEG streams are passed on as they are; what OpenCV decodes is encoded again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import cv2
import msgspec

from stream_app.adapters.feed.mjpeg import MjpegError, mjpeg_parts, without_secrets
from stream_app.adapters.feed.own_thread import OwnThread

_IMAGE_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_FOLDER_FPS = 1.0
#: OpenCV gives 0 or nonsense for files that do not say.
_DEFAULT_FPS = 25.0
_MAX_FPS = 1_000.0
_OPEN_TIMEOUT_MS = 10_000
#: How long an abandoned source may take to release its device. Seconds; Ctrl-C has to end a command within 5.
_RELEASE_S = 2.0


class FeedError(Exception):
    """A source cannot be read; the message names it, what was expected and what was found."""


class Camera(msgspec.Struct, frozen=True, kw_only=True):
    """A camera to be played: its name, its zone, and where its frames come from."""

    name: str
    zone: str
    source: str


class Shot(msgspec.Struct, frozen=True, gc=False):
    """One encoded image. ``offset_ms`` is its time since the beginning of the footage; None for live sources."""

    data: bytes
    content_type: str
    offset_ms: int | None


class Footage(Protocol):
    """Frames of one source, to be read from the beginning once per call of :meth:`shots`."""

    @property
    def is_live(self) -> bool:
        """Whether frames come when they come, so that neither speed nor start time mean anything."""
        ...

    @property
    def count(self) -> int | None:
        """How many frames there will be, None where unknown."""
        ...

    @property
    def length_ms(self) -> int | None:
        """From the first frame of one round to the first of the next, None where unknown."""
        ...

    def shots(self) -> AsyncIterator[Shot]:
        """Yield the frames in order.

        Raises:
            FeedError: if the source breaks.
        """
        ...


def open_footage(source: str, *, fps: float | None = None, quality: int = 85) -> Footage:
    """Find out what a source is, and that it can be read.

    Args:
        source: a file, a folder, an address with ``http://``, ``https://`` or ``rtsp://``, or a webcam's number.
        fps: at most so many frames per second of footage; None for all (folders: one per second).
        quality: of JPEGs that are encoded here, 1 to 100.

    Returns:
        The footage.

    Raises:
        FeedError: if there is nothing of the kind.
    """
    if source.startswith(("http://", "https://")):
        return _Mjpeg(source, fps)
    if source.startswith(("rtsp://", "rtsps://")):
        return _Capture(source, fps, quality, is_live=True)
    if source.isdecimal() and not Path(source).exists():
        return _Capture(int(source), fps, quality, is_live=True)
    path = Path(source)
    if path.is_dir():
        return _Folder(path, fps or _FOLDER_FPS)
    if not path.is_file():
        message = f"expected a video, a folder of images, an address or a webcam's number, found nothing at {source}"
        raise FeedError(message)
    return _Capture(str(path), fps, quality, is_live=False)


class _Folder:
    """Images of a folder in the order of their names, unchanged."""

    is_live = False

    def __init__(self, folder: Path, fps: float) -> None:
        self._files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _IMAGE_TYPES)
        if not self._files:
            message = f"expected images ({', '.join(_IMAGE_TYPES)}) in {folder}, found none"
            raise FeedError(message)
        self._fps = fps
        self.count: int | None = len(self._files)
        self.length_ms: int | None = round(len(self._files) * 1_000 / fps)

    async def shots(self) -> AsyncIterator[Shot]:
        for number, file in enumerate(self._files):
            try:
                data = await asyncio.to_thread(file.read_bytes)
            except OSError as error:
                message = f"{file} cannot be read: {error.strerror}"
                raise FeedError(message) from error
            yield Shot(data, _IMAGE_TYPES[file.suffix.lower()], round(number * 1_000 / self._fps))


class _Capture:
    """What OpenCV can read: video files, RTSP, webcams."""

    def __init__(self, source: str | int, fps: float | None, quality: int, *, is_live: bool) -> None:
        self._source = source
        self._quality = quality
        self._limit = fps
        self.is_live = is_live
        self.count: int | None = None
        self.length_ms: int | None = None
        if not is_live:
            self._measure()

    def _measure(self) -> None:
        capture = self._open()
        try:
            found = capture.get(cv2.CAP_PROP_FPS)
            frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            is_readable = capture.grab()
        finally:
            capture.release()
        if not is_readable:
            message = f"expected a video, found no frame in {self._source}"
            raise FeedError(message)
        self._own_fps = found if 0 < found <= _MAX_FPS else _DEFAULT_FPS
        if frames > 0:
            self.length_ms = round(frames * 1_000 / self._own_fps)
            picked = (number for number in range(frames) if self._is_due(number))
            self.count = sum(1 for _ in picked)

    def _open(self) -> Any:  # noqa: ANN401 - OpenCV's stubs differ between versions
        # OpenCV's own warnings name its back ends, not what is wrong with the source.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        # FFmpeg's likewise: -8 is its AV_LOG_QUIET. OpenCV takes the level from the environment alone.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        timeout = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS]
        if isinstance(self._source, int):
            capture = cv2.VideoCapture(self._source)
        else:
            capture = cv2.VideoCapture(self._source, cv2.CAP_FFMPEG, timeout if self.is_live else [])
        if not capture.isOpened():
            capture.release()
            what = "a camera" if self.is_live else "a video"
            message = f"expected {what} that can be opened, found none at {without_secrets(str(self._source))}"
            raise FeedError(message)
        return capture

    def _is_due(self, number: int) -> bool:
        """Whether frame ``number`` of the file is the first at or after a tick of the wanted rate."""
        if self._limit is None or self._limit >= self._own_fps:
            return True
        ratio = self._limit / self._own_fps
        return number == 0 or int(number * ratio) > int((number - 1) * ratio)

    async def shots(self) -> AsyncIterator[Shot]:
        # A camera that sends nothing blocks for seconds; Ctrl-C must not wait for that.
        thread = OwnThread(f"capture {without_secrets(str(self._source))}")
        capture = None
        try:
            capture = await thread.call(self._open)
            number = 0
            last = -1.0
            loop = asyncio.get_running_loop()
            while await thread.call(capture.grab):
                if self.is_live:
                    now = loop.time()
                    is_due = self._limit is None or now - last >= 1 / self._limit
                    last = now if is_due else last
                else:
                    is_due = self._is_due(number)
                if is_due:
                    data = await thread.call(partial(self._encode, capture))
                    yield Shot(data, "image/jpeg", None if self.is_live else round(number * 1_000 / self._own_fps))
                number += 1
        finally:
            # In the thread, after what it still does: releasing under a running grab would crash.
            await thread.end(capture.release if capture is not None else int, patience_s=_RELEASE_S)

    def _encode(self, capture: Any) -> bytes:  # noqa: ANN401 - see above
        is_there, image = capture.retrieve()
        if is_there:
            is_there, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
            if is_there:
                return bytes(encoded.tobytes())
        message = f"a frame of {without_secrets(str(self._source))} cannot be decoded"
        raise FeedError(message)


class _Mjpeg:
    """JPEGs of an HTTP address with ``multipart/x-mixed-replace``, unchanged."""

    is_live = True
    count: int | None = None
    length_ms: int | None = None

    def __init__(self, address: str, fps: float | None) -> None:
        self._address = address
        self._limit = fps

    async def shots(self) -> AsyncIterator[Shot]:
        loop = asyncio.get_running_loop()
        last = float("-inf")
        try:
            async for data in mjpeg_parts(self._address):
                now = loop.time()
                if self._limit is None or now - last >= 1 / self._limit:
                    last = now
                    yield Shot(data, "image/jpeg", None)
        except MjpegError as error:
            raise FeedError(str(error)) from error
