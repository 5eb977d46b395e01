"""The command line `vigil-export`: names the commands and loads each only when it is called.

Goes in: arguments. Goes out: an exit status that says what happened. It must not know what any command does; PyTorch
takes seconds to import, and `--help` should not wait for it.
"""

from __future__ import annotations

import importlib
import signal
import sys
from types import FrameType
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from export.cli.outcome import INTERRUPTED, CommandError
from stream_app.terminal.failures import guard_process, shown_usage
from stream_app.terminal.lines import echo, echo_lines

__all__ = ["app", "main"]


class _Part(NamedTuple):
    """One command: the module that holds its `app`, and the line that `vigil-export --help` shows."""

    module: str
    help: str


# One line per command, in the order in which a person needs them.
_PARTS: dict[str, _Part] = {
    "data": _Part("export.cli.data", "Check, divide and make data sets."),
    "train": _Part("export.cli.train", "Train a model on a data set."),
    "crossval": _Part("export.cli.crossval", "Train and test once for each part of a data set."),
    "evaluate": _Part("export.cli.evaluate", "Measure a run, with a report to look at."),
    "compare": _Part("export.cli.compare", "Compare runs: is fusing worth it?"),
    "export": _Part("export.cli.export", "Pack a run as a bundle: graphs, card, signature."),
    "bench": _Part("export.cli.bench", "Measure how fast a bundle runs on this machine."),
    "keys": _Part("export.cli.keys", "Make keys and sign bundles."),
}

_EPILOG = "Exit status: 0 done, 1 failed, 2 wrong usage, 4 refused by a check, 130 interrupted."


class _Unloaded(TyperCommand):
    """Stands for a command in the list of commands; knows its line of help and nothing else."""


class _LazyGroup(TyperGroup):
    """Imports a command's module when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - typer's own context type is private
        """Return the names of all commands."""
        return list(_PARTS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002 - likewise
        """Return a stand-in with the command's name and help."""
        part = _PARTS.get(cmd_name)
        return None if part is None else _Unloaded(name=cmd_name, help=part.help, short_help=part.help)

    def make_context(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - likewise
        """Read the arguments; what is wrong with them is shown, whatever was typed."""
        with shown_usage():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - likewise
        """Run the command; an interruption becomes a last line and a status."""
        try:
            with shown_usage():
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            # Here and not in main: typer would end the process without a word.
            raise CommandError("interrupted", status=INTERRUPTED) from error
        except ModuleNotFoundError as error:
            raise _lacking(ctx.invoked_subcommand or "this command", error) from error

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
    help="Train image-text models on labelled pictures and sentences, and pack them as bundles for Vigil.",
)


@app.callback()
def _vigil_export() -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run `vigil-export` and exit the process.

    Args:
        arguments: Without the program's name; None for the process's own.

    Raises:
        SystemExit: Always; the epilog of `--help` lists the exit statuses.
    """
    # SIGTERM too undoes what is half written, and says so.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(arguments, prog_name="vigil-export")
    except CommandError as error:
        echo_lines(f"vigil-export: {error}", err=True)
        sys.exit(error.status)
    except KeyboardInterrupt:
        echo("vigil-export: interrupted", err=True)
        sys.exit(INTERRUPTED)
    finally:
        # After typer, which puts a hook of its own in place.
        guard_process()
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _load(name: str) -> Any:  # noqa: ANN401 - typer's own command type is private
    try:
        module = importlib.import_module(_PARTS[name].module)
    except ModuleNotFoundError as error:
        raise _lacking(name, error) from error
    module.app.rich_markup_mode = None  # plain pages, as those of `vigil`
    command = typer.main.get_command(module.app)
    command.name = name
    return command


def _lacking(name: str, error: ModuleNotFoundError) -> Exception:
    """Say which package is missing; a module of our own that is missing is a mistake, and stays one."""
    if (error.name or "").partition(".")[0] in {"export", "stream_app"}:
        return error
    return CommandError(f"{name} needs the package {error.name}, which is not installed: install the extra `export`")
