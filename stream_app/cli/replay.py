"""`vigil replay`: recordings judged again, by what was in force then, another bundle or other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_app.adapters.observing.logs import configure_logging
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
)
from stream_app.cli.options import ConfigOption, SetOption, settings_from
from stream_app.config import is_semantic
from stream_app.replay.session import Asked
from stream_app.terminal.outcome import run_command
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
    config: ConfigOption = None,
) -> None:
    """Judge recordings by what was in force when they began, changed by --bundle and --set. Nothing is published."""
    given = assignments or []
    loaded = settings_from(config, [one for one in given if not is_semantic(one)])
    expectations = expectations_from(expect, junit)
    # Here and not at the top: wrong usage is said before ONNX Runtime is loaded.
    from stream_app.wiring.replaying import Choice, Plan, run_plan  # noqa: PLC0415

    plan = Plan(
        paths=tuple(recordings),
        choices=(Choice(bundle, tuple(one for one in given if is_semantic(one))),),
        asked=Asked(expectations=expectations),
        has_page=html is not None,
        beside=Beside(zone, texts),
    )
    configure_logging(loaded.operational.log_format, "warning")
    with failures(), progress() as tell:
        report, shown = run_command(run_plan(plan, loaded, tell=tell))
    hand_over(report, shown, as_json=as_json, html=html, junit_path=junit)
