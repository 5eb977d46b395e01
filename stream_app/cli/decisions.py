"""`vigil decisions --out FILE`: a recording of the decisions topic, for reviewers and for training.

In: which decisions. Out: a file of JSON lines that is there whole or not at all; with `--append` it continues where
that file ends.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from stream_app.adapters.kafka.to_the_end import TopicMissingError
from stream_app.adapters.reading.decisions import Chosen, Mark, Recorded, RecordingError, newest_of, record_decisions
from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, connection_to, settings_from, topics_of
from stream_app.config import Operational
from stream_app.core.event_time import parse_event_time
from stream_app.files import whole_file
from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import USAGE, CommandError, notice, run_command

app = typer.Typer(add_completion=False, help="Record the decisions topic to a file.")


@app.command()
def decisions(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write, JSON lines (.jsonl).")],
    is_appended: Annotated[
        bool, typer.Option("--append", help="Continue where the file ends; nothing is written twice.")
    ] = False,
    zone: Annotated[list[str] | None, typer.Option("--zone", help="Only this zone; may be repeated.")] = None,
    from_time: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Only of events at or after this time, RFC 3339.")
    ] = None,
    until_time: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only of events before this time, RFC 3339.")
    ] = None,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Record what is committed to the decisions topic now: for reviewers, and for `vigil-export data from-decisions`.

    Each line holds the decision as `value` and, beside it, topic, partition and offset.
    """
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    chosen = Chosen(
        zones=frozenset(zone or ()),
        from_ms=_moment("--from", from_time),
        until_ms=_moment("--until", until_time),
    )
    is_there = out.exists() or out.is_symlink()
    if is_there and not is_appended:
        raise CommandError(f"{out}: expected nothing there, found something: choose another name, or --append")
    try:
        done = _record(out if is_there else None, out, operational, chosen)
    except (RecordingError, TopicMissingError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror or error}; it is unchanged") from error
    _report(done, out)


def _moment(option: str, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_event_time(value)
    except ValueError as error:
        raise CommandError(f"{option}: expected an RFC 3339 time with offset, found {value!r}", status=USAGE) from error


def _record(old: Path | None, out: Path, operational: Operational, chosen: Chosen) -> Recorded:
    topic = topics_of(operational).decisions
    after: dict[int, Mark] = {}
    if old is not None:
        try:
            with old.open("rb") as lines:
                after = newest_of(lines, topic)
        except RecordingError as error:
            raise RecordingError(f"{old}, {error}") from error
    with whole_file(out) as file:
        if old is not None:
            with old.open("rb") as lines:
                shutil.copyfileobj(lines, file)
        connection = connection_to(operational)
        return run_command(record_decisions(connection, topic, file.write, after=after, chosen=chosen, tell=notice))


def _report(done: Recorded, out: Path) -> None:
    for gap in done.gaps:
        echo(f"GAP: retention has passed before this was recorded: {gap}", err=True)
    for lost in done.unreadable:
        echo(f"GAP: cannot be read: {lost}", err=True)
    others = f", {done.others} were not asked for" if done.others else ""
    foreign = f", {done.foreign} records were no decisions" if done.foreign else ""
    echo(f"wrote {done.written} decisions to {out}{others}{foreign}")
