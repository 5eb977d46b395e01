"""Failures of data and files as the last line of a `vigil-export` command. It must not know commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream_app.files import FULL
from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import CommandError


@contextmanager
def failures() -> Iterator[None]:
    """Turn failures of data and files into a last line and status 1."""
    from vigil_export.data.rows import DataError  # noqa: PLC0415 - it brings numpy and OpenCV; --help should not wait for them

    try:
        yield
    except (DataError, FileExistsError) as error:
        raise CommandError(str(error)) from error
    except BrokenPipeError:
        raise  # not a failure: the reader of our output has gone
    except OSError as error:
        is_full = error.errno in FULL
        name = (is_full and error.filename2) or error.filename  # of a copy, the second is the one not written
        place = f"{name}: " if name else ""
        advice = "; free space there, or choose another place" if is_full else ""
        raise CommandError(f"{place}{error.strerror or error}{advice}") from error


def refuse_existing(out: Path) -> None:
    """Refuse, before any long work, to write where something exists."""
    if out.exists():
        raise CommandError(f"{out}: expected nothing there, found something: choose another name, or remove it")


def say(line: str) -> None:
    """Write a line for the user to standard error; results go to standard output."""
    echo(line, err=True)
