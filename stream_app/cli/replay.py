"""`vigil replay`: recordings judged again, by what was in force then, another bundle or other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_app.adapters.observing.logs import configure_logging
from stream_app.adapters.recording.layout import SUFFIX
from stream_app.cli.judging import (
    ExpectOption,
    HtmlOption,
    JsonOption,
    JunitOption,
    RecordingsArgument,
    TextsOption,
    ZoneOption,
    expectations_from,
    failures,
    hand_over,
    progress,
    require_new,
    say_written,
)
from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, settings_from
from stream_app.config import is_semantic
from stream_app.replay.session import Asked
from stream_app.terminal.outcome import USAGE, CommandError, run_command
from stream_app.wiring.recordings import DEFAULT_ZONE, Beside

app = typer.Typer(add_completion=False, help="Judge recordings again, without a broker.")


@app.command()
def replay(  # noqa: PLR0913 - one parameter an option
    recordings: RecordingsArgument,
    *,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="DIR", help="The bundle to judge by. [default: the recorded one]"),
    ] = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
    html: HtmlOption = None,
    expect: ExpectOption = None,
    junit: JunitOption = None,
    zone: ZoneOption = DEFAULT_ZONE,
    texts: TextsOption = None,
    to_kafka: Annotated[
        bool, typer.Option("--to-kafka", help="Judge nothing: play frames and texts into the input topics.")
    ] = False,
    speed: Annotated[
        str | None, typer.Option("--speed", metavar="N|max", help="With --to-kafka. [default: 1, real time]")
    ] = None,
    same_topics: Annotated[
        bool, typer.Option("--same-topics", help="With --to-kafka: even into the topics that were recorded.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar=f"NEW{SUFFIX}", help="Write the replay as a recording of its own."),
    ] = None,
    has_recorded_overload: Annotated[
        bool,
        typer.Option("--recorded-overload", help="Take ticks and thinning levels from the journal of that time."),
    ] = False,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Judge recordings by what was in force when they began, changed by --bundle and --set. Nothing is published.

    With --to-kafka nothing is judged: frames and texts go to the input topics of the settings, as if they came now.
    """
    if to_kafka:
        # Here and not at the top: judging needs none of what feeding does.
        from stream_app.cli.playing import play_to_kafka, refuse_beside  # noqa: PLC0415

        others = {"--bundle": bundle, "--json": as_json, "--html": html, "--expect": expect, "--junit": junit}
        others |= {"--out": out, "--recorded-overload": has_recorded_overload}
        refuse_beside("--to-kafka", others)
        play_to_kafka(
            recordings,
            Beside(zone, texts),
            settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational,
            speed=speed,
            is_same_allowed=same_topics,
        )
        return
    if speed is not None or same_topics or bootstrap is not None:
        raise CommandError("--speed, --same-topics and --bootstrap go with --to-kafka", status=USAGE)
    if out is not None:
        _require_room_for_one(recordings, out)
    given = assignments or []
    loaded = settings_from(config, [one for one in given if not is_semantic(one)])
    expectations = expectations_from(expect, junit)
    # Here and not at the top: wrong usage is said before ONNX Runtime is loaded.
    from stream_app.wiring.replaying import Choice, Plan, run_plan  # noqa: PLC0415

    plan = Plan(
        paths=tuple(recordings),
        choices=(Choice(bundle, tuple(one for one in given if is_semantic(one))),),
        asked=Asked(expectations=expectations, has_recorded_overload=has_recorded_overload),
        has_page=html is not None,
        out=out,
        beside=Beside(zone, texts),
    )
    configure_logging(loaded.operational.log_format, "warning")
    with failures(), progress() as tell:
        report, shown = run_command(run_plan(plan, loaded, tell=tell, tell_written=say_written))
    hand_over(report, shown, as_json=as_json, html=html, junit_path=junit)


def _require_room_for_one(recordings: list[Path], out: Path) -> None:
    """Make sure that a replay can be written: each recording is judged from nothing, so there is one of each.

    Raises:
        CommandError: if there are several, the name is no recording's, or something is there already.
    """
    if len(recordings) != 1:
        raise CommandError(
            f"--out: expected one REC with it (a folder of files that follow one another is one), found "
            f"{len(recordings)}: each would begin from nothing",
            status=USAGE,
        )
    require_new(out)
