"""Wrong usage, refusals and what nobody caught: with what was typed or read in them, but nothing that steers."""

import subprocess
import sys
from pathlib import Path

import pytest

from stream_app.cli import main as vigil
from vigil_export.cli import main as vigil_export

HOSTILE = "\x1b]0;owned\x07\x9b2J\u202e"
SHOWN = r"\x1b]0;owned\x07\x9b2J\u202e"


@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE],
        [f"--{HOSTILE}"],
        ["demo", "--video", HOSTILE],
        ["demo", f"--{HOSTILE}"],
        ["topics", HOSTILE],
        ["config", "show", "--set", f"{HOSTILE}=1"],
        ["config", "check", "--config", HOSTILE],
        ["config", "check", "--set", f"bundle={HOSTILE}"],
        ["feed", "--texts", HOSTILE],
        ["feed", "--zone", "z", f"{HOSTILE}.mp4"],
        ["evidence", HOSTILE],
        ["evidence", "alert", "a", HOSTILE, "--out", "x"],
        ["evidence", "records", HOSTILE, "--out", "x"],
        ["bundle", "show", HOSTILE],
    ],
)
def test_what_is_typed_is_made_visible_in_every_refusal(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        vigil(arguments)
    written = capsys.readouterr().err
    assert ended.value.code != 0
    assert written.replace("\n", "").isprintable()
    assert r"\x1b]0;owned" in written


@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE],
        ["data", "check", HOSTILE],
        ["data", "check", ".", f"--{HOSTILE}"],
        ["data", "check", ".", "--allow", HOSTILE],
        ["bench", HOSTILE],
    ],
)
def test_so_it_is_by_the_command_line_of_the_export(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        vigil_export(arguments)
    written = capsys.readouterr().err
    assert ended.value.code != 0
    assert written.replace("\n", "").isprintable()
    assert r"\x1b]0;owned" in written


def test_settings_are_shown_as_they_are_and_nothing_of_them_steers(capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--json"]):
        with pytest.raises(SystemExit):
            vigil(["config", "show", "--changed", "--set", f"bundle=[red]{HOSTILE}", *options])
        written = capsys.readouterr().out
        assert written.replace("\n", "").isprintable()
        assert "[red]" in written


@pytest.mark.parametrize("package", ["stream_app", "vigil_export"])
@pytest.mark.parametrize(
    ("how", "shown"),
    [
        ("raise ValueError(WORDS)", "ValueError: "),
        (
            (
                "import threading\n"
                " t = threading.Thread(target=exec, args=['raise ValueError(WORDS)', {'WORDS': WORDS}])\n"
                " t.start(); t.join()"
            ),
            "ValueError: ",
        ),
        ("import logging\n logging.getLogger('somebody').error(WORDS)", ""),
    ],
)
def test_what_nobody_caught_does_not_steer_either(package: str, how: str, shown: str, tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text(
        f"from {package}.cli import main\nWORDS = {HOSTILE!r}\ntry:\n main(['--help'])\nexcept SystemExit:\n {how}\n"
    )
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, encoding="utf-8", timeout=100, check=False
    )
    assert ended.stderr.replace("\n", "").isprintable()
    assert shown in ended.stderr
    assert r"\x1b]0;owned" in ended.stderr
