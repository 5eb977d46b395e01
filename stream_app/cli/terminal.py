"""The console that commands print tables on: as wide as a terminal, or without any width for pipes and files.

In: nothing. Out: a console on standard output. It must not know what is printed.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from rich.console import Console

#: Columns of a console that nobody looks at: no line is broken or cut off for a program that reads it.
_UNBROKEN = 10_000


class _PlainConsole(Console):
    """Leaves it to the command line to say what a reader that went away means."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise what happened; rich itself would end the process with status 1."""
        raise BrokenPipeError


def console(*, highlight: bool = True, soft_wrap: bool = False) -> Console:
    """Return a console on standard output: as wide as the terminal or $COLUMNS, unbroken lines for pipes and files.

    Args:
        highlight: colour numbers and the like in a terminal.
        soft_wrap: leave the breaking of lines to the terminal.
    """
    is_unbroken = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return _PlainConsole(highlight=highlight, soft_wrap=soft_wrap, width=_UNBROKEN if is_unbroken else None)
