"""Progress bars of long work, on standard error.

In: how much is done of how much. Out: a line that moves, where somebody watches. It must not know what is being done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from stream_app.terminal.console import console, words_column


@contextmanager
def bar(words: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs; silent where nobody watches.

    Args:
        words: what is being done.

    Yields:
        To be told how much is done, and of how much.
    """
    columns = (words_column("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = console(err=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task(words, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def moving_line() -> Iterator[Callable[[str], None]]:
    """Show one line that changes while the block runs; silent where nobody watches.

    Yields:
        To be told the words.
    """
    screen = console(err=True)
    column = words_column("{task.description}")
    with Progress(column, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda words: progress.update(task, description=words)
