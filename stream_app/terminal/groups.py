"""A command line made of a table of commands, each of which is imported only when it is called.

In: the table, and arguments. Out: an exit status that says what happened. It must not know what any command does.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from stream_app.terminal.failures import guard_process, shown_usage
from stream_app.terminal.lines import echo_lines
from stream_app.terminal.outcome import INTERRUPTED, CommandError
from stream_app.terminal.streams import OUTPUT_ERRNOS, give_up_output, open_missing_streams

__all__ = ["Commands", "Part", "command_line", "run_command_line"]


class Part(NamedTuple):
    """One command: the module that holds its `app`, and the line that `--help` shows."""

    module: str
    help: str


class _Unloaded(TyperCommand):
    """Stands for a command in the list of commands; knows its line of help and nothing else."""


class Commands(TyperGroup):
    """Imports a command's module when it is called: `--help` stays quick, and works where packages are missing.

    A command line derives from it and names its parts, in the order of a first visit.
    """

    parts: ClassVar[Mapping[str, Part]]
    #: What to do where a package that a command needs is not installed.
    advice: ClassVar[str]

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - typer's own context type is private
        """Return the names of all commands."""
        return list(self.parts)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002 - likewise
        """Return a stand-in with the command's name and help."""
        part = self.parts.get(cmd_name)
        return None if part is None else _Unloaded(name=cmd_name, help=part.help, short_help=part.help)

    def make_context(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - likewise
        """Read the arguments, which loads much of typer: an interruption of that is reported, too."""
        with _reported():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - likewise
        """Run the command; an interruption that it did not take for its end becomes a last line and a status."""
        try:
            with _reported():
                return super().invoke(ctx)
        except ModuleNotFoundError as error:
            raise self._lacking(ctx.invoked_subcommand or "this command", error) from error

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - likewise
        """Load the command that is called."""
        # So that a mistyped name is met with a suggestion: typer looks for one among the commands it knows.
        self.commands = {name: self.get_command(ctx, name) for name in self.parts}
        name, stand_in, rest = super().resolve_command(ctx, args)
        if isinstance(stand_in, _Unloaded) and name is not None:
            return name, self._load(name), rest
        return name, stand_in, rest

    def _load(self, name: str) -> Any:  # noqa: ANN401 - typer's own command type is private
        try:
            module = importlib.import_module(self.parts[name].module)
        except ModuleNotFoundError as error:
            raise self._lacking(name, error) from error
        # Plain pages: the boxed ones leave a third of 80 columns to the text, and swallow whatever stands in brackets.
        module.app.rich_markup_mode = None
        command = typer.main.get_command(module.app)
        command.name = name
        return command

    def _lacking(self, name: str, error: ModuleNotFoundError) -> Exception:
        """Say which package is missing; a module of our own that is missing is a mistake, and stays one."""
        ours = {part.module.partition(".")[0] for part in self.parts.values()} | {__name__.partition(".")[0]}
        if (error.name or "").partition(".")[0] in ours:
            return error
        return CommandError(f"{name} needs the package {error.name}, which is not installed: {self.advice}")


def command_line(commands: type[Commands], *, words: str, epilog: str) -> typer.Typer:
    """Return the application of a command line.

    Args:
        commands: its table.
        words: the first lines of its help.
        epilog: the last ones.
    """
    return typer.Typer(
        cls=commands,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        epilog=epilog,
        help=words,
    )


def run_command_line(app: typer.Typer, program: str, arguments: list[str] | None) -> NoReturn:
    """Run a command line and exit the process.

    Args:
        app: what `command_line` returned.
        program: its name.
        arguments: without the program's name; None for the process's own.

    Raises:
        SystemExit: always; see the exit statuses in docs/cli.md.
    """
    open_missing_streams()
    # SIGTERM is reported and has a status of its own as Ctrl-C has, in commands without an event loop too.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(arguments, prog_name=program)
    except CommandError as error:
        if str(error):
            echo_lines(f"{program}: {error}", err=True)
        sys.exit(error.status)
    except KeyboardInterrupt:
        echo_lines(f"{program}: interrupted", err=True)
        sys.exit(INTERRUPTED)
    finally:
        # After typer, which puts a hook of its own in place.
        guard_process()
        signal.signal(signal.SIGTERM, before)
    sys.exit()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _reported() -> Iterator[None]:
    """Say how a command ended that did not end by itself. Not around the whole program: typer would end it silently."""
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
