"""Decode functions that misbehave on cue, for children of a decode pool. The cue stands behind the image's own end."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_app.bundle.image import ImageError, decode_image
from stream_app.bundle.manifest import ImageSpec

HANG, DIE, BOMB, DIE_ONCE = b"<hang>", b"<die>", b"<bomb>", b"<die once>"


def decode_on_cue(data: bytes, spec: ImageSpec) -> NDArray[np.uint8]:
    """Decode, unless the bytes end with a cue. ``<die once>`` is preceded by a path that marks the first time."""
    if data.endswith(HANG):
        time.sleep(3600)
    if data.endswith(BOMB):
        np.ones(8 * 1024**3, dtype=np.uint8)
    if data.endswith(DIE):
        os.kill(os.getpid(), signal.SIGKILL)
    if data.endswith(DIE_ONCE):
        mark = Path(data[: -len(DIE_ONCE)].rsplit(b"\0", 1)[1].decode())
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return decode_image(data, spec)


def name_modules(data: bytes, spec: ImageSpec) -> NDArray[np.uint8]:
    """Refuse every image with the names of the packages of others that this process has imported."""
    del data, spec
    packages = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
    raise ImageError(" ".join(sorted(packages | ({"asyncio"} & set(sys.modules)))))


def name_environment(data: bytes, spec: ImageSpec) -> NDArray[np.uint8]:
    """Refuse every image with the names of the settings in this process's environment."""
    del data, spec
    raise ImageError(" ".join(name for name in os.environ if name.startswith("VIGIL_")) or "none")


def answer_at_length(data: bytes, spec: ImageSpec) -> NDArray[np.uint8]:
    """Refuse every image with a million words."""
    del data, spec
    raise ImageError("word " * 1_000_000)


def shrink(data: bytes, spec: ImageSpec) -> NDArray[np.uint8]:
    """Give one pixel, whatever the size of the model."""
    del data, spec
    return np.zeros((1, 1, 3), dtype=np.uint8)
