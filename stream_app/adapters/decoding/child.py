"""A decode child: image files in over a socket, pixels out. It may die at any time; that is what it is for.

Started as ``python -m stream_app.adapters.decoding.child FD``. It imports neither Kafka clients nor ONNX Runtime,
bounds its own memory after its imports, and ends when its parent does.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_app.adapters.decoding import protocol as wire
from stream_app.bundle.image import ImageError
from stream_app.bundle.manifest import ImageSpec

_PR_SET_PDEATHSIG = 1
_MAX_CHARS = 2_000
_NO_MEMORY = -4  # cv2's Error::StsNoMem

_Decode = Callable[[bytes, ImageSpec], NDArray[np.uint8]]


class _ParentGoneError(Exception):
    """The socket was closed at the other end."""


def main() -> None:
    """Serve requests on the socket whose descriptor is the only argument, until the other end closes it."""
    # A terminal and a supervisor signal all processes of a worker. To stop is the parent's business: it closes the
    # socket when it has finished, and a child that ended before would cost it the images of its last commit.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    connection = socket.socket(fileno=int(sys.argv[1]))
    try:
        settings = msgspec.json.decode(_receive_sized(connection), type=wire.ChildSettings)
        _die_with(settings.parent_pid)
        cv2.setNumThreads(1)
        decode = _resolve(settings.decode)
        _bound_memory(settings.memory_bytes)
        # Decoding libraries write remarks about broken images here, one for each; the parent counts them instead.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        _reply(connection, wire.READY, b"")
        while True:
            for data in _receive_request(connection):
                _serve(connection, decode, data=data, spec=settings.spec)
    except (_ParentGoneError, BrokenPipeError, ConnectionResetError):
        return


def _serve(connection: socket.socket, decode: _Decode, *, data: bytes, spec: ImageSpec) -> None:
    try:
        pixels = decode(data, spec)
    except ImageError as error:
        _reply(connection, wire.UNDECODABLE, _words(error))
    except MemoryError:
        _reply(connection, wire.TOO_LARGE, b"more memory than a decode child may take")
    except cv2.error as error:
        status = wire.TOO_LARGE if error.code == _NO_MEMORY else wire.UNDECODABLE
        _reply(connection, status, _words(error))
    else:
        height, width, _ = pixels.shape
        _reply(connection, wire.PIXELS, pixels.tobytes(), height=height, width=width)


def _words(error: Exception) -> bytes:
    """Return what a library said, cut to what a log can bear."""
    return str(error)[:_MAX_CHARS].encode("utf-8", "replace")


def _reply(connection: socket.socket, status: int, payload: bytes, *, height: int = 0, width: int = 0) -> None:
    connection.sendall(wire.REPLY.pack(status, height, width, len(payload)) + payload)


def _receive_request(connection: socket.socket) -> list[bytes]:
    count = wire.SIZE.unpack(_receive(connection, wire.SIZE.size))[0]
    sizes = [size for (size,) in wire.SIZE.iter_unpack(_receive(connection, count * wire.SIZE.size))]
    return [_receive(connection, size) for size in sizes]


def _receive_sized(connection: socket.socket) -> bytes:
    return _receive(connection, wire.SIZE.unpack(_receive(connection, wire.SIZE.size))[0])


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = connection.recv_into(view)
        if not got:
            raise _ParentGoneError
        view = view[got:]
    return bytes(data)


def _die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when the parent dies, even if a decoder hangs at that moment."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    # The parent may have died before the line above: then nobody will send the signal.
    if os.getppid() != parent_pid:
        raise _ParentGoneError


def _bound_memory(memory_bytes: int) -> None:
    """Bound address space and data to what the process has now, plus ``memory_bytes``."""
    pages = [int(field) for field in Path("/proc/self/statm").read_text().split()]
    page = resource.getpagesize()
    for kind, used in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
        resource.setrlimit(kind, (used * page + memory_bytes,) * 2)
    # A core file of a crashed decoder would hold camera pictures.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _resolve(name: str) -> _Decode:
    module, _, function = name.partition(":")
    found: _Decode = getattr(importlib.import_module(module), function)
    return found


if __name__ == "__main__":
    main()
