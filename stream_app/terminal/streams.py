"""Standard streams as commands find them: a pipe whose reader has gone, a full disk, or closed.

In: nothing. Out: streams that can be written to. It must not know what is written.
"""

from __future__ import annotations

import errno
import os
import sys

#: What an operating system says when the output's place takes no more, or is no place to write to.
OUTPUT_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF})


def open_missing_streams() -> None:
    """Put the null device where standard streams are closed (`>&-`): else the first socket would take their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one: those below it are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - its only parameter
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - likewise
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - likewise


def give_up_output() -> None:
    """Send what is still to be written nowhere: the interpreter would complain once more when it closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
