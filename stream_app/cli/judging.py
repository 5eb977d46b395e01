"""What `vigil replay` and `vigil compare` share: options, files that go in, and what comes of a report.

In: what was typed. Out: files read, a report shown and written, an exit status.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from stream_app.adapters.recording.layout import SUFFIX
from stream_app.bundle.errors import BundleError
from stream_app.config import SettingsError
from stream_app.core.event_time import format_event_time
from stream_app.files import whole_file
from stream_app.replay.canonical import Reached
from stream_app.replay.document import document_of
from stream_app.replay.evidence import Shown
from stream_app.replay.expect import Expectations, ExpectError, junit, read_expectations
from stream_app.replay.page import page_of
from stream_app.replay.recording import RecordingError
from stream_app.replay.report import Report
from stream_app.replay.screen import screen_of
from stream_app.replay.verdicts import Verdict, VerdictsError, read_verdicts
from stream_app.terminal.lines import echo, echo_json
from stream_app.terminal.outcome import FAILED, REFUSED, USAGE, CommandError, notice
from stream_app.terminal.progress import moving_line

if TYPE_CHECKING:
    from stream_app.wiring.writing import Written

RecordingsArgument = Annotated[
    list[Path], typer.Argument(metavar="REC...", help="Recordings: files, or folders of files that follow one another.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object, by schema comparison.v1.")]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a page with frames and sentences, one file.")
]
ExpectOption = Annotated[
    Path | None, typer.Option("--expect", metavar="FILE", help="Expectations, TOML; status 1 where one fails.")
]
JunitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write what became of the expectations as JUnit XML.")
]
ZoneOption = Annotated[
    str, typer.Option("--zone", help="Zone of the pictures of other tools' MCAP files, and of texts that name none.")
]
TextsOption = Annotated[
    Path | None,
    typer.Option("--texts", metavar="FILE", help="Texts beside another tool's MCAP file, as `vigil feed` takes them."),
]

_Read = TypeVar("_Read")


def expectations_from(path: Path | None, junit_path: Path | None) -> Expectations | None:
    """Read expectations.

    Raises:
        CommandError: if they cannot be read, or JUnit is asked for without any.
    """
    if path is None:
        if junit_path is not None:
            raise CommandError("--junit: expected --expect FILE with it, found none", status=USAGE)
        return None
    return _read(path, read_expectations)


def verdicts_from(path: Path | None) -> tuple[Verdict, ...] | None:
    """Read verdicts.

    Raises:
        CommandError: if they cannot be read.
    """
    return None if path is None else _read(path, read_verdicts)


def _read(path: Path, reader: Callable[[str, str], _Read]) -> _Read:
    try:
        return reader(path.read_text(encoding="utf-8"), str(path))
    except (ExpectError, VerdictsError) as error:
        raise CommandError(str(error), status=USAGE) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: expected UTF-8, found another encoding ({error.reason})", status=USAGE) from error
    except OSError as error:
        raise CommandError(f"{path}: expected a file that can be read: {error.strerror}", status=USAGE) from error


@contextmanager
def failures() -> Iterator[None]:
    """Turn what is wrong with recordings, bundles and settings into an exit status with one line."""
    # Here and not at the top: wrong usage is said before ONNX Runtime is loaded.
    from stream_app.adapters.inference.providers import ProviderError  # noqa: PLC0415
    from stream_app.wiring.writing import OutError  # noqa: PLC0415

    try:
        yield
    except (RecordingError, OutError) as error:
        raise CommandError(str(error)) from error
    except (BundleError, ProviderError, SettingsError) as error:
        raise CommandError(str(error), status=REFUSED) from error


@contextmanager
def progress() -> Iterator[Callable[[str, Reached], None]]:
    """Show how far a replay has come, in the time of the recording and as a multiple of real time."""
    began: dict[str, float] = {}
    with moving_line() as say:

        def tell(name: str, reached: Reached) -> None:
            now = time.monotonic()
            seconds = max(now - began.setdefault(name, now), 0.001)
            speed = (reached.now_ms - reached.first_ms) / 1_000 / seconds
            say(f"{name}: {format_event_time(reached.now_ms)[:19]}, {reached.records:,} records, {speed:,.0f}x")

        yield tell


def require_new(out: Path) -> None:
    """Make sure of the name of a recording that is to be written, before anything is loaded.

    Raises:
        CommandError: if it is no recording's, or something is there already.
    """
    if out.suffix != SUFFIX:
        raise CommandError(f"--out: expected a name that ends in {SUFFIX}, found {out}", status=USAGE)
    if out.exists():
        raise CommandError(f"{out}: expected nothing there, found something: choose another name")


def say_written(written: Written) -> None:
    """Say what a replay wrote."""
    notice(f"wrote {written.records:,} records, {written.size / 1e6:.1f} MB to {written.path}")


def hand_over(
    report: Report, shown: Shown | None, *, as_json: bool, html: Path | None, junit_path: Path | None
) -> None:
    """Write and show a report.

    Raises:
        CommandError: if a file cannot be written; if an expectation fails, or not all could be read.
    """
    if html is not None and shown is not None:
        # It holds pictures: private, as recordings are.
        _write(html, page_of(report, shown), is_private=True)
    if junit_path is not None:
        outcomes = [(side.judge.words, side.outcome) for side in report.sides if side.outcome is not None]
        _write(junit_path, junit(outcomes))
    if as_json:
        echo_json(document_of(report))
    else:
        for line in screen_of(report):
            echo(line)
    if not report.is_as_expected:
        raise CommandError("not as expected", status=FAILED)
    if report.is_damaged:
        raise CommandError("not all of the recordings could be read: see the notes", status=FAILED)


def _write(path: Path, text: str, *, is_private: bool = False) -> None:
    try:
        with whole_file(path, is_private=is_private) as draft:
            draft.write(text.encode("utf-8"))
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror or error}") from error
    notice(f"wrote {path}")
