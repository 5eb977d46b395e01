"""The console that commands print tables and bars on: as wide as a terminal, or without any width for pipes and files.

In: nothing. Out: a console that shows words as they are, without markup, made visible. It must not know what is
printed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import Task, TextColumn
from rich.segment import Segment
from rich.text import Text

from stream_app.terminal.sanitise import visible, visible_lines

#: Columns of a console that nobody looks at: no line is broken or cut off for a program that reads it.
_UNBROKEN = 10_000


class _SafeConsole(Console):
    """Makes visible whatever is printed, and leaves it to the command line to say what a reader that went away means.

    A string is one line, also in a cell of a table. A `Text` may have lines of its own.
    """

    def on_broken_pipe(self) -> NoReturn:
        """Raise what happened; rich itself would end the process with status 1."""
        raise BrokenPipeError

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - rich's own, handed on
        """Make a string visible before it is measured and laid out."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Make visible what did not come as a string; rich's own control sequences are marked as such, and pass."""
        shown = _shown(renderable) if isinstance(renderable, Text) else renderable
        for segment in super().render(shown, options):
            yield segment if segment.control else Segment(visible_lines(segment.text), segment.style)


class _Words(TextColumn):
    """Shows words as they are; rich's own would read markup in them, and break lines."""

    def render(self, task: Task) -> Text:
        """Return the words of a task."""
        return Text(visible(self.text_format.format(task=task)), style=self.style, justify=self.justify)


def console(*, highlight: bool = True, soft_wrap: bool = False, err: bool = False) -> Console:
    """Return a console: as wide as the terminal or $COLUMNS, unbroken lines for pipes and files.

    Square brackets and `:names:` are words like others: there is no markup.

    Args:
        highlight: colour numbers and the like in a terminal.
        soft_wrap: leave the breaking of lines to the terminal.
        err: on standard error instead of standard output.
    """
    stream = sys.stderr if err else sys.stdout
    is_unbroken = not stream.isatty() and "COLUMNS" not in os.environ
    return _SafeConsole(
        highlight=highlight,
        soft_wrap=soft_wrap,
        width=_UNBROKEN if is_unbroken else None,
        stderr=err,
        markup=False,
        emoji=False,
    )


def words_column(template: str) -> TextColumn:
    """Return a column of a progress bar that shows words as they are.

    Args:
        template: a format with `task`.
    """
    return _Words(template)


def _shown(text: Text) -> Text:
    plain = visible_lines(text.plain)
    if plain == text.plain:
        return text
    return Text(plain, text.style, justify=text.justify, overflow=text.overflow, no_wrap=text.no_wrap, end=text.end)
