"""`vigil evidence ALERT --out DIR`: the frames and texts of an alert or of decisions, fetched by their coordinates.

In: the id of an alert or incident, or coordinates, or a recording. Out: files; exit status 1, loudly, where a piece is
gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from stream_app.adapters.kafka.to_the_end import TopicMissingError
from stream_app.adapters.reading.decisions import RecordingError, decisions_of
from stream_app.adapters.reading.evidence import (
    NoSuchAlertError,
    Piece,
    fetch_evidence,
    fetch_pieces,
    piece_of,
)
from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, connection_to, settings_from, topics_of
from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import USAGE, CommandError, notice, run_command
from stream_app.wire.alerts import Alert
from stream_app.wire.references import EvidenceRef
from stream_app.wire.topics import Topics

app = typer.Typer(add_completion=False, help="Fetch the frames and texts of an alert, or of a recording.")


class _Place(NamedTuple):
    """Coordinates as they are typed, `topic/partition/offset`."""

    topic: str
    partition: int
    offset: int


@app.command()
def evidence(
    wanted: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ALERT | PLACE...]",
            help="Id of an alert, or of an incident; or records by their coordinates, topic/partition/offset.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write the files.")],
    decisions: Annotated[
        Path | None,
        typer.Option(
            "--decisions",
            metavar="FILE",
            help="All records that the decisions of a recording name; with PLACE: of those that name one of these.",
        ),
    ] = None,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Fetch frames and texts as they were sent, checked by offset and event time.

    A PLACE without --decisions has no event time to be checked by.
    """
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    connection, topics = connection_to(operational), topics_of(operational)
    names = wanted or []
    places = [place for place in map(_place, names) if place is not None]
    if (names and len(places) not in {0, len(names)}) or (not places and len(names) + (decisions is not None) != 1):
        message = "expected one ALERT, or PLACEs (topic/partition/offset), or --decisions FILE"
        raise CommandError(f"{message}, found {' '.join(names) or 'none'}", status=USAGE)
    try:
        if places or decisions is not None:
            pieces = _named(decisions, places) if decisions is not None else [_typed(place, topics) for place in places]
            _refuse_evidence(out)
            _report(run_command(fetch_pieces(connection, pieces, out)), out)
            return
        found = run_command(fetch_evidence(connection, topics.alerts, names[0], out, tell=notice))
    except (TopicMissingError, NoSuchAlertError, RecordingError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror or error}") from error
    _report(found.pieces, out, found.alert)


def _place(text: str) -> _Place | None:
    topic, partition, offset = ([*text.rsplit("/", 2), "", ""])[:3]
    is_place = topic and partition.isdecimal() and offset.isdecimal()
    return _Place(topic, int(partition), int(offset)) if is_place else None


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
