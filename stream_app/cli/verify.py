"""`vigil verify`: is what was recorded what the core makes of the recorded inputs, to the byte?

In: a recording. Out: per task what was compared, or the first difference; an exit status of its own where no difference
was found and yet not everything could be verified.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from stream_app.adapters.observing.logs import configure_logging
from stream_app.bundle.errors import BundleError
from stream_app.cli.judging import progress
from stream_app.cli.options import ConfigOption, SetOption, settings_from
from stream_app.config import SettingsError
from stream_app.replay.recording import RecordingError
from stream_app.replay.rescored import Rescored
from stream_app.replay.verification import Status, Verification
from stream_app.replay.verification_document import verification_document
from stream_app.replay.verification_lines import verification_lines
from stream_app.terminal.lines import echo, echo_json
from stream_app.terminal.outcome import FAILED, INCOMPLETE, REFUSED, USAGE, CommandError, run_command
from stream_app.wiring.verifying import Rescore, run_verification

app = typer.Typer(add_completion=False, help="Prove that recordings hold what happened, to the byte.")

#: What a probability may differ by between a GPU and a CPU, with room.
_TOLERANCE = 0.01
_LAST_WORDS: dict[Status, str] = {
    "equal": "equal: the core makes of the inputs what was recorded, to the byte",
    "different": "different: see above",
    "incomplete": "incomplete: no difference was found, but not everything could be verified: see above",
}


@app.command()
def verify(
    recording: Annotated[
        list[Path],
        typer.Argument(metavar="REC...", help="A recording: its files, or the folder in which they lie."),
    ],
    *,
    is_rescored: Annotated[
        bool, typer.Option("--rescore", help="Score pictures and texts again, too, and compare the scores.")
    ] = False,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(
            "--bundle",
            metavar="DIR",
            help="With --rescore: where the recorded bundle is, or which other is to score; may be repeated where "
            "several were in force. [default: that of the settings]",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            min=0,
            max=1,
            help=f"With --rescore: status 1 where a probability differs by more. [default: {_TOLERANCE}]",
        ),
    ] = None,
    band: Annotated[
        float | None,
        typer.Option(
            "--band",
            min=0,
            max=1,
            help="With --rescore: a threshold may be passed by what lay so near to it; status 1 where it is passed "
            "by more. [default: the tolerance]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, by schema verification.v1.")] = False,
    assignments: SetOption = None,
    config: ConfigOption = None,
) -> None:
    """Give a recording to the core in the order of its journal, and compare all that it puts out, byte by byte.

    Exit status 0: equal. 1: different; the first difference is said. 5: no difference, but not everything could be
    verified, or nothing.
    """
    loaded = settings_from(config, assignments)
    rescore = None
    if is_rescored:
        allowed = _TOLERANCE if tolerance is None else tolerance
        rescore = Rescore(bundles=tuple(bundle or ()), tolerance=allowed, band=allowed if band is None else band)
    elif bundle or tolerance is not None or band is not None:
        raise CommandError("--bundle, --tolerance and --band: expected --rescore with them, found none", status=USAGE)
    configure_logging(loaded.operational.log_format, "warning")
    name = str(recording[0]) if len(recording) == 1 else f"{len(recording)} files"
    with _failures(is_rescored=is_rescored), progress() as tell:
        verification, rescored = run_command(
            run_verification(recording, rescore, loaded, tell=lambda reached: tell(name, reached))
        )
    _hand_over(verification, rescored, as_json=as_json)


@contextmanager
def _failures(*, is_rescored: bool) -> Iterator[None]:
    """Turn what cannot be verified into an exit status with one line: 1 says that something differs, and no more."""
    refused: tuple[type[Exception], ...] = (BundleError, SettingsError)
    if is_rescored:
        # Here and not at the top: without scoring again no model is needed, nor ONNX Runtime.
        from stream_app.adapters.inference.providers import ProviderError  # noqa: PLC0415

        refused = (*refused, ProviderError)
    try:
        yield
    except RecordingError as error:
        raise CommandError(str(error), status=INCOMPLETE) from error
    except refused as error:
        raise CommandError(str(error), status=REFUSED) from error


def _hand_over(verification: Verification, rescored: Rescored | None, *, as_json: bool) -> None:
    """Show what was found.

    Raises:
        CommandError: if something differs, or not everything could be verified.
    """
    status = _status(verification, rescored)
    if as_json:
        echo_json(verification_document(verification, rescored, status))
    else:
        for line in verification_lines(verification, rescored):
            echo(line)
    if status != "equal":
        raise CommandError(_LAST_WORDS[status], status=FAILED if status == "different" else INCOMPLETE)
    if not as_json:
        echo(_LAST_WORDS[status])


def _status(verification: Verification, rescored: Rescored | None) -> Status:
    if rescored is None or verification.status == "different":
        return verification.status
    if not rescored.is_within:
        return "different"
    return verification.status if rescored.is_complete else "incomplete"
