"""What nobody caught, on a terminal: tracebacks, warnings of libraries and wrong usage, made visible.

In: an error. Out: lines on standard error, or the same error with a message that can be shown. It must not know
commands.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import typer

from stream_app.terminal.lines import echo_at_the_end
from stream_app.terminal.sanitise import visible, visible_lines


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible_lines(super().format(record))


@contextmanager
def shown_usage() -> Iterator[None]:
    """Make the message of wrong usage visible: typer writes it itself, with what was typed in it."""
    try:
        yield
    except typer.TyperException as error:
        message = visible(error.format_message())
        error.format_message = lambda: message  # type: ignore[method-assign] # of this one; its class stays
        raise


def guard_process() -> None:
    """Have uncaught errors, and log lines that nobody set up a place for, shown without what steers a terminal.

    Call it after typer ran: it puts its own hook in place.
    """
    sys.excepthook = _show_uncaught
    threading.excepthook = lambda found: _show_uncaught(
        found.exc_type, found.exc_value or found.exc_type(), found.exc_traceback
    )
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Formatter())


def _show_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    for part in traceback.format_exception(kind, error, trace):
        for line in part.rstrip("\n").split("\n"):
            echo_at_the_end(line)
