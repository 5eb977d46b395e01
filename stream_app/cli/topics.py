"""`vigil topics`: create the seven topics, or check those that exist.

In: options and settings. Out: a table of what is there and what differs; exit status 4 where a worker would not start.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from stream_app.adapters.topics import (
    Retention,
    TopicsError,
    TopicsReport,
    check_topics,
    create_topics,
    plan_topics,
)
from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, connection_to, settings_from, topics_of
from stream_app.cli.outcome import REFUSED, CommandError, run_command
from stream_app.terminal.console import console
from stream_app.terminal.lines import echo, echo_json

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create the topics, or check those that exist.")

_JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")]


@app.command()
def create(  # noqa: PLR0913 - one parameter an option
    *,
    partitions: Annotated[
        int, typer.Option("--partitions", min=1, help="Of each topic; fixed for life. At least as many as workers.")
    ] = 16,
    replication: Annotated[
        int | None, typer.Option("--replication", min=1, help="Copies. [default: 3, or one per broker]")
    ] = None,
    frames_hours: Annotated[
        int, typer.Option("--frames-hours", min=-1, help="How long frames stay; -1: for ever.")
    ] = Retention().frames_hours,
    texts_hours: Annotated[
        int, typer.Option("--texts-hours", min=-1, help="How long texts stay.")
    ] = Retention().texts_hours,
    outputs_hours: Annotated[
        int, typer.Option("--outputs-hours", min=-1, help="How long all that Vigil publishes stays.")
    ] = Retention().outputs_hours,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: _JsonOption = False,
) -> None:
    """Create the topics that are missing; compare, and never change, those that exist."""
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    retention = Retention(frames_hours=frames_hours, texts_hours=texts_hours, outputs_hours=outputs_hours)
    plans = plan_topics(topics_of(operational), partitions, retention=retention)
    _report(_run(create_topics(connection_to(operational), plans, replication=replication)), as_json=as_json)


@app.command()
def check(
    *,
    partitions: Annotated[
        int | None, typer.Option("--partitions", min=1, help="Expected of each. [default: as the frames topic]")
    ] = None,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: _JsonOption = False,
) -> None:
    """Compare the topics with what they should be; change nothing. Exit status 4 where a worker would not start."""
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    report = _run(check_topics(connection_to(operational), topics_of(operational), partitions=partitions))
    _report(report, as_json=as_json)


def _run(work: Any) -> TopicsReport:  # noqa: ANN401 - a coroutine of a report
    try:
        report: TopicsReport = run_command(work)
    except TopicsError as error:
        raise CommandError(str(error)) from error
    return report


def _report(report: TopicsReport, *, as_json: bool) -> None:
    if as_json:
        echo_json({"fit": report.is_fit, **msgspec.structs.asdict(report)})
    else:
        for name in report.created:
            echo(f"created {name}")
        for name in report.existing:
            echo(f"there   {name}")
        if report.differences:
            console().print(_table(report))
    if not report.is_fit:
        fatal = sum(difference.is_fatal for difference in report.differences)
        is_missing = any(difference.found == "missing" for difference in report.differences)
        advice = "; `vigil topics create --partitions N` makes those that are missing" if is_missing else ""
        raise CommandError(f"{fatal} differences would keep a worker from starting{advice}", status=REFUSED)


def _table(report: TopicsReport) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "topic", "what", "expected", "found", "what it costs"):
        table.add_column(heading, overflow="fold")
    for difference in report.differences:
        mark = "refused" if difference.is_fatal else "warning"
        table.add_row(mark, difference.topic, difference.what, difference.expected, difference.found, difference.cost)
    return table
