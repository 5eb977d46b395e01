"""`vigil record`: a range of the topics to files, once or for as long as it is not stopped.

In: which range, and where to. Out: private MCAP files that can be replayed; exit status 1 where the disk is full, and
what was written stays readable.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from aiokafka.partitioner import murmur2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_app import __version__
from stream_app.adapters.kafka.clients import consumer
from stream_app.adapters.kafka.to_the_end import TopicMissingError, read_topic
from stream_app.adapters.kafka.unpacking import UnreadableRecord
from stream_app.adapters.recording.incident import Bearing, IncidentSearch
from stream_app.adapters.recording.kafka import as_topic_record
from stream_app.adapters.recording.layout import SUFFIX, Opening
from stream_app.adapters.recording.recorder import Wanted, record
from stream_app.adapters.recording.sink import Rolling, Sink
from stream_app.bundle import BundleError
from stream_app.bundle.load import load_bundle
from stream_app.bundle.signature import read_private_key
from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, connection_to, settings_from, topics_of
from stream_app.clock import SystemClock
from stream_app.config import LoadedSettings
from stream_app.core.event_time import format_event_time, parse_event_time
from stream_app.replay.recording import About, RecordingError
from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import REFUSED, USAGE, CommandError, notice, run_command

app = typer.Typer(add_completion=False, help="Record a range of the topics to files that can be replayed.")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
#: Of whoever follows: with all cores busy, about a tenth of what a worker gets.
_NICENESS = 10
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Times and what else was asked for, as it was typed."""

    last: str | None
    from_time: str | None
    to_time: str | None
    incident: str | None
    zones: tuple[str, ...]
    has_pictures: bool
    is_followed: bool


@app.command("record")
def record_command(  # noqa: PLR0913 - one parameter an option
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR|FILE", help=f"Where to: a folder, or a {SUFFIX} file.")],
    last: Annotated[
        str | None, typer.Option("--last", metavar="8h", help="So far back from now: s, m, h or d.")
    ] = None,
    from_time: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Appended at or after this time, RFC 3339.")
    ] = None,
    to_time: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Appended before this time, RFC 3339. [default: now]")
    ] = None,
    incident: Annotated[
        str | None, typer.Option("--incident", metavar="ID", help="All that bears on an incident, or alert.")
    ] = None,
    zone: Annotated[
        list[str] | None,
        typer.Option("--zone", help="Only what was seen and said in this zone; may be repeated. Cannot be verified."),
    ] = None,
    is_followed: Annotated[bool, typer.Option("--follow", help="Go on until it is stopped.")] = False,
    roll_mb: Annotated[
        int, typer.Option("--roll-mb", min=1, help="With --follow to a folder: a new file after so many MB.")
    ] = 1024,
    roll_minutes: Annotated[
        int, typer.Option("--roll-minutes", min=1, help="With --follow to a folder: a new file after so long.")
    ] = 60,
    without_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Leave out the pictures; everything else of a frame is kept.")
    ] = False,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="DIR", help="Put the manifest of this model into the file.")
    ] = None,
    sign: Annotated[
        Path | None, typer.Option("--sign", metavar="KEY", help="Sign each file with this private key (PEM).")
    ] = None,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Record inputs, outputs and journal of a range, as a read_committed consumer without group.

    It begins with the keyframe before the range, and what that needs of the inputs, so that the range can be verified.
    One of --last, --from, --incident or --follow says where it begins.
    """
    loaded = settings_from(config, assignments, flags={"bootstrap": bootstrap})
    asked = _Asked(
        last=last,
        from_time=from_time,
        to_time=to_time,
        incident=incident,
        zones=tuple(zone or ()),
        has_pictures=not without_pictures,
        is_followed=is_followed,
    )
    manifest, key = _read_files(bundle, sign)
    rolling = Rolling(roll_mb * 1_000_000, roll_minutes * 60_000) if is_followed and out.suffix != SUFFIX else None
    opened: list[Sink] = []

    def open_sink(opening: Opening) -> Sink:
        opened.append(Sink(out, opening, rolling=rolling, manifest=manifest, key=key))
        return opened[-1]

    try:
        _run(loaded, asked, open_sink)
    except (TopicMissingError, RecordingError) as error:
        raise CommandError(str(error)) from error
    except FileExistsError as error:
        raise CommandError(f"{error.filename}: expected nothing there, found something: choose another name") from error
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror or error}{_kept(opened)}") from error
    finally:
        for sink in opened:
            _report(sink, asked)


def _read_files(bundle: Path | None, sign: Path | None) -> tuple[bytes | None, Ed25519PrivateKey | None]:
    try:
        manifest = None if bundle is None else load_bundle(bundle).manifest_data
        return manifest, None if sign is None else read_private_key(sign)
    except BundleError as error:
        raise CommandError(f"refused: {error}", status=REFUSED) from error


def _run(loaded: LoadedSettings, asked: _Asked, open_sink: Callable[[Opening], Sink]) -> None:
    connection = connection_to(loaded.operational)
    from_ms, to_ms, task = _range(loaded, asked)
    about = About(
        deployment=loaded.operational.deployment,
        topics=topics_of(loaded.operational),
        partitions=(),
        from_ms=from_ms,
        to_ms=from_ms if to_ms is None else to_ms,
        has_pictures=asked.has_pictures,
        zones=asked.zones,
    )

    def tasks(count: int) -> tuple[int, ...]:
        if task is not None:
            return (task,)
        if asked.zones:
            return tuple(sorted({(murmur2(zone.encode()) & 0x7FFFFFFF) % count for zone in asked.zones}))
        return tuple(range(count))

    async def work() -> None:
        wanted = Wanted(about=about, to_ms=to_ms, tasks=tasks, is_followed=asked.is_followed)
        # Whoever follows ends so.
        with suppress(*((asyncio.CancelledError,) if asked.is_followed else ())):
            await record(connection, wanted, open_sink, version=__version__, tell=notice)

    if asked.zones:
        notice("values of other zones are left out: the recording cannot be verified, only replayed for these zones")
    if asked.is_followed:
        # On the cores of a worker, it takes what that leaves: a recorder that is late catches up.
        os.nice(_NICENESS)
    run_command(work())


def _range(loaded: LoadedSettings, asked: _Asked) -> tuple[int, int | None, int | None]:
    """Return from when, to when if not to what is there now, and the one task if it is one."""
    ways = [asked.last, asked.from_time, asked.incident]
    if sum(way is not None for way in ways) > 1 or not (any(ways) or asked.is_followed):
        raise CommandError("expected one of --last, --from, --incident, or --follow", status=USAGE)
    if asked.to_time is not None and (asked.from_time is None or asked.is_followed):
        raise CommandError("--to goes with --from, and without --follow", status=USAGE)
    if asked.incident is not None:
        if asked.is_followed:
            raise CommandError("--incident does not go with --follow", status=USAGE)
        found = run_command(_search(loaded, asked.incident))
        return found.from_ms, found.to_ms, found.task
    now_ms = SystemClock().wall_ms()
    if asked.from_time is not None:
        from_ms = moment("--from", asked.from_time)
        to_ms = None if asked.to_time is None else moment("--to", asked.to_time)
        if to_ms is not None and not from_ms < to_ms <= now_ms:
            raise CommandError("--to: expected a time after --from that has passed", status=USAGE)
        return from_ms, to_ms, None
    return now_ms - (0 if asked.last is None else _duration_ms(asked.last)), None, None


def moment(option: str, value: str) -> int:
    """Read a time that was typed.

    Raises:
        CommandError: if it is none.
    """
    try:
        return parse_event_time(value)
    except ValueError as error:
        raise CommandError(f"{option}: expected an RFC 3339 time with offset, found {value!r}", status=USAGE) from error


def _duration_ms(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise CommandError(f"--last: expected a number and s, m, h or d, such as 8h, found {text!r}", status=USAGE)
    return int(float(found[1]) * _UNIT_MS[found[2]])


async def _search(loaded: LoadedSettings, incident: str) -> Bearing:
    search = IncidentSearch(incident)
    async with consumer(connection_to(loaded.operational)) as client:
        async for one in read_topic(client, topics_of(loaded.operational).alerts, tell=notice):
            if not isinstance(one, UnreadableRecord):
                search.note(as_topic_record(one))
    return search.found(loaded.semantic)


def _kept(opened: list[Sink]) -> str:
    return "; what was written before can be read" if opened else ""


def _report(sink: Sink, asked: _Asked) -> None:
    until = "" if sink.newest_ms is None else f", until {format_event_time(sink.newest_ms)}"
    files = f"{sink.files[0]}" if len(sink.files) == 1 else f"{len(sink.files)} files in {sink.files[0].parent}"
    pictures = "" if asked.has_pictures else ", without pictures"
    echo(f"wrote {sink.records} records, {sink.size / 1e6:.1f} MB{until}{pictures} to {files}")
    for words in sink.said_unreadable:
        echo(f"UNREADABLE, and not in it: {words}", err=True)
