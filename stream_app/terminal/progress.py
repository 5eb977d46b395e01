"""Progress bars of long work, on standard error.

In: how much is done of how much. Out: a line that moves, where somebody watches. It must not know what is being done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from stream_app.terminal.console import console, words_column


class Bar:
    """One bar: told how much is done of how much. Silent where nobody watches."""

    def __init__(self, progress: Progress, words: str) -> None:
        self._progress = progress
        self._task = progress.add_task(words, total=None)

    def __call__(self, done: int, total: int) -> None:
        """Move on."""
        self._progress.update(self._task, completed=done, total=total)


@contextmanager
def bar(words: str) -> Iterator[Bar]:
    """Show a bar while the block runs.

    Args:
        words: what is being done.
    """
    columns = (words_column("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = console(err=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        yield Bar(progress, words)
