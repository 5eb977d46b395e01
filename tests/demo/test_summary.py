"""The demo's last screen, and the picture of it."""

import html
import re
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from stream_app.demo.books import balance
from stream_app.demo.collecting import SeenAlert
from stream_app.demo.summary import show
from stream_app.demo.truth import Outputs, Published, PublishedRecord
from stream_app.terminal.console import PicturedConsole

_APPEND_MS = 1_700_000_000_000
_KILLED = "a worker was killed on the way"


def shown(*, is_killed: bool) -> PicturedConsole:
    """Show the last screen of a play of one text and one alert."""
    text = PublishedRecord(partition=0, offset=0, append_ms=_APPEND_MS, event_ms=_APPEND_MS, zone="dock", camera="")
    evidence = [{"kind": "text", "partition": 0, "offset": 0}]
    alert: dict[str, Any] = {"id": "a1", "phase": "opened", "evidence": evidence, "zone": "dock", "label": "fire"}
    published = Published(frames=[], texts=[text])
    outputs = Outputs(
        alerts=[alert],
        decisions=[{"evidence": evidence, "late": False, "provider": "CPUExecutionProvider"}],
        dead_letters=[],
        checkpoints={0: {"totals": {"texts.alone": 1}}},
    )
    console = PicturedConsole()
    seen = [SeenAlert(body=alert, seen_ms=_APPEND_MS + 4_321)]
    show(console, published, outputs, balance(published, outputs), seen, [], is_killed=is_killed)
    return console


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_worker_that_was_killed_is_named_beside_the_latencies(
    capsys: pytest.CaptureFixture[str], *, is_killed: bool
) -> None:
    console = shown(is_killed=is_killed)
    for screen in (capsys.readouterr().out, words(console.svg("vigil demo"))):
        assert "p99 4321 ms" in screen
        assert (_KILLED in screen) is is_killed


def test_the_picture_holds_the_words_of_the_screen_and_fetches_nothing() -> None:
    picture = shown(is_killed=True).svg("vigil demo")
    assert "newest evidence → alert" in words(picture)
    assert "The books balance." in words(picture)
    assert references(picture) == []


def test_the_picture_of_the_readme_is_one_of_these() -> None:
    picture = (Path(__file__).parents[2] / "docs" / "figures" / "demo.svg").read_text("utf-8")
    assert _KILLED in words(picture)
    assert "Nothing lost, nothing twice, no wrong pair. The books balance." in words(picture)
    assert references(picture) == []


def test_a_reference_in_a_picture_is_found() -> None:
    assert references('<svg xmlns="http://www.w3.org/2000/svg"><style>@font-face{src:url("https://x/y")}</style>')
    assert references("<svg><use href='#a'/></svg>")


def test_what_steers_a_terminal_is_shown_in_the_picture_and_a_long_line_is_broken() -> None:
    console = PicturedConsole()
    console.print(Text("\x1b[2J [red]x[/] <script>"), "x" * 150, soft_wrap=True)
    picture = console.svg("\x1b]0;owned")
    assert r"\x1b[2J [red]x[/] <script>" in words(picture)
    assert "<script" not in picture
    assert sum(line.count("x" * 20) > 0 for line in re.findall(r"<text[^>]*>([^<]*)", picture)) == 2


def references(picture: str) -> list[str]:
    """Return what in a picture could make its reader fetch something; the name of its language is no address."""
    places = picture.replace('xmlns="http://www.w3.org/2000/svg"', "", 1)
    return re.findall(r"\w+://|@font-face|@import|href|src|url\((?!#)", places)


def words(picture: str) -> str:
    """Return what is written in a picture."""
    return html.unescape(" ".join(re.findall(r"<text[^>]*>([^<]*)", picture))).replace("\u00a0", " ")
