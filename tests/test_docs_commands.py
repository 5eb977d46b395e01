"""The commands that the documents show are commands: their names, options and values are taken as they are written."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.exceptions import TyperException

from stream_app.cli import app as vigil
from stream_app.terminal.outcome import CommandError
from vigil_export.cli import app as vigil_export

REPOSITORY = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROGRAMS = {"vigil": vigil, "vigil-export": vigil_export}
#: What ends a command for a shell.
_OPERATORS = frozenset("|&;<>")
#: The videos of the demo's page are not here, and its command wants them to be.
_PAGES = sorted({REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")} - {REPOSITORY / "docs/demo.md"})


def shown_commands(markdown: str) -> list[tuple[str, ...]]:
    """Return the `vigil` and `vigil-export` commands of a page's code blocks, in order, as a shell's words."""
    found = []
    for block in _BLOCK.findall(markdown):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            if not line.strip().removeprefix("$ ").startswith(("vigil ", "vigil-export ")):
                continue
            lexer = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in lexer:
                if set(word) <= _OPERATORS:
                    break
                words.append(word)
            found.append(tuple(words))
    return found


def misuse(words: tuple[str, ...]) -> str:
    """Return what is wrong with a command, '' where it would be run."""
    command: Any = typer.main.get_command(_PROGRAMS[words[0]])
    rest = list(words[1:])
    try:
        while hasattr(command, "resolve_command"):
            _, command, rest = command.resolve_command(command.context_class(command), rest)
        command.make_context(command.name, rest)
    except CommandError as error:
        return str(error)
    except TyperException as error:
        return error.format_message()
    return ""


def _page_commands() -> list[tuple[str, ...]]:
    shown = {words for page in _PAGES for words in shown_commands(page.read_text("utf-8"))}
    return sorted(words for words in shown if "..." not in words)


@pytest.mark.parametrize("words", _page_commands(), ids=" ".join)
def test_a_command_that_a_page_shows_is_taken_as_it_stands(words: tuple[str, ...]) -> None:
    assert misuse(words) == ""


def test_commands_of_code_blocks_are_found_up_to_the_next_operator() -> None:
    page = "vigil that\n```\nvigil feed a b \\\n  --fps 2   # twice\n$ vigil watch --json | head\n  vigilant\n```\n"
    assert shown_commands(page) == [("vigil", "feed", "a", "b", "--fps", "2"), ("vigil", "watch", "--json")]


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("vigil tea", "tea"),
        ("vigil kafka brew", "brew"),
        ("vigil feed a --sugar 2", "--sugar"),
        ("vigil topics create --partitions many", "integer"),
        ("vigil-export export run", "--out"),
        ("vigil-export export run --out x --variant fp8", "fp8"),
    ],
)
def test_a_command_that_does_not_exist_or_does_not_take_this_is_found(command: str, word: str) -> None:
    assert word in misuse(tuple(command.split()))
