"""`vigil topics`: create the seven topics, check those that exist, or alter settings that differ.

In: options and settings. Out: a table of what is there and what differs; exit status 4 where a worker would not start,
or where something is to be altered.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.table import Table

from stream_app.adapters.kafka.topic_plans import RETENTION, Difference, Retention, plan_topics
from stream_app.adapters.kafka.topics import (
    FixReport,
    TopicsError,
    TopicsReport,
    check_topics,
    create_topics,
    fix_topics,
)
from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, connection_to, settings_from, topics_of
from stream_app.terminal.console import console
from stream_app.terminal.lines import echo, echo_json
from stream_app.terminal.outcome import REFUSED, USAGE, CommandError, run_command

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create the topics, check or fix those that exist.")
_ResultT = TypeVar("_ResultT")

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
        int, typer.Option("--frames-hours", min=-1, help="How long frames are kept; -1: for ever.")
    ] = Retention().frames_hours,
    texts_hours: Annotated[
        int, typer.Option("--texts-hours", min=-1, help="How long texts are kept.")
    ] = Retention().texts_hours,
    outputs_hours: Annotated[
        int, typer.Option("--outputs-hours", min=-1, help="How long all that Vigil publishes is kept.")
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


@app.command()
def fix(  # noqa: PLR0913 - one parameter an option
    *,
    is_applied: Annotated[bool, typer.Option("--apply", help="Alter them; without it nothing is changed.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--topic", metavar="NAME", help="Only this topic; may be repeated.")
    ] = None,
    frames_hours: Annotated[
        int | None,
        typer.Option("--frames-hours", min=-1, help="Keep frames for at least this long. [default: as it is]"),
    ] = None,
    texts_hours: Annotated[
        int | None, typer.Option("--texts-hours", min=-1, help="Keep texts for at least this long. [default: as it is]")
    ] = None,
    outputs_hours: Annotated[
        int | None, typer.Option("--outputs-hours", min=-1, help="Keep all outputs this long. [default: as it is]")
    ] = None,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: _JsonOption = False,
) -> None:
    """Show which settings of existing topics differ from what a worker needs, and alter them with --apply.

    Nothing but those settings is touched; partition counts and replication never are. Exit status 4 where something is
    left to do.
    """
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    topics = topics_of(operational)
    names = set(msgspec.structs.asdict(topics).values())
    if unknown := sorted(set(only or ()) - names):
        expected = ", ".join(sorted(names))
        raise CommandError(f"--topic: expected one of {expected}, found {', '.join(unknown)}", status=USAGE)
    hours = {"frames_hours": frames_hours, "texts_hours": texts_hours, "outputs_hours": outputs_hours}
    retention = {name: count for name, count in hours.items() if count is not None}
    work = fix_topics(connection_to(operational), topics, retention=retention, only=only or (), is_applied=is_applied)
    _report_fix(_run(work), as_json=as_json)


def _run(work: Coroutine[Any, Any, _ResultT]) -> _ResultT:
    try:
        return run_command(work)
    except TopicsError as error:
        raise CommandError(str(error)) from error


def _report(report: TopicsReport, *, as_json: bool) -> None:
    if as_json:
        echo_json({"fit": report.is_fit, **msgspec.structs.asdict(report)})
    else:
        for name in report.created:
            echo(f"created {name}")
        for name in report.existing:
            echo(f"there   {name}")
        _show((_mark(difference), difference) for difference in report.differences)
        if any(difference.value for difference in report.differences):
            echo("vigil: `vigil topics fix` shows which of these settings it can alter", err=True)
    if not report.is_fit:
        raise CommandError(_would_not_start(report.differences), status=REFUSED)


def _report_fix(report: FixReport, *, as_json: bool) -> None:
    done = "altered" if report.is_applied else "to alter"
    if as_json:
        echo_json({"fit": report.is_fit, **msgspec.structs.asdict(report)})
    else:
        kept = [("left" if not difference.is_fatal else "refused", difference) for difference in report.left]
        _show([*((done, difference) for difference in report.altered), *kept])
        if any(difference.what == RETENTION for difference in report.left):
            hint = "retention is yours to choose: --frames-hours, --texts-hours and --outputs-hours raise it"
            echo(f"vigil: {hint}", err=True)
    if report.altered and not report.is_applied:
        raise CommandError(f"settings to alter: {len(report.altered)}; `--apply` alters them", status=REFUSED)
    if not report.is_fit:
        raise CommandError(f"{_would_not_start(report.left)}; settings alone do not fix them", status=REFUSED)
    echo(f"vigil: settings altered: {len(report.altered)}, differences left: {len(report.left)}", err=True)


def _would_not_start(differences: Iterable[Difference]) -> str:
    fatal = [difference for difference in differences if difference.is_fatal]
    is_missing = any(difference.found == "missing" for difference in fatal)
    words = f"{len(fatal)} differences would keep a worker from starting"
    if not is_missing:
        return words
    # Brokers do not tell a topic that is not there from one that may not be seen.
    return (
        f"{words}; `vigil topics create --partitions N` makes topics that are missing, or the right DESCRIBE on them "
        "is missing"
    )


def _mark(difference: Difference) -> str:
    return "refused" if difference.is_fatal else "warning"


def _show(marked: Iterable[tuple[str, Difference]]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "topic", "what", "expected", "found", "what it costs"):
        table.add_column(heading, overflow="fold")
    for mark, difference in marked:
        table.add_row(mark, difference.topic, difference.what, difference.expected, difference.found, difference.cost)
    if table.row_count:
        console().print(table)
