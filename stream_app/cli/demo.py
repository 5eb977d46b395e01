"""`vigil demo`: the whole thing on one machine, on a drawn site or on videos, with a worker killed on the way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from stream_app.config import Operational
from stream_app.terminal.console import PicturedConsole
from stream_app.terminal.outcome import FAILED, USAGE, CommandError, run_command
from stream_app.wiring.clients import topics_of

if TYPE_CHECKING:
    from stream_app.demo.scenes import Scene

app = typer.Typer(
    add_completion=False, help="See it work: a Kafka, two workers, drawn cameras, alerts, a worker killed."
)

#: Small enough to be seen in a minute; a deployment's defaults are larger.
_WINDOW = {"before_ms": 2_000, "after_ms": 2_000, "grace_ms": 1_000, "quiet_ms": 5_000, "sample_ms": 500}
#: So that the take-over after the SIGKILL is seen, too; a deployment's default is 10 s.
_QUICK_FAILOVER = {"session_timeout_ms": 6_000, "heartbeat_ms": 2_000, "decode_children": 1, "ort_threads": 1}
_VIDEO_SENTENCES = (
    "two people are fighting near the entrance",
    "someone left a bag unattended by the door",
    "all quiet, routine check",
    "smoke is coming out of the back room",
    "a car has driven through the barrier",
    "入口附近有人打架",
)


@app.command()
def demo(  # noqa: PLR0913 - one parameter an option
    *,
    video: Annotated[
        list[Path] | None,
        typer.Option(
            "--video",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Play this file instead of the site; may be repeated.",
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            "--texts",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="With --video: the reports, one sentence a line. [default: six bundled ones]",
        ),
    ] = None,
    seconds: Annotated[int, typer.Option("--seconds", min=15, help="Length of the demo.")] = 60,
    zones: Annotated[int, typer.Option("--zones", min=1, help="Zones of the drawn site.")] = 6,
    cameras: Annotated[int, typer.Option("--cameras", min=1, help="Cameras per zone of the drawn site.")] = 2,
    fps: Annotated[float, typer.Option("--fps", min=0.2, help="Frames per second and camera.")] = 4.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of what happens on the drawn site.")] = 5,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where records, outputs and logs are kept.")] = Path(
        ".demo"
    ),
    kills: Annotated[bool, typer.Option("--kill/--no-kill", help="Kill a worker with SIGKILL on the way.")] = True,
    bundle: Annotated[Path | None, typer.Option("--bundle", metavar="DIR", help="Another model bundle.")] = None,
) -> None:
    """Play a site through a local Kafka in real time, show alerts as they come, and judge what came out.

    Exit status 1 if anything was lost, repeated or wrongly paired. Where VIGIL_BROKER is set, that Kafka is used, with
    topics of the demo's own.
    """
    from stream_app.demo.run import DemoSettings, demo_kafka, run_demo  # noqa: PLC0415
    from stream_app.demo.scenes import SceneError  # noqa: PLC0415
    from stream_app.demo.truth import Window  # noqa: PLC0415
    from stream_app.demo.workers import WorkerError  # noqa: PLC0415
    from stream_app.local_kafka import LocalKafkaError  # noqa: PLC0415
    from stream_app.wire.topics import Topics  # noqa: PLC0415 - so that --help is quick

    if texts is not None and not video:
        message = "--texts: expected --video with it; the drawn site has its own texts"
        raise CommandError(message, status=USAGE)
    bootstrap = os.environ.get("VIGIL_BROKER") or None
    names = topics_of(Operational())
    prefix = f"vigil-demo-{os.getpid()}"
    if bootstrap is not None:
        names = Topics(**{name: f"{prefix}.{name}" for name in names.__struct_fields__})
    topics = (names.frames, names.texts)
    try:
        scene = _scene(video or [], texts, seconds, zones=zones, cameras=cameras, fps=fps, seed=seed, topics=topics)
    except SceneError as error:
        raise CommandError(str(error), status=USAGE) from error
    settings = DemoSettings(
        out=out,
        bootstrap=bootstrap or "",
        topics=names,
        deployment=prefix,
        window=Window(**{name: _WINDOW[name] for name in Window.__struct_fields__}),
        worker_settings={
            **_WINDOW,
            **_QUICK_FAILOVER,
            # Named by hand, for a play on this machine: nobody has to sign it.
            **({"bundle": bundle, "allow_unsigned": True} if bundle is not None else {}),
            **{f"{name}_topic": getattr(names, name) for name in names.__struct_fields__},
        },
        kill_at=0.4 if kills else None,
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"--out: expected a folder that can be written, found {out}: {error.strerror}"
        raise CommandError(message) from error
    screen = PicturedConsole()
    try:
        with demo_kafka(bootstrap, screen) as address:
            is_right = run_command(run_demo(scene, msgspec.structs.replace(settings, bootstrap=address), screen))
    except (LocalKafkaError, WorkerError) as error:
        raise CommandError(str(error)) from error
    if not is_right:
        message = "the demo found faults: see above"
        raise CommandError(message, status=FAILED)


def _scene(
    videos: list[Path],
    texts: Path | None,
    seconds: int,
    *,
    zones: int,
    cameras: int,
    fps: float,
    seed: int,
    topics: tuple[str, str],
) -> Scene:
    from stream_app.demo.scenes import drawn_scene, video_scene  # noqa: PLC0415 - loads OpenCV

    if not videos:
        return drawn_scene(seed=seed, duration_ms=seconds * 1_000, zones=zones, cameras=cameras, fps=fps, topics=topics)
    sentences = list(_VIDEO_SENTENCES) if texts is None else _lines(texts)
    return video_scene(videos, sentences, fps=fps, limit_ms=seconds * 1_000, topics=topics)


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: expected sentences in UTF-8, found {error}"
        raise CommandError(message, status=USAGE) from error
    found = [
        sentence for number, line in enumerate(lines, 1) if (sentence := _sentence(line, f"{path}, line {number}"))
    ]
    if not found:
        message = f"{path}: expected sentences, one a line, found none"
        raise CommandError(message, status=USAGE)
    return found


def _sentence(line: str, where: str) -> str:
    """Return a line, or the field `text` of one that is a JSON object."""
    if not line.startswith("{"):
        return line
    try:
        text = json.loads(line).get("text")
    except ValueError:
        text = None
    if not isinstance(text, str):
        message = f"{where}: expected a sentence, or a JSON object with a text, found {line[:60]!r}"
        raise CommandError(message, status=USAGE)
    return text.strip()
