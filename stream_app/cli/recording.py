"""`vigil recording`: what is in recordings, parts of them, and their content as files.

In: recordings. Out: a page or JSON, another recording, a folder. It needs no broker.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from stream_app import __version__
from stream_app.adapters.recording.cut import Part
from stream_app.adapters.recording.cut import cut as cut_recording
from stream_app.adapters.recording.export import export as export_recording
from stream_app.adapters.recording.layout import SUFFIX, Opening
from stream_app.adapters.recording.look import in_lines, look
from stream_app.adapters.recording.read import McapRecording, open_recording
from stream_app.adapters.recording.signing import check_file, signature_path
from stream_app.adapters.recording.sink import Sink
from stream_app.bundle import BundleError
from stream_app.bundle.signature import fingerprint, read_private_key, read_public_key
from stream_app.core.event_time import parse_event_time
from stream_app.files import new_folder
from stream_app.replay.recording import RecordingError
from stream_app.terminal.lines import echo, echo_json
from stream_app.terminal.outcome import REFUSED, USAGE, CommandError, notice

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Look at recordings, cut them, take them apart.")

_Recording = Annotated[
    list[Path],
    typer.Argument(metavar="REC...", help="A recording: its files, or the folder in which they lie."),
]
_From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="Appended at or after this time, RFC 3339.")]
_To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Appended before this time, RFC 3339.")]


@app.command()
def info(
    recording: _Recording,
    *,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="PUB", help="Public key (PEM) that the files have to be signed with."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
) -> None:
    """Show what is in a recording, and whether it can be read and verified. It reads all of it.

    Exit status 1 where something of it is lost, 4 where a signature does not hold.
    """
    with _opened(recording, is_past_damage=True) as opened:
        signed = _signature(opened, key)
        looked = look(opened)
    if as_json:
        echo_json(msgspec.to_builtins(looked) | {"signature": signed}, is_pretty=True)
    else:
        for line in [*in_lines(looked), f"signature: {signed}"]:
            echo(line)
    for words in looked.unreadable:
        echo(f"UNREADABLE, and not in it: {words}", err=True)
    if looked.lost:
        raise CommandError(f"LOST: {looked.lost}")


@app.command()
def cut(
    recording: _Recording,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help=f"The file to write, {SUFFIX}.")],
    from_time: _From = None,
    to_time: _To = None,
    zone: Annotated[
        list[str] | None,
        typer.Option("--zone", help="Only what was seen and said in this zone; may be repeated. Cannot be verified."),
    ] = None,
    incident: Annotated[
        str | None, typer.Option("--incident", metavar="ID", help="All that bears on an incident, or alert.")
    ] = None,
    without_pictures: Annotated[bool, typer.Option("--no-pictures", help="Leave out the pictures.")] = False,
    sign: Annotated[
        Path | None, typer.Option("--sign", metavar="KEY", help="Sign the file with this private key (PEM).")
    ] = None,
) -> None:
    """Write a part of a recording: by time, zone or incident, with the keyframe that it needs to be verified."""
    if out.suffix != SUFFIX:
        raise CommandError(f"--out: expected a file {SUFFIX}, found {out}", status=USAGE)
    if incident is not None and (from_time or to_time):
        raise CommandError("--incident does not go with --from and --to", status=USAGE)
    part = Part(
        from_ms=_moment("--from", from_time),
        to_ms=_moment("--to", to_time),
        zones=tuple(zone or ()),
        incident=incident,
        has_pictures=not without_pictures,
    )
    with _opened(recording) as opened, _failures(out):
        private = None if sign is None else read_private_key(sign)
        manifest = opened.files[0].manifest

        def open_sink(opening: Opening) -> Sink:
            return Sink(out, opening, manifest=manifest, key=private)

        sink, lost = cut_recording(opened, part, open_sink, version=__version__, tell=notice)
    echo(f"wrote {sink.records} records, {sink.size / 1e6:.1f} MB to {out}")
    if lost:
        raise CommandError(f"LOST, so the part ends early: {lost}")


@app.command()
def export(
    recording: _Recording,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to create; must not exist.")],
) -> None:
    """Write decisions, evidence and incidents as files, for reviewers and for `vigil-export data from-decisions`."""
    with _opened(recording, is_past_damage=True) as opened, _failures(out), new_folder(out) as draft:
        done = export_recording(opened, draft)
    missing = f"; {done.missing} that they name are not in the recording" if done.missing else ""
    echo(
        f"wrote {done.decisions} decisions, {done.incidents} incidents, {done.files} frames and texts to {out}{missing}"
    )
    if done.lost:
        raise CommandError(f"LOST: {done.lost}")


def _moment(option: str, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_event_time(value)
    except ValueError as error:
        raise CommandError(f"{option}: expected an RFC 3339 time with offset, found {value!r}", status=USAGE) from error


@contextmanager
def _opened(paths: list[Path], *, is_past_damage: bool = False) -> Iterator[McapRecording]:
    try:
        with open_recording(*paths, is_past_damage=is_past_damage) as recording:
            yield recording
    except RecordingError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be read: {error.strerror or error}") from error


@contextmanager
def _failures(out: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise CommandError(f"{out}: expected nothing there, found something: choose another name") from error
    except BundleError as error:
        raise CommandError(f"refused: {error}", status=REFUSED) from error
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror or error}") from error


def _signature(recording: McapRecording, key: Path | None) -> str:
    """Check the signatures where there is a key to do it with, and say in words what is known of them."""
    if key is None:
        signed = sum(signature_path(file.path).is_file() for file in recording.files)
        return (
            f"{signed} of {len(recording.files)} files, not checked: name the public key with --key"
            if signed
            else "none"
        )
    try:
        public = read_public_key(key)
        for file in recording.files:
            check_file(file.path, public)
    except (BundleError, RecordingError) as error:
        raise CommandError(f"refused: {error}", status=REFUSED) from error
    return f"holds, by the key {fingerprint(public)}"
