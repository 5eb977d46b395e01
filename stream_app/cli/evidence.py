"""`vigil evidence`: the frames and texts of an alert or of decisions, or records by their coordinates.

In: the id of an alert or incident, coordinates, or a recording; a subcommand for each. Out: files; exit status
1, loudly, where a piece is gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.to_the_end import TopicMissingError
from stream_app.adapters.reading.decisions import RecordingError, decisions_of
from stream_app.adapters.reading.evidence import (
    NoSuchAlertError,
    fetch_evidence,
    fetch_pieces,
)
from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, connection_to, settings_from, topics_of
from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import USAGE, CommandError, notice, run_command
from stream_app.wire.alerts import Alert
from stream_app.wire.evidence import Piece, piece_of
from stream_app.wire.references import EvidenceRef
from stream_app.wire.topics import Topics

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Fetch frames and texts as they were sent: of an alert, of a recording, or by their coordinates.",
)


class _Place(NamedTuple):
    """Coordinates as they are typed, `topic/partition/offset`."""

    topic: str
    partition: int
    offset: int


def _place(text: str) -> _Place:
    topic, partition, offset = ([*text.rsplit("/", 2), "", ""])[:3]
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise CommandError(f"expected a place, topic/partition/offset, found {text!r}", status=USAGE)
    return _Place(topic, int(partition), int(offset))


_Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write the files.")]


@app.command("alert")
def of_alert(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of an alert, or of an incident.")],
    *,
    out: _Out,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Fetch what an alert names, or all alerts of an incident, checked by offset and event time."""
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    connection, topic = connection_to(operational), topics_of(operational).alerts
    with _failures(out):
        found = run_command(fetch_evidence(connection, topic, identity, out, tell=notice))
    _report(found.pieces, out, found.alert)


@app.command("records")
def of_records(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="PLACE",
            help="A record by its coordinates, topic/partition/offset.",
        ),
    ],
    *,
    out: _Out,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Fetch records by their coordinates, checked by offset alone."""
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    topics = topics_of(operational)
    _fetch(connection_to(operational), [_typed(_place(text), topics) for text in places], out)


@app.command("decisions")
def of_decisions(
    recording: Annotated[Path, typer.Argument(metavar="FILE", help="What `vigil decisions` wrote.")],
    *,
    out: _Out,
    about: Annotated[
        list[str] | None,
        typer.Option(
            "--about",
            metavar="PLACE",
            help="Only of decisions that name this record, topic/partition/offset; may be repeated.",
        ),
    ] = None,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Fetch what the decisions of a recording name, checked by offset and event time."""
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    with _failures(out):
        pieces = _named(recording, [_place(text) for text in about or ()])
    _fetch(connection_to(operational), pieces, out)


def _fetch(connection: Connection, pieces: Sequence[Piece], out: Path) -> None:
    with _failures(out):
        _refuse_evidence(out)
        found = run_command(fetch_pieces(connection, pieces, out))
    _report(found, out)


@contextmanager
def _failures(out: Path) -> Iterator[None]:
    try:
        yield
    except (TopicMissingError, NoSuchAlertError, RecordingError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror or error}") from error


def _typed(place: _Place, topics: Topics) -> Piece:
    kinds: dict[str, Literal["text", "frame"]] = {topics.texts: "text", topics.frames: "frame"}
    if place.topic not in kinds:
        message = f"expected a place on {topics.texts} or {topics.frames}, found one on {place.topic}"
        raise CommandError(message, status=USAGE)
    return Piece(kind=kinds[place.topic], topic=place.topic, partition=place.partition, offset=place.offset)


def _named(recording: Path, places: Sequence[_Place]) -> list[Piece]:
    """Return what decisions name, each record once; with places what those name that name one of them.

    Raises:
        RecordingError: if the recording cannot be read.
        CommandError: if no decision is left.
    """
    pieces: dict[_Place, Piece] = {}
    for named in _read(recording):
        if not places or any(_at(record) in places for record in named):
            pieces |= {_at(record): piece_of(record) for record in named}
    if not pieces:
        raise CommandError(
            f"{recording}: expected a decision{' about one of these places' if places else ''}, found none"
        )
    return [pieces[place] for place in sorted(pieces)]


def _read(recording: Path) -> Iterator[tuple[EvidenceRef, ...]]:
    try:
        with recording.open("rb") as lines:
            yield from decisions_of(lines)
    except OSError as error:
        raise RecordingError(f"{recording} cannot be read: {error.strerror or error}") from error
    except RecordingError as error:
        raise RecordingError(f"{recording}, {error}") from error


def _at(record: EvidenceRef) -> _Place:
    return _Place(record.topic, record.partition, record.offset)


def _refuse_evidence(out: Path) -> None:
    # The index of what lies there would be lost, and with an alert's its places taken for the alert's.
    if any(os.path.lexists(out / name) for name in ("evidence.json", "alert.json")):
        raise CommandError(f"{out}: expected a folder without evidence, found some there: choose another folder")


def _report(pieces: Sequence[Piece], out: Path, alert: Alert | None = None) -> None:
    if alert is not None:
        echo(f"{alert.phase} {alert.label} in {alert.zone}, {alert.start} to {alert.end}, score {alert.score:.4f}")
    for piece in pieces:
        place = f"{piece.topic}/{piece.partition}/{piece.offset}"
        echo(f"  {piece.kind:<5} {place}  {piece.file or 'MISSING: ' + piece.missing}")
    if alert is not None and alert.evidence_left_out:
        echo(f"  the alert itself names no more than these; {alert.evidence_left_out} were left out")
    missing = sum(bool(piece.missing) for piece in pieces)
    echo(f"{len(pieces) - missing} of {len(pieces)} pieces in {out}")
    if missing:
        raise CommandError(f"EVIDENCE MISSING: {missing} of {len(pieces)} pieces are gone, see above")
