"""The documents are true in what a machine can check: links resolve, and the commands that they name exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stream_app.config import Operational
from stream_app.core.admit import MAX_NAME_BYTES
from stream_app.core.heard import MAX_CAMERAS, MAX_ZONES
from stream_app.wire.dead_letters import DEAD_LETTER_HEAD_BYTES

REPOSITORY = Path(__file__).resolve().parent.parent
_LIMITS = Operational().limits
_HIDDEN = re.compile(r"^(\.|build$|dist$)")
_LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_MAKE_COMMAND = re.compile(r"^\s*(?:\$ )?make ([a-z][a-z-]*)|`make ([a-z][a-z-]*)", re.MULTILINE)
_VIGIL_COMMAND = re.compile(r"(?:^\s*(?:\$ )?|`)vigil ([a-z]+)(?: ([a-z]+))?", re.MULTILINE)


def _documents() -> list[Path]:
    found = (path for path in REPOSITORY.rglob("*.md") if not _is_foreign(path))
    return sorted(path.relative_to(REPOSITORY) for path in found)


def _is_foreign(path: Path) -> bool:
    """Whether it lies in a folder that is not ours, such as a virtual environment."""
    return any(_HIDDEN.match(part) for part in path.relative_to(REPOSITORY).parts)


def _anchors(markdown: str) -> set[str]:
    headings = re.findall(r"^#+ +(.+?) *$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def broken_links(markdown: str, document: Path) -> list[str]:
    """Return the relative links of a document that lead to no file or to no heading."""
    without_code = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in _LINK.findall(without_code):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        is_missing = not target.exists()
        if is_missing or (anchor and target.suffix == ".md" and anchor not in _anchors(target.read_text("utf-8"))):
            broken.append(link)
    return broken


def unknown_make_targets(markdown: str, makefile: str) -> set[str]:
    """Return the make targets that a document names and the Makefile does not have."""
    named = {first or second for first, second in _MAKE_COMMAND.findall(markdown)}
    return named - set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))


def named_commands(markdown: str) -> list[tuple[str, ...]]:
    """Return the `vigil` commands that a document names, with their subcommands, each once."""
    found = {tuple(word for word in match if word) for match in _VIGIL_COMMAND.findall(markdown)}
    return sorted(found)


def _readme_commands() -> list[tuple[str, ...]]:
    return named_commands((REPOSITORY / "README.md").read_text("utf-8"))


@pytest.mark.parametrize("document", _documents(), ids=str)
def test_every_relative_link_resolves(document: Path) -> None:
    path = REPOSITORY / document
    assert broken_links(path.read_text("utf-8"), path) == []


@pytest.mark.parametrize("document", _documents(), ids=str)
def test_every_make_command_that_is_named_exists(document: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    assert unknown_make_targets((REPOSITORY / document).read_text("utf-8"), makefile) == set()


def test_a_link_to_no_file_and_to_no_heading_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# One heading\n", "utf-8")
    text = "[x](a.md) [x](a.md#one-heading) [x](https://example.org/x) [x](b.md) ![x](c.png) [x](a.md#two)"
    assert broken_links(text, document) == ["b.md", "c.png", "a.md#two"]


def test_a_make_target_that_does_not_exist_is_found() -> None:
    text = "Run `make tea`, `make test` or\n```\nmake coffee\n```\nto make sure"
    assert unknown_make_targets(text, "test: x\n") == {"tea", "coffee"}


def test_named_commands_are_found_in_text_and_code() -> None:
    text = "`vigil kafka up --nodes 3`, `vigil demo`\n\n    $ vigil watch --json\nthat vigil stays"
    assert named_commands(text) == [("demo",), ("kafka", "up"), ("watch",)]


@pytest.mark.parametrize("command", _readme_commands(), ids=" ".join)
def test_every_command_that_the_readme_names_has_help(command: tuple[str, ...]) -> None:
    start = "from stream_app.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", start, *command, "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("architecture", f"{_LIMITS.outputs:,} outputs, {_LIMITS.dead_letter_bytes / 2**20:g} MiB of dead letters"),
        ("wire", f"value and key to their first {DEAD_LETTER_HEAD_BYTES / 2**10:g} KiB"),
        ("wire", f"the zone, 1 to {MAX_NAME_BYTES} bytes of UTF-8"),
        ("wire", f"at most {MAX_NAME_BYTES} characters"),
        ("operations", f"silent cameras and zones (at most {MAX_CAMERAS:,} each"),
        ("operations", f"silent cameras and zones (at most {MAX_ZONES:,} each"),
    ],
)
def test_bounds_that_are_no_settings_are_what_the_documents_say(document: str, words: str) -> None:
    assert words in (REPOSITORY / "docs" / f"{document}.md").read_text("utf-8")
