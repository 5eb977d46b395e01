"""`vigil site`: the drawn security site, to look at and to play from files.

In: the command line. Out: pictures and texts with their truth in files, or a recording. It must not know how a site
is drawn.

Exit status: 0 done, 1 failed, 2 wrong usage, 4 a bundle or a setting was refused.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer
from rich.progress import track

from stream_app.adapters.recording.layout import SUFFIX
from stream_app.cli.options import ConfigOption, SetOption, settings_from, topics_of
from stream_app.config import LoadedSettings
from stream_app.drawn_site import LABELS, Report, Schedule, Site, contact_sheet
from stream_app.replay.recording import Recording
from stream_app.terminal.console import console
from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import CommandError, run_command

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The drawn security site: frames and alarm texts with known truth."
)

_Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn and said.")]


@app.command()
def sheet(
    *,
    out: Annotated[Path, typer.Option("--out", help="Picture to write, .png or .jpg.")],
    seed: _Seed = 0,
) -> None:
    """Draw every event and every look-alike, by day and by night, on one sheet."""
    try:
        is_written = cv2.imwrite(str(out), contact_sheet(seed))
    except cv2.error as error:
        raise CommandError(f"{out}: expected a name that ends in .png or .jpg") from error
    if not is_written:
        raise CommandError(f"{out}: expected a file that can be written, in a folder that exists")
    echo(f"wrote {out}")


@app.command()
def play(
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must be empty or new.")],
    seconds: Annotated[int, typer.Option("--seconds", min=15, help="Length.")] = 60,
    fps: Annotated[float, typer.Option("--fps", min=0.1, max=30, help="Frames per second and camera.")] = 4.0,
    zones: Annotated[int, typer.Option("--zones", min=1, max=64)] = 4,
    cameras: Annotated[int, typer.Option("--cameras", min=1, max=3, help="Cameras per zone.")] = 2,
    seed: _Seed = 0,
) -> None:
    """Play the site for a while into files.

    Writes OUT/ZONE/CAMERA/MILLISECONDS.jpg, the alarm texts as OUT/texts.jsonl, and what really happens as
    OUT/truth.json. To put it on the topics: `vigil feed --camera c1=zone-1:OUT/zone-1/c1 --fps 4 --texts
    OUT/texts.jsonl`, with a --camera for each folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CommandError(f"{out}: expected an empty or new folder, found something there")
    schedule = Site(seed, zones=zones, cameras_per_zone=cameras).schedule(seconds * 1000)
    try:
        out.mkdir(parents=True, exist_ok=True)
        count = _write_frames(schedule, out, period_ms=1000 / fps)
        _write_words(schedule, out)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
    echo(f"wrote {count} frames, {len(schedule.reports)} texts, {len(schedule.incidents)} incidents to {out}")


@app.command("record")
def record_command(  # noqa: PLR0913 - one parameter an option
    *,
    out: Annotated[Path, typer.Option("--out", metavar=f"NEW{SUFFIX}", help="Recording to write.")],
    minutes: Annotated[float, typer.Option("--minutes", min=0.25, max=1_440, help="Length.")] = 10.0,
    fps: Annotated[float, typer.Option("--fps", min=0.1, max=30, help="Frames per second and camera.")] = 4.0,
    zones: Annotated[int, typer.Option("--zones", min=1, max=64)] = 4,
    cameras: Annotated[int, typer.Option("--cameras", min=1, max=3, help="Cameras per zone.")] = 2,
    seed: _Seed = 0,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="DIR", help="The bundle to judge by. [default: the demo's]")
    ] = None,
    assignments: SetOption = None,
    config: ConfigOption = None,
) -> None:
    """Record the site as a deployment would have, with journal, scores and alerts; no Kafka is needed.

    A recording to try `vigil verify`, `vigil replay` and `vigil compare` on. Equal arguments, settings and versions
    give equal bytes.
    """
    # Here and not at the top: the other commands read no recordings.
    from stream_app.cli.judging import require_new  # noqa: PLC0415

    require_new(out)
    loaded = settings_from(config, assignments)
    topics = topics_of(loaded.operational)
    # Here and not at the top: the other commands need no client of Kafka.
    from stream_app.demo.recorded import PlayedRecording  # noqa: PLC0415
    from stream_app.demo.scenes import drawn_scene  # noqa: PLC0415

    scene = drawn_scene(
        seed=seed,
        duration_ms=round(minutes * 60_000),
        zones=zones,
        cameras=cameras,
        fps=fps,
        topics=(topics.frames, topics.texts),
    )
    _record(PlayedRecording(scene.play, topics, deployment="drawn-site"), loaded, out, bundle)


def _record(recording: Recording, loaded: LoadedSettings, out: Path, bundle: Path | None) -> None:
    # Here and not at the top: the other commands need no ONNX Runtime.
    from stream_app.adapters.observing.logs import configure_logging  # noqa: PLC0415
    from stream_app.cli.judging import failures, progress, say_written  # noqa: PLC0415
    from stream_app.replay.session import Asked, Named  # noqa: PLC0415
    from stream_app.wiring.replaying import Choice, Plan, run_plan  # noqa: PLC0415

    plan = Plan(paths=(), choices=(Choice(bundle),), asked=Asked(), out=out)
    drawn = Named("drawn site", recording, None)
    configure_logging(loaded.operational.log_format, "warning")
    with failures(), progress() as tell:
        report, _ = run_command(run_plan(plan, loaded, drawn=drawn, tell=tell, tell_written=say_written))
    (judged,) = report.recordings
    echo(f"{judged.frames:,} frames, {judged.texts:,} texts, {len(report.base.incidents)} incidents")


def _write_frames(schedule: Schedule, out: Path, *, period_ms: float) -> int:
    count = 0
    for camera in track(schedule.cameras, description="drawing", console=console(), transient=True):
        folder = out / camera.zone.name / camera.name
        folder.mkdir(parents=True)
        for number in range(int(schedule.duration_ms / period_ms)):
            t_ms = round(number * period_ms)
            (folder / f"{t_ms:08d}.jpg").write_bytes(camera.jpeg(t_ms))
            count += 1
    return count


def _line(report: Report) -> dict[str, Any]:
    """Return a report with the field `time`, in seconds since the start, by which `vigil feed --texts` sends it."""
    return {"time": max(0, report.event_time_ms) / 1000, **asdict(report)}


def _write_words(schedule: Schedule, out: Path) -> None:
    lines = [json.dumps(_line(report), ensure_ascii=False) for report in schedule.reports]
    (out / "texts.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    truth = {
        "labels": LABELS,
        "duration_ms": schedule.duration_ms,
        "incidents": [asdict(incident) for incident in schedule.incidents],
        "look_alikes": [{"zone": zone, **asdict(act)} for zone, act in schedule.lookalikes],
        "cameras": [{"zone": camera.zone.name, "camera": camera.name} for camera in schedule.cameras],
    }
    (out / "truth.json").write_text(json.dumps(truth, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
