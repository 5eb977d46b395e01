"""`vigil feed`: videos, folders of images, cameras and texts to the input topics.

In: sources and options. Out: records on the topics, a progress bar on stderr, counts as the last line.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from aiokafka.errors import KafkaError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn

from stream_app.adapters.feed import (
    Camera,
    FeedError,
    FeedReport,
    FeedSettings,
    Footage,
    Sent,
    TimedText,
    Turns,
    feed_frames,
    feed_texts,
    feeding_producer,
    read_texts,
)
from stream_app.adapters.kafka.connection import Connection
from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, connection_to, settings_from, topics_of
from stream_app.core.event_time import format_event_time, parse_event_time
from stream_app.runtime.together import run_together
from stream_app.terminal.console import console, words_column
from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import BROKER_UNREACHABLE, USAGE, CommandError, run_command
from stream_app.wire.topics import Topics
from stream_app.wiring.footage import TOPIC_MARK, open_source
from stream_app.wiring.recordings import DEFAULT_ZONE

app = typer.Typer(add_completion=False, help="Send videos, images, cameras and texts to the input topics.")

_SPEC = re.compile(r"(?P<name>[^=:]+)=(?P<zone>[^:]+):(?P<source>.+)")
_TEXTS = ("", "")


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be played, all checked."""

    cameras: tuple[tuple[Camera, Footage], ...]
    texts: tuple[TimedText, ...]
    settings: FeedSettings
    zone: str
    texts_source: str


@app.command()
def feed(  # noqa: PLR0913 - one parameter an option
    *,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="A video file, a folder of images, an MCAP file (#TOPIC behind it, if it has several), "
            "http:// (MJPEG), rtsp://, or a webcam's number.",
        ),
    ] = None,
    zone: Annotated[
        str, typer.Option("--zone", help="Zone of the sources and of texts that name none.")
    ] = DEFAULT_ZONE,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            "--camera",
            help="A source's camera name, in the order of the sources; or another source, as NAME=ZONE:SOURCE. "
            "May be repeated. [default: the file's name]",
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option("--texts", metavar="FILE", help="Texts with times: .jsonl, .csv (time,text,...) or plain lines."),
    ] = None,
    speed: Annotated[float, typer.Option("--speed", min=0, help="1: real time; 0: as fast as possible.")] = 1.0,
    fps: Annotated[
        float | None,
        typer.Option("--fps", min=0.001, help="At most this many frames a second. [default: all; folders: 1]"),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Start again when a source ends.")] = False,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="TIME",
            help="Event time of the first frame, RFC 3339. [default: now; faster than real time: so that it ends now]",
        ),
    ] = None,
    quality: Annotated[int, typer.Option("--quality", min=1, max=100, help="Quality of JPEGs encoded here.")] = 85,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Send frames and texts, as CloudEvents, to the input topics.

    With --loop, or from a live camera, it runs until Ctrl-C, which is its ordinary end.
    """
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    try:
        cameras = tuple(
            (chosen, open_source(chosen.source, fps=fps, quality=quality))
            for chosen in choose_cameras(sources or [], camera or [], zone)
        )
        require_name("zone", zone)
        timed = read_texts(texts) if texts is not None else ()
    except FeedError as error:
        raise CommandError(str(error)) from error
    if not cameras and not timed:
        raise CommandError("expected a source, --camera NAME=ZONE:SOURCE or --texts FILE, found none", status=USAGE)
    settings = FeedSettings(speed=speed, start_ms=_start_ms(start, speed, loop, cameras, timed), is_looping=loop)
    plan = _Plan(cameras=cameras, texts=timed, settings=settings, zone=zone, texts_source=texts.name if texts else "")
    _run(connection_to(operational), topics_of(operational), plan)


def choose_cameras(sources: list[str], cameras: list[str], zone: str) -> list[Camera]:
    """Pair sources with names.

    Args:
        sources: the positional arguments.
        cameras: the values of ``--camera``: names for the sources in order, or ``NAME=ZONE:SOURCE``.
        zone: of the positional sources.

    Raises:
        CommandError: if names are left over, or one camera is named twice in a zone; exit status 2.
    """
    specs = [_SPEC.fullmatch(value) for value in cameras]
    names = [value for value, spec in zip(cameras, specs, strict=True) if spec is None]
    if len(names) > len(sources):
        found = ", ".join(names[len(sources) :])
        raise CommandError(
            f"--camera: expected NAME=ZONE:SOURCE, or a source for each name; found {found}", status=USAGE
        )
    named = names + [_own_name(source, number) for number, source in enumerate(sources[len(names) :], len(names) + 1)]
    chosen = [Camera(name=name, zone=zone, source=source) for name, source in zip(named, sources, strict=True)]
    chosen += [Camera(**spec.groupdict()) for spec in specs if spec is not None]
    for camera in chosen:
        require_name("zone", camera.zone)
        require_name("camera", camera.name)
    keys = [(camera.zone, camera.name) for camera in chosen]
    twice = sorted({f"{key[1]} in {key[0]}" for key in keys if keys.count(key) > 1})
    if twice:
        raise CommandError(
            f"expected a distinct name for each camera of a zone, found twice: {', '.join(twice)}", status=USAGE
        )
    return chosen


def require_name(what: str, name: str) -> None:
    """Require a zone's or camera's name that can be a key or header: not empty, and UTF-8.

    Raises:
        CommandError: if it is neither; exit status 2.
    """
    # Bytes of the command line that are no UTF-8 come as lone surrogates.
    if not name or any("\ud800" <= character <= "\udfff" for character in name):
        raise CommandError(f"--{what}: expected a name in UTF-8, found {name!r}", status=USAGE)


def _own_name(source: str, number: int) -> str:
    if TOPIC_MARK in source:
        return source.partition(TOPIC_MARK)[2].strip("/") or f"camera-{number}"
    is_file = "://" not in source and not source.isdecimal()
    return Path(source).stem if is_file and Path(source).stem else f"camera-{number}"


def _start_ms(
    start: str | None,
    speed: float,
    loop: bool,  # noqa: FBT001 - passed on as it was typed
    cameras: tuple[tuple[Camera, Footage], ...],
    texts: tuple[TimedText, ...],
) -> int:
    """Return the event time of the beginning; nothing may be in the future, or the worker refuses it."""
    if start is not None:
        try:
            return parse_event_time(start)
        except ValueError as error:
            raise CommandError(f"--start: {error}", status=USAGE) from error
    own = [text.time_ms for text in texts if text.time_ms is not None]
    if own and not cameras and all(text.offset_ms is None for text in texts):
        return min(own)
    now_ms = time.time_ns() // 1_000_000
    if 0 < speed <= 1:
        return now_ms
    if loop and any(not footage.is_live for _, footage in cameras):
        raise CommandError(
            "--loop faster than real time runs ahead of the clock: expected --start with a time in the past",
            status=USAGE,
        )
    lengths = [footage.length_ms or 0 for _, footage in cameras] + [text.offset_ms or 0 for text in texts]
    return now_ms - max(lengths, default=0)


def _run(connection: Connection, topics: Topics, plan: _Plan) -> None:
    never_ends = plan.settings.is_looping or any(footage.is_live for _, footage in plan.cameras)
    columns = (
        words_column("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        words_column("{task.fields[mib]:.1f} MiB"),
        TimeElapsedColumn(),
    )
    reports: list[FeedReport] = []
    with Progress(*columns, console=console(err=True)) as progress:
        try:
            run_command(_feed(connection, topics, plan, progress, reports))
        except FeedError as error:
            raise CommandError(str(error)) from error
        except KafkaError as error:
            message = f"the brokers at {connection.bootstrap} no longer confirm: {error}"
            raise CommandError(message, status=BROKER_UNREACHABLE) from error
        except KeyboardInterrupt:
            if not never_ends:
                raise
    started = format_event_time(plan.settings.start_ms)
    sent = sum(task.completed for task in progress.tasks)
    too_large = sum(report.too_large for report in reports)
    echo(f"sent {sent:.0f} records, event times from {started}; {too_large} were too large")
    if too_large:
        raise CommandError(f"{too_large} records were larger than the brokers accept")


async def _feed(
    connection: Connection, topics: Topics, plan: _Plan, progress: Progress, reports: list[FeedReport]
) -> None:
    bars: dict[tuple[str, str], TaskID] = {}
    for camera, footage in plan.cameras:
        total = None if plan.settings.is_looping else footage.count
        bars[camera.zone, camera.name] = progress.add_task(f"{camera.name} ({camera.zone})", total=total, mib=0.0)
    if plan.texts:
        bars[_TEXTS] = progress.add_task("texts", total=len(plan.texts), mib=0.0)
    megabytes = dict.fromkeys(bars, 0.0)

    def confirmed(sent: Sent) -> None:
        bar = (sent.zone, sent.camera) if sent.camera else _TEXTS
        megabytes[bar] += sent.size / 1_048_576
        progress.update(bars[bar], advance=1, mib=megabytes[bar])

    def noted(camera: Camera, word: str) -> None:
        progress.console.print(f"{camera.name} ({camera.zone}): {word}", soft_wrap=True)

    def told(words: str) -> None:
        progress.console.print(f"vigil: {words}", soft_wrap=True)

    turns = _turns(plan)
    async with feeding_producer(connection, tell=told) as client:
        jobs = []
        if plan.cameras:
            jobs.append(
                feed_frames(
                    client,
                    topics.frames,
                    plan.cameras,
                    plan.settings,
                    confirmed=confirmed,
                    noted=noted,
                    turns=turns,
                )
            )
        if plan.texts:
            jobs.append(
                feed_texts(
                    client,
                    topics.texts,
                    plan.texts,
                    plan.settings,
                    zone=plan.zone,
                    source=plan.texts_source,
                    confirmed=confirmed,
                    turns=turns,
                )
            )
        reports.extend(await run_together(jobs))


def _turns(plan: _Plan) -> Turns | None:
    """Return turns for what is played faster than real time; the clock keeps the rest in order."""
    if 0 < plan.settings.speed <= 1:
        return None
    return Turns(sum(not footage.is_live for _, footage in plan.cameras) + bool(plan.texts))
