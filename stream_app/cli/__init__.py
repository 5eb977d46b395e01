"""The command line `vigil`: names the commands and loads each only when it is called.

In: arguments. Out: an exit status that says what happened. It must not know what any command does.
"""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from stream_app import __version__
from stream_app.terminal.failures import guard_process, shown_usage
from stream_app.terminal.lines import echo, echo_lines
from stream_app.terminal.outcome import INTERRUPTED, CommandError
from stream_app.terminal.streams import OUTPUT_ERRNOS, give_up_output, open_missing_streams

__all__ = ["app", "main"]


class _Part(NamedTuple):
    """One command: the module that holds its `app`, and the line that `vigil --help` shows."""

    module: str
    help: str


_PARTS: dict[str, _Part] = {
    "demo": _Part("stream_app.cli.demo", "See it work: a Kafka, two workers, drawn cameras, alerts, a worker killed."),
    "worker": _Part("stream_app.cli.worker", "Join frames and texts, score them, publish alerts."),
    "topics": _Part("stream_app.cli.topics", "Create the topics, or check those that exist."),
    "feed": _Part("stream_app.cli.feed", "Send videos, images, cameras and texts to the input topics."),
    "watch": _Part("stream_app.cli.watch", "Show alerts as they come."),
    "decisions": _Part("stream_app.cli.decisions", "Record the decisions topic to a file."),
    "evidence": _Part("stream_app.cli.evidence", "Fetch the frames and texts of an alert, or of a recording."),
    "task": _Part("stream_app.cli.task", "Look at tasks, and set one back after its input is gone."),
    "bundle": _Part("stream_app.cli.bundle", "Show or check a model bundle."),
    "config": _Part("stream_app.cli.config", "Show or check the settings in force."),
    "kafka": _Part("stream_app.cli.kafka", "A real Kafka on this machine, to play with."),
    "site": _Part("stream_app.cli.site", "The drawn security site: frames and alarm texts with known truth."),
}

_EPILOG = (
    "Exit status: 0 done, 1 failed, 2 wrong usage, 3 no broker reachable, 4 refused by a check, 130 interrupted. "
    "Commands that run until they are stopped end with 0 on Ctrl-C."
)


@contextmanager
def _said() -> Iterator[None]:
    """Say how a command ended that did not end by itself. Here and not in main: typer would do it without a word."""
    try:
        with shown_usage():
            yield
    except KeyboardInterrupt as error:
        raise CommandError("interrupted", status=INTERRUPTED) from error
    except BrokenPipeError:
        # A reader of our output that has gone, as `| head` does, is an end like any other.
        give_up_output()
        raise SystemExit(0) from None
    except OSError as error:
        if error.errno not in OUTPUT_ERRNOS or error.filename is not None:
            raise
        give_up_output()
        raise CommandError(f"the output cannot be written: {error.strerror}") from error


class _Unloaded(TyperCommand):
    """Stands for a command in the list of commands; knows its line of help and nothing else."""


class _LazyGroup(TyperGroup):
    """Imports a command's module when it is called: `vigil --help` stays quick, and works with parts missing."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - typer's own context type is private
        """Return the names of all commands, in the order of a first visit."""
        return list(_PARTS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002 - likewise
        """Return a stand-in with the command's name and help."""
        part = _PARTS.get(cmd_name)
        return None if part is None else _Unloaded(name=cmd_name, help=part.help, short_help=part.help)

    def make_context(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - likewise
        """Read the arguments, which loads much of typer: an interruption of that is said, too."""
        with _said():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - likewise
        """Run the command; an interruption that it did not take for its end becomes a last line and a status."""
        with _said():
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - likewise
        """Load the command that is called."""
        # So that a mistyped name is met with a suggestion: typer looks for one among the commands it knows.
        self.commands = {name: self.get_command(ctx, name) for name in _PARTS}
        name, stand_in, rest = super().resolve_command(ctx, args)
        if isinstance(stand_in, _Unloaded) and name is not None:
            return name, _load(name), rest
        return name, stand_in, rest


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=_EPILOG,
    help="Vigil joins camera frames and alarm texts from Kafka, scores them together, and publishes alerts.",
)


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if is_asked:
        echo(__version__)
        raise typer.Exit


@app.callback()
def _vigil(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run `vigil` and exit the process.

    Args:
        arguments: without the program's name; None for the process's own.

    Raises:
        SystemExit: always; see the exit statuses in docs/cli.md.
    """
    open_missing_streams()
    # Commands say in one line what went wrong; the Kafka clients would say it in twenty. The worker sets up real logs.
    for name in ("aiokafka", "kafka"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    # SIGTERM is said and has a status of its own as Ctrl-C has, in commands without an event loop too.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(arguments, prog_name="vigil")
    except CommandError as error:
        _say(str(error))
        sys.exit(error.status)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(INTERRUPTED)
    finally:
        # After typer, which puts a hook of its own in place.
        guard_process()
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _load(name: str) -> Any:  # noqa: ANN401 - typer's own command type is private
    part = _PARTS[name]
    try:
        module = importlib.import_module(part.module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing == part.module:
            message = f"vigil {name} is not part of this installation (no module {missing})"
        else:
            message = f"vigil {name} needs the package {missing}, which is not installed (see the extras in README.md)"
        raise CommandError(message) from error
    # Plain pages: the boxed ones leave a third of 80 columns to the text, and swallow whatever stands in brackets.
    module.app.rich_markup_mode = None
    command = typer.main.get_command(module.app)
    command.name = name
    return command


def _say(line: str) -> None:
    if line:
        echo_lines(f"vigil: {line}", err=True)
