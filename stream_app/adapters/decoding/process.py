"""One decode child seen from the pool: started, asked, killed. Knows nothing of queues, retries or blame.

The child is a fresh interpreter (never a fork of a process with threads) at the other end of a socket pair.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_app.adapters.decoding import protocol as wire
from stream_app.adapters.decoding.images import DecodeFailure, FailureReason
from stream_app.bundle.manifest import ImageSpec

_REASONS: dict[int, FailureReason] = {wire.UNDECODABLE: "undecodable", wire.TOO_LARGE: "too-large"}
#: Imports on a machine under load take seconds; a child that needs longer than this is broken.
_START_TIMEOUT_S = 60.0
#: A killed process is gone within milliseconds, unless a disk or driver holds it; then nothing can be done.
_REAP_LIMIT_S = 1.5
#: A failure's words; a child that a picture has taken over must not fill the parent's memory.
_MAX_WORDS_BYTES = 64 * 1024
#: Settings come by the environment too, Kafka's password among them: no business of a process that reads pictures.
_SETTINGS_PREFIX = "VIGIL_"
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_LOG_LEVEL": "OFF",
    # Keeps freed frames in the process: a full decode of 1080p went from 10.4 to 6.3 ms.
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "134217728",
}


class ChildLostError(Exception):
    """The child died, its socket closed before it answered, or its answer is none."""


class DecodeProcess:
    """A running child. Create it with ``start``; after any error it must be killed."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        spec: ImageSpec,
    ) -> None:
        self._process = process
        self._size = (spec.height, spec.width, spec.height * spec.width * 3)
        self._reader = reader
        self._writer = writer

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @classmethod
    async def start(cls, settings: wire.ChildSettings) -> DecodeProcess:
        """Start a child and wait until it is ready.

        Call it in a thread that lives as long as the process: the kernel ties the child to the thread that started it.

        Raises:
            ChildLostError: if it ends, or is not ready within a minute.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            ours.settimeout(0)  # asyncio wants it non-blocking
            # Before there is a child: a start that is cancelled here would leave it behind.
            reader, writer = await asyncio.open_connection(sock=ours)
            try:
                process = _spawn(theirs)
            except BaseException:
                writer.close()
                raise
        child = cls(process, reader, writer, spec=settings.spec)
        try:
            message = msgspec.json.encode(settings)
            writer.write(wire.SIZE.pack(len(message)) + message)
            async with asyncio.timeout(_START_TIMEOUT_S):
                await child._receive()
        except (ChildLostError, TimeoutError) as error:
            await child.kill()
            message_ = f"a decode child did not start (exit status {process.returncode})"
            raise ChildLostError(message_) from error
        except BaseException:
            await child.kill()
            raise
        return child

    def send(self, images: list[bytes]) -> None:
        """Ask for images; the answers come in the same order. Ask again only when all have come."""
        for part in wire.encode_request(images):
            self._writer.write(part)

    async def receive(self, time_limit_s: float) -> NDArray[np.uint8] | DecodeFailure:
        """Return the next answer.

        Raises:
            TimeoutError: if the child worked on it for longer than ``time_limit_s``.
            ChildLostError: if the child is gone, or answers with anything but pixels of the model's size or words.
        """
        answer = asyncio.ensure_future(self._receive())
        try:
            while True:
                before = time.monotonic()
                done, _ = await asyncio.wait([answer], timeout=time_limit_s)
                if done:
                    return answer.result()
                # A limit noticed far too late: the machine or the whole process group was suspended, and so may the
                # child have. It gets its time once more, or a suspended laptop would blame an innocent image.
                if time.monotonic() - before < 2 * time_limit_s + 1:
                    raise TimeoutError
        finally:
            answer.cancel()

    async def kill(self) -> None:
        """End the child at once and reap it. May be called again."""
        self._process.kill()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        deadline = time.monotonic() + _REAP_LIMIT_S
        while self._process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.002)

    async def _receive(self) -> NDArray[np.uint8] | DecodeFailure:
        try:
            status, height, width, size = wire.REPLY.unpack(await self._reader.readexactly(wire.REPLY.size))
            is_sound = (height, width, size) == self._size if status == wire.PIXELS else size <= _MAX_WORDS_BYTES
            if not is_sound:
                raise ChildLostError
            payload = await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ChildLostError from error
        if status == wire.PIXELS:
            return np.frombuffer(payload, dtype=np.uint8).reshape(height, width, 3)
        return DecodeFailure(_REASONS.get(status, "undecodable"), payload.decode(errors="replace"))


def _spawn(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """Start the program. Takes a few milliseconds: the call returns when the new program runs."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "stream_app.adapters.decoding.child", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    """Return the child's environment: the parent's without Vigil's settings, with what the decoders need."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS_PREFIX)}
    return {**inherited, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
