"""MJPEG over HTTP: cuts the parts of a ``multipart/x-mixed-replace`` answer into JPEGs.

In: an address. Out: JPEG bytes, as they were sent. The splitter is fed bytes and returns images; it knows no network.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import aiohttp

#: A part that is larger is no picture that Vigil would take; what was gathered so far is given up.
_MAX_PART_BYTES = 16 * 1024 * 1024
_CONNECT_S = 10.0
#: A camera that sends nothing for so long is gone.
_SILENCE_S = 15.0
_CHUNK_BYTES = 64 * 1024


_SECRETS = re.compile(r"(?<=://)[^/@]*(?=@)")


class MjpegError(Exception):
    """The address gives no MJPEG stream, or no longer; the message names it."""


class MjpegSplitter:
    """Cuts a multipart body into its parts, by ``Content-Length`` where a part has one, else by the boundary."""

    def __init__(self, boundary: bytes) -> None:
        """Make it.

        Args:
            boundary: as the content type names it; some cameras put the two dashes into it.
        """
        self._mark = b"--" + boundary.removeprefix(b"--")
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes as they come and return the parts that are complete.

        Raises:
            MjpegError: if a part is larger than 16 MiB.
        """
        self._buffer += data
        parts = []
        while (part := self._next()) is not None:
            if part:
                parts.append(part)
        if len(self._buffer) > _MAX_PART_BYTES:
            message = f"expected parts of at most {_MAX_PART_BYTES} bytes, found {len(self._buffer)} without an end"
            raise MjpegError(message)
        return parts

    def _next(self) -> bytes | None:
        start = self._buffer.find(self._mark)
        if start < 0:
            return None
        head_end = self._buffer.find(b"\r\n\r\n", start)
        if head_end < 0:
            return None
        body = head_end + 4
        length = _content_length(bytes(self._buffer[start:head_end]))
        if length is not None:
            end = body + length
            if len(self._buffer) < end:
                return None
            part = bytes(self._buffer[body:end])
        else:
            end = self._buffer.find(self._mark, body)
            if end < 0:
                return None
            part = bytes(self._buffer[body:end]).removesuffix(b"\r\n")
        del self._buffer[:end]
        return part


def without_secrets(address: str) -> str:
    """Return an address as it may be shown: the user and password before the host become ``***``."""
    return _SECRETS.sub("***", address)


async def mjpeg_parts(address: str) -> AsyncIterator[bytes]:
    """Yield the pictures of an address until it ends.

    Args:
        address: ``http://`` or ``https://``.

    Raises:
        MjpegError: if it cannot be reached, is no MJPEG stream, breaks off, or is silent for 15 s.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(address) as answer:
            splitter = MjpegSplitter(_boundary(address, answer))
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                for part in splitter.feed(chunk):
                    yield part
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        message = f"{without_secrets(address)} cannot be read: {str(error) or type(error).__name__}"
        raise MjpegError(message) from error


def _boundary(address: str, answer: aiohttp.ClientResponse) -> bytes:
    address = without_secrets(address)
    if answer.status != 200:
        message = f"{address}: expected status 200, found {answer.status}"
        raise MjpegError(message)
    content_type = answer.headers.get("Content-Type", "")
    kind, _, rest = content_type.partition(";")
    name, _, boundary = rest.strip().partition("=")
    if not kind.strip().lower().startswith("multipart/") or name.lower() != "boundary" or not boundary:
        message = f"{address}: expected multipart/x-mixed-replace with a boundary, found {content_type or 'no type'!r}"
        raise MjpegError(message)
    return boundary.strip().strip('"').encode("latin-1")


def _content_length(head: bytes) -> int | None:
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return None
