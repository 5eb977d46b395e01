"""How a command of `vigil-export` ends: exit statuses, the error that carries one, and the bar of long work.

It must not know what commands do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from export.files import FULL
from stream_app.terminal.console import console, words_column
from stream_app.terminal.lines import echo

FAILED = 1
USAGE = 2
REFUSED = 4
INTERRUPTED = 130


class CommandError(Exception):
    """A command could not do what it was asked; the message is for the person, `status` is the exit status."""

    def __init__(self, message: str, *, status: int = FAILED) -> None:
        """Keep both.

        Args:
            message: What was expected, what was found, what to do.
            status: One of the exit statuses of this module.
        """
        super().__init__(message)
        self.status = status


@contextmanager
def failures() -> Iterator[None]:
    """Turn what may go wrong with data and files into a last line and status 1."""
    from export.data.rows import DataError  # noqa: PLC0415 - it brings numpy and OpenCV; --help should not wait for them

    try:
        yield
    except (DataError, FileExistsError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        is_full = error.errno in FULL
        name = (is_full and error.filename2) or error.filename  # of a copy, the second is what could not be written
        place = f"{name}: " if name else ""
        advice = "; free space there, or choose another place" if is_full else ""
        raise CommandError(f"{place}{error.strerror or error}{advice}") from error


def refuse_existing(out: Path) -> None:
    """Refuse, before long work, to write where something is."""
    if out.exists():
        raise CommandError(f"{out}: expected nothing there, found something: choose another name, or remove it")


@contextmanager
def bar(words: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error while the block runs; silent where nobody watches.

    Args:
        words: What is being done.

    Yields:
        To be told how much is done, and of how much.
    """
    columns = (words_column("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = console(err=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task(words, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def say(line: str) -> None:
    """Write a line for the person to standard error; results go to standard output."""
    echo(line, err=True)
