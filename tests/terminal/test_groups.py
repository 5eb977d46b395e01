"""A command line from a table: what is loaded when, and how it ends. Both of ours are made so."""

import os
import signal
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from stream_app.terminal.groups import Commands, Part, command_line, run_command_line

_MODULE = "commands_of_the_test"


class _Tea(Commands):
    advice = "boil water"
    parts: ClassVar = {"brew": Part(_MODULE, "Brew."), "pour": Part(f"{_MODULE}.pour", "Pour.")}


def run(*arguments: str) -> int:
    """Run the command line and return its exit status."""
    app = command_line(_Tea, words="Tea.", epilog="")
    app.callback()(lambda: None)
    with pytest.raises(SystemExit) as ended:
        run_command_line(app, "tea", list(arguments))
    return int(ended.value.code or 0)


@pytest.fixture
def brew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file to write the module of the command `brew` to."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, _MODULE, raising=False)
    return tmp_path / f"{_MODULE}.py"


def written(body: str, *, imports: str = "") -> str:
    """Return a module with one command."""
    return f"import errno, os, signal, typer\n{imports}\napp = typer.Typer()\n@app.command()\ndef brew():\n    {body}\n"


def test_help_and_a_mistyped_name_load_no_command(brew: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brew.write_text(written("pass"))
    assert run("--help") == 0
    assert run("bre") == 2
    assert "Did you mean 'brew'" in capsys.readouterr().err
    assert _MODULE not in sys.modules
    assert run("brew") == 0
    assert _MODULE in sys.modules


@pytest.mark.parametrize("is_late", [False, True])
def test_a_package_that_is_missing_is_named_with_what_to_do(
    brew: Path, capsys: pytest.CaptureFixture[str], *, is_late: bool
) -> None:
    missing = "import no_such_package.at_all"
    brew.write_text(written(missing) if is_late else written("pass", imports=missing))
    assert run("brew") == 1
    assert capsys.readouterr().err == (
        "tea: brew needs the package no_such_package, which is not installed: boil water\n"
    )


def test_a_module_of_our_own_that_is_missing_is_a_mistake(brew: Path) -> None:
    brew.write_text(written("pass"))
    app = command_line(_Tea, words="Tea.", epilog="")
    app.callback()(lambda: None)
    with pytest.raises(ModuleNotFoundError, match="pour"):
        run_command_line(app, "tea", ["pour"])


def test_a_signal_is_reported_and_has_its_status(brew: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        brew.write_text(written(f"os.kill(os.getpid(), {number}); signal.pause()"))
        sys.modules.pop(_MODULE, None)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            assert run("brew") == 130
        finally:
            signal.signal(signal.SIGINT, before)
        assert capsys.readouterr().err == "tea: interrupted\n"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        ("BrokenPipeError()", 0, ""),
        ("OSError(errno.ENOSPC, 'no room')", 1, "tea: the output cannot be written: no room\n"),
    ],
)
def test_output_that_is_not_taken_is_an_end(
    brew: Path, capfd: pytest.CaptureFixture[str], error: str, status: int, said: str
) -> None:
    brew.write_text(written(f"raise {error}"))
    stdout = os.dup(1)  # it is given up
    try:
        assert run("brew") == status
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
    assert capfd.readouterr().err == said
