"""`vigil watch`: alerts as they come.

In: options. Out: one line per alert, readable in a terminal or JSON for pipes. Ctrl-C is its ordinary end: status 0.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.to_the_end import TopicMissingError
from stream_app.adapters.reading.alerts import Seen, Wanted, watch_alerts
from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, connection_to, settings_from, topics_of
from stream_app.terminal.console import console
from stream_app.terminal.lines import echo, echo_json
from stream_app.terminal.outcome import USAGE, CommandError, notice, run_command
from stream_app.terminal.sanitise import visible
from stream_app.wire.alerts import Alert, Notice

app = typer.Typer(add_completion=False, help="Show alerts as they come.")

_STYLES = {"opened": "bold red", "updated": "yellow", "closed": "green"}
_COLUMNS = "{:<24} {:<8} {:<12} {:<12} {:>5} {:>3}  {:<20} {}"
#: In terminals that are narrower than this an alert has two lines: the second begins under the phase, with the id.
_WIDE = 130
_SECOND_LINE = "\n" + " " * 25


class _Counts:
    """What was shown, for the last line."""

    def __init__(self) -> None:
        self.shown = 0
        self.foreign = 0
        self.unreadable = 0


@app.command()
def watch(  # noqa: PLR0913 - one parameter an option
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, as on the topic.")] = False,
    zone: Annotated[list[str] | None, typer.Option("--zone", help="Only this zone; may be repeated.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="Only this label; may be repeated.")] = None,
    phase: Annotated[
        list[str] | None, typer.Option("--phase", help="Only opened, updated or closed; may be repeated.")
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the oldest alert that is kept.")
    ] = False,
    at_most: Annotated[int | None, typer.Option("--max", min=1, help="End after this many.")] = None,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Show committed alerts as they come, until Ctrl-C."""
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    unknown = sorted(set(phase or ()) - set(_STYLES))
    if unknown:
        raise CommandError(f"--phase: expected {', '.join(_STYLES)}, found {', '.join(unknown)}", status=USAGE)
    counts = _Counts()
    try:
        wanted = Wanted(zones=frozenset(zone or ()), labels=frozenset(label or ()), phases=frozenset(phase or ()))
        watching = _watch(
            connection_to(operational),
            topics_of(operational).alerts,
            wanted,
            counts,
            as_json=as_json,
            from_beginning=from_beginning,
            at_most=at_most,
        )
        run_command(watching)
    except TopicMissingError as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        pass  # its ordinary end: nothing was asked for that was not done
    foreign = f", {counts.foreign} records were neither alerts nor notices" if counts.foreign else ""
    unreadable = f", {counts.unreadable} cannot be read" if counts.unreadable else ""
    echo(f"vigil: {counts.shown} shown{foreign}{unreadable}", err=True)


async def _watch(
    connection: Connection,
    topic: str,
    wanted: Wanted,
    counts: _Counts,
    *,
    as_json: bool,
    from_beginning: bool,
    at_most: int | None,
) -> None:
    screen = console(highlight=False, soft_wrap=True)
    is_narrow = screen.is_terminal and screen.width < _WIDE
    if not as_json:
        alert = f"{_SECOND_LINE}alert" if is_narrow else "alert"
        screen.print(_line("end", "phase", "label", "zone", "score", "sev", "cameras", alert), style="bold")
    async for seen in watch_alerts(connection, topic, from_beginning=from_beginning, tell=notice):
        if seen.content is None:
            _show_other(seen, counts)
            continue
        if not wanted.takes(seen.content):
            continue
        if as_json:
            echo_json(seen.value)
        else:
            screen.print(alert_line(seen.content, is_narrow=is_narrow))
        counts.shown += 1
        if counts.shown == at_most:
            return


def _show_other(seen: Seen, counts: _Counts) -> None:
    if not seen.unreadable:
        counts.foreign += 1
        return
    # Beside the lines, never among them: those of --json are read by programs.
    notice(f"cannot be read: {seen.place}: {seen.unreadable}")
    counts.unreadable += 1


def alert_line(content: Alert | Notice, *, is_narrow: bool = False) -> Text:
    """Return an alert or notice for a terminal; control characters of names are made visible.

    Args:
        content: what is shown.
        is_narrow: on two lines, the id on the second.
    """
    if isinstance(content, Notice):
        return Text(visible(f"notice: {content.notice} in zone {content.zone}: {content.detail}"), style="magenta")
    marks = [word for word, is_so in (("late", content.late), ("masked", content.masked)) if is_so]
    if content.reason:
        marks.append(content.reason)
    identity = visible(" ".join([content.id, *marks]))
    line = _line(
        visible(content.end),
        visible(content.phase),
        visible(content.label),
        visible(content.zone),
        f"{content.score:.3f}",
        str(content.severity or ""),
        visible(",".join(content.cameras)) or "-",
        f"{_SECOND_LINE}{identity}" if is_narrow else identity,
    )
    return Text(line, style=_STYLES.get(content.phase, ""))


def _line(*cells: str) -> str:
    first, newline, second = _COLUMNS.format(*cells).partition("\n")
    return first.rstrip() + newline + second if newline else first
