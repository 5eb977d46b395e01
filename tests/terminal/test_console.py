"""The console and the lines: nothing but our own styles reaches a terminal, in cells, titles, bars and JSON alike."""

import io
import json
import re
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import RenderableType
from rich.progress import Progress
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from stream_app.terminal.console import console, words_column
from stream_app.terminal.lines import echo, echo_json, echo_lines

HOSTILE = "z\x1b]0;owned\x07\x1b[2J\x9b\u202e\n[red]x[/] [link=http://a]b[/link] :fire:"
SHOWN = r"z\x1b]0;owned\x07\x1b[2J\x9b\u202e\n[red]x[/] [link=http://a]b[/link] :fire:"
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def table(*, title: str = "", heading: str = "h", cell: RenderableType = "c") -> Table:
    made = Table(title=title)
    made.add_column(heading)
    made.add_row(cell)
    return made


@pytest.mark.parametrize(
    "renderable",
    [
        HOSTILE,
        Text(HOSTILE),
        table(title=HOSTILE),
        table(heading=HOSTILE),
        table(cell=HOSTILE),
        table(cell=Text(HOSTILE)),
        Segments([Segment(HOSTILE)]),
    ],
    ids=["string", "text", "title", "heading", "cell", "text in a cell", "segments"],
)
def test_nothing_that_is_printed_steers_the_terminal(
    renderable: RenderableType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", stream := _Terminal())
    monkeypatch.setenv("TERM", "xterm")
    console().print(renderable, style="bold")
    written = stream.getvalue()
    assert "\x1b[1" in written  # our own styles work
    assert not {found for found in _SEQUENCE.findall(written) if not found.endswith("m")}
    plain = _SEQUENCE.sub("", written)
    assert not set(plain) & {"\x1b", "\x07", "\x9b", "\u202e"}
    words = re.sub(r"[\s\u2500-\u257f]", "", plain)  # without what draws and breaks lines
    for part in (r"z\x1b]0;owned", r"\x1b[2J\x9b\u202e", "[red]x[/]", "[link=http://a]b[/link]", ":fire:"):
        assert part in words


def test_a_string_is_one_line_also_in_a_cell(capsys: pytest.CaptureFixture[str]) -> None:
    console(highlight=False).print("a\nb")
    console(highlight=False).print(table(cell="a\nb"))
    written = capsys.readouterr().out
    assert written.splitlines()[0] == r"a\nb"
    assert r"a\nb" in written.splitlines()[4]


def test_a_description_of_a_bar_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(words_column("{task.description}"), console=console(err=True)) as progress:
        progress.add_task(HOSTILE)
    assert SHOWN in capsys.readouterr().err


@pytest.mark.parametrize(("write", "shown"), [(echo, SHOWN), (echo_lines, SHOWN.replace(r"\n", "\n"))])
def test_a_line_is_made_visible(write: Callable[..., None], shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(HOSTILE)
    write(HOSTILE, err=True)
    assert capsys.readouterr() == (f"{shown}\n", f"{shown}\n")


@given(name=st.text(st.characters(exclude_categories=["Cs"])), is_pretty=st.booleans())
def test_json_is_the_same_value_without_control_characters(*, name: str, is_pretty: bool) -> None:
    value = {"zone": f"{name}\x7f\x85\u2028\u202e", "n": [1, None]}
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        echo_json(value, is_pretty=is_pretty)
        written = sys.stdout.getvalue()
    finally:
        sys.stdout = before
    assert json.loads(written) == value
    assert written.count("\n") == 1 or is_pretty
    assert not set(written) & {"\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u202e"}


def test_bytes_that_are_no_utf_8_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"path": "caf\udce9 北"})
    assert json.loads(capsys.readouterr().out) == {"path": r"caf\udce9 北"}
