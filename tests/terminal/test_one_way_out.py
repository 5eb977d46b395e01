"""Nothing is written to a terminal but by `stream_app.terminal`: a call that bypasses the sanitiser is found here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
#: file -> what it may name, and why.
ALLOWED = {
    "stream_app/adapters/observing/logs.py": {"sys.stderr"},  # the log's stream; each line is sanitised (test_logs.py)
    "stream_app/adapters/inference/providers.py": {"sys.stderr"},  # where ONNX Runtime's own prints go
    "stream_app/adapters/decoding/child.py": {"sys.stderr"},  # closes it
    "stream_app/adapters/recording/write.py": {"os.write"},  # a file of its own, opened for writing alone
}
_STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}
_TYPER = {"echo", "secho", "echo_via_pager", "prompt", "confirm", "progressbar"}
_RICH = {"Console", "TextColumn", "SpinnerColumn", "render", "escape", "print", "print_json", "inspect", "Prompt"}


def bypasses(source: str) -> Iterator[str]:
    """Yield what a module names that could write to a terminal by itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from {node.func.id} & (_RICH | {"print", "input"})
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "sys" and node.attr in _STREAMS:
                yield f"sys.{node.attr}"
            if node.value.id == "typer" and node.attr in _TYPER:
                yield f"typer.{node.attr}"
            if (node.value.id, node.attr) in {("os", "write"), ("Text", "from_markup"), ("Text", "from_ansi")}:
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module in {"sys", "typer", "click", "rich", "rich.markup"}:
            yield from (f"{node.module}.{a.name}" for a in node.names if a.name in _STREAMS | _TYPER | _RICH)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in {"click", "rich"})


def sources() -> Iterator[tuple[str, str]]:
    for package in ("stream_app", "export", "vigil"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            name = path.relative_to(REPOSITORY).as_posix()
            if not name.startswith("stream_app/terminal/"):
                yield name, path.read_text("utf-8")


def test_every_line_goes_through_the_sanitiser() -> None:
    found = {name: set(bypasses(source)) - ALLOWED.get(name, set()) for name, source in sources()}
    assert {name: names for name, names in found.items() if names} == {}


def test_what_is_allowed_is_still_used() -> None:
    found = {name: set(bypasses(source)) for name, source in sources()}
    assert {name: names - found[name] for name, names in ALLOWED.items() if names - found[name]} == {}


@pytest.mark.parametrize(
    "source",
    [
        "print(zone)",
        "sys.stdout.write(zone)",
        "from sys import stderr",
        "typer.echo(zone)",
        "from typer import echo",
        "Console().print(zone)",
        "import click",
        "from rich import print",
        "TextColumn('{task.description}')",
        "Text.from_markup(zone)",
    ],
)
def test_a_bypass_is_found(source: str) -> None:
    assert list(bypasses(source))
