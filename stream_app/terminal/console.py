"""The console that commands print tables and bars on: as wide as a terminal, or without any width for pipes and files.

In: nothing. Out: a console that shows words as they are, without markup, made visible. It must not know what is
printed.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from typing import Any, NoReturn, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.control import Control
from rich.progress import Task, TextColumn
from rich.segment import Segment
from rich.text import Text

from stream_app.terminal.sanitise import visible, visible_lines

#: Columns of a console that nobody looks at: no line is broken or cut off for a program that reads it.
_UNBROKEN = 10_000
#: Columns of a picture: the demo's table fits, and a page shows it without making it small.
_PICTURE_COLUMNS = 108
#: What rich fills in for a picture. Its own template makes whoever opens the file fetch a font from a vendor's host.
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px "DejaVu Sans Mono", Menlo, Consolas, monospace; }}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


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
    return _SafeConsole(
        highlight=highlight,
        soft_wrap=soft_wrap,
        width=_width_of(stream),
        stderr=err,
        markup=False,
        emoji=False,
    )


class PicturedConsole(_SafeConsole):
    """Prints as `console` does, and keeps what it printed for a picture; bars that move are not in it."""

    def __init__(self) -> None:
        super().__init__(width=_width_of(sys.stdout), markup=False, emoji=False)
        self._kept = _SafeConsole(
            file=io.StringIO(), record=True, width=_PICTURE_COLUMNS, height=1, markup=False, emoji=False
        )

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401 - rich's own, handed on
        """Print to standard output, and for the picture."""
        super().print(*objects, **options)
        if not any(isinstance(one, Control) for one in objects):
            self._kept.print(*objects, **options | {"soft_wrap": False})

    def svg(self, title: str) -> str:
        """Return all that was printed as an SVG; whoever opens it fetches nothing from anywhere.

        Args:
            title: in the frame of its window.
        """
        return self._kept.export_svg(title=visible(title), code_format=_SVG, clear=False)


def words_column(template: str) -> TextColumn:
    """Return a column of a progress bar that shows words as they are.

    Args:
        template: a format with `task`.
    """
    return _Words(template)


def _width_of(stream: TextIO) -> int | None:
    return _UNBROKEN if not stream.isatty() and "COLUMNS" not in os.environ else None


def _shown(text: Text) -> Text:
    plain = visible_lines(text.plain)
    if plain == text.plain:
        return text
    return Text(plain, text.style, justify=text.justify, overflow=text.overflow, no_wrap=text.no_wrap, end=text.end)
