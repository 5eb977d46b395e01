"""How a command ends: exit statuses, the error that carries one, and the loop that Ctrl-C ends within five seconds.

In: a coroutine. Out: its result, or an exit status with one clear last line. It must not know what commands do.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import threading
import time
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

from stream_app.terminal.lines import echo, echo_at_the_end
from stream_app.terminal.streams import give_up_output

FAILED = 1
USAGE = 2
BROKER_UNREACHABLE = 3
REFUSED = 4
INCOMPLETE = 5
INTERRUPTED = 130

#: A second signal so soon after the first is the same wish: some supervisors signal a process and its group. Seconds.
_SAME_WISH_S = 0.5
#: A command that has not ended this long after Ctrl-C is ended. Seconds; the promise is 5.
_GRACE_S = 4.0

_ResultT = TypeVar("_ResultT")


class CommandError(Exception):
    """A command could not do what it was asked; the message is for the person, ``status`` is the exit status."""

    def __init__(self, message: str, *, status: int = FAILED) -> None:
        """Keep both.

        Args:
            message: one or a few lines, saying what was expected and found and what to do.
            status: one of the exit statuses of this module.
        """
        super().__init__(message)
        self.status = status


def run_command(work: Coroutine[Any, Any, _ResultT]) -> _ResultT:
    """Run a command's coroutine to its end. SIGINT and SIGTERM cancel it, so that it can close what it opened.

    A SIGINT that was ignored when the process began, as in the background of a shell, stays ignored.

    A broker that cannot be reached (``ConnectionError``) becomes exit status 3.

    Args:
        work: what to run; where cancelling is its ordinary end, it catches ``asyncio.CancelledError`` itself.

    Returns:
        What it returns.

    Raises:
        CommandError: if no broker can be reached.
        SystemExit: with 0, if the reader of our output has gone.
        KeyboardInterrupt: if it was cancelled before it was done.
    """
    try:
        return asyncio.run(_interruptible(work))
    except BrokenPipeError:
        # Whoever read our output has gone, as `| head` does: an end like any other.
        give_up_output()
        raise SystemExit(0) from None
    except ConnectionError as error:
        raise CommandError(str(error), status=BROKER_UNREACHABLE) from error


def notice(words: str) -> None:
    """Tell the person something on the way, on standard error."""
    echo(f"vigil: {words}", err=True)


async def _interruptible(work: Coroutine[Any, Any, _ResultT]) -> _ResultT:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    interrupted_at: float | None = None

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted_at
        if interrupted_at is not None:
            if time.monotonic() - interrupted_at >= _SAME_WISH_S:
                # The next signal may interrupt this very call: the last line is said once.
                interrupted_at = math.inf
                _end_now()
            return
        interrupted_at = time.monotonic()
        # The loop may be stuck in a call that does not return; a thread is not.
        timer = threading.Timer(_GRACE_S, _end_now)
        timer.daemon = True
        timer.start()
        loop.call_soon_threadsafe(task.cancel)

    # A script ignores Ctrl-C for what it puts in the background; that is stopped by SIGTERM.
    is_in_background = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    numbers = (signal.SIGTERM,) if is_in_background else (signal.SIGINT, signal.SIGTERM)
    # Not the loop's own signal handlers: those wait for the loop too.
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        return await task
    except asyncio.CancelledError:
        if interrupted_at is not None:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_now() -> None:
    echo_at_the_end("vigil: interrupted; ended without waiting for what was still open")
    os._exit(INTERRUPTED)
