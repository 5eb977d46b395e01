"""`vigil status`: when each camera and zone was last heard from, and which cameras have gone silent.

In: options. Out: a table or JSON, once, by the last records of the input topics.
"""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from stream_app.adapters.kafka.to_the_end import TopicMissingError
from stream_app.adapters.reading.alerts import CameraStatus, InputStatus, input_status
from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, connection_to, settings_from, topics_of
from stream_app.terminal.console import console
from stream_app.terminal.lines import echo, echo_json
from stream_app.terminal.outcome import CommandError, notice, run_command
from stream_app.terminal.sanitise import visible

app = typer.Typer(add_completion=False, help="Show when each camera and zone was last heard from.")

#: So many places that cannot be read are named; the dead letters name all.
_MAX_UNREADABLE = 10


@app.command()
def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, with times in ms since 1970.")] = False,
    silent_after_s: Annotated[
        float, typer.Option("--silent-after", metavar="SECONDS", help="After how long a camera counts as silent.")
    ] = 10.0,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Show when each camera and zone was last heard from, by the last records of the input topics."""
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    now_ms = time.time_ns() // 1_000_000
    reading = input_status(connection_to(operational), topics_of(operational), now_ms=now_ms, tell=notice)
    try:
        found = run_command(reading)
    except TopicMissingError as error:
        raise CommandError(str(error)) from error
    if as_json:
        echo_json({"now_ms": now_ms, **msgspec.structs.asdict(found)})
    else:
        _show(found, now_ms, round(silent_after_s * 1_000))


def _show(found: InputStatus, now_ms: int, silent_after_ms: int) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("zone", "camera", "partition", "last frame", ""):
        table.add_column(heading, overflow="fold")
    for camera in found.cameras:
        age_ms = now_ms - camera.newest_ms
        word = Text("silent", style="bold red") if age_ms > silent_after_ms else Text("ok", style="green")
        table.add_row(visible(camera.zone), visible(camera.camera or "-"), str(camera.partition), _age(age_ms), word)
    for text in found.texts:
        table.add_row(visible(text.zone), "(texts)", str(text.partition), _age(now_ms - text.newest_ms), "")
    screen = console()
    screen.print(table)
    if found.blind_zones:
        names = visible(", ".join(found.blind_zones))
        screen.print(Text(f"texts but no frames in the last ten minutes: {names}", style="bold red"))
    for place in found.unreadable[:_MAX_UNREADABLE]:
        screen.print(Text(f"cannot be read: {place}", style="bold red"))
    if len(found.unreadable) > _MAX_UNREADABLE:
        screen.print(Text(f"and {len(found.unreadable) - _MAX_UNREADABLE} more", style="bold red"))
    silent = sum(1 for camera in found.cameras if _is_silent(camera, now_ms, silent_after_ms))
    echo(
        f"{len(found.cameras)} cameras, {silent} silent, by the last {found.looked_at} records; "
        "a camera whose frames are further back is not listed"
    )


def _is_silent(camera: CameraStatus, now_ms: int, silent_after_ms: int) -> bool:
    return now_ms - camera.newest_ms > silent_after_ms


def _age(age_ms: int) -> str:
    seconds = max(age_ms, 0) // 1_000
    if seconds < 120:
        return f"{seconds} s ago"
    return f"{seconds // 60} min ago" if seconds < 7_200 else f"{seconds // 3_600} h ago"
