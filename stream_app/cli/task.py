"""`vigil task`: show the tasks' checkpoints, and reset a task whose input is gone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, connection_to, settings_from, topics_of
from stream_app.terminal.console import console
from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import BROKER_UNREACHABLE, REFUSED, USAGE, CommandError, run_command
from stream_app.wiring.clients import publisher_settings, recovery_settings

if TYPE_CHECKING:
    from stream_app.adapters.kafka.connection import Connection
    from stream_app.adapters.kafka.reset import Reset
    from stream_app.config import Operational
    from stream_app.wire.topics import Topics

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show tasks, and reset one whose input is gone.")

_Partitions = Annotated[
    list[int] | None, typer.Option("--partition", "-p", min=0, help="A task, by its partition; may be repeated.")
]


@app.command()
def show(*, bootstrap: BootstrapOption = None, config: ConfigOption = None, assignments: SetOption = None) -> None:
    """Show every task's newest checkpoint: position, stream time, window, open incidents."""
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    run_command(_show(operational))


@app.command()
def reset(
    *,
    to: Annotated[str, typer.Option("--to", help="Where to resume: earliest, latest or an RFC 3339 time.")],
    partition: _Partitions = None,
    is_confirmed: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Discard a task's state and resume at another place. Records in between are never judged."""
    if not partition:
        message = "name at least one task: --partition N"
        raise CommandError(message, status=USAGE)
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    _require_place(to)
    names = ", ".join(str(number) for number in sorted(set(partition)))
    if not (
        is_confirmed or _says_yes(f"Discard the state of task {names} of {operational.deployment} and resume at {to}?")
    ):
        message = f"task {names} was not reset: expected y, or --yes on the command line"
        raise CommandError(message)
    for done in run_command(_reset(operational, sorted(set(partition)), to)):
        echo(f"task {done.partition}: resumes at text {done.next_text}, frame {done.next_frame}")


def _says_yes(question: str) -> bool:
    # Not typer's question: Ctrl-C would be taken for a no.
    echo(f"{question} [y/N]: ", err=True, is_ended=False)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        echo("", err=True)
    return answer.strip().lower() in {"y", "yes"}


def _require_place(to: str) -> None:
    from stream_app.core.event_time import parse_event_time  # noqa: PLC0415 - only here

    if to in {"earliest", "latest"}:
        return
    try:
        parse_event_time(to)
    except ValueError as error:
        message = f"--to: expected earliest, latest or an RFC 3339 time, found {to!r}"
        raise CommandError(message, status=USAGE) from error


async def _reset(operational: Operational, partitions: list[int], to: str) -> list[Reset]:
    from stream_app.adapters.kafka.publisher import KafkaPublisher  # noqa: PLC0415
    from stream_app.adapters.kafka.recovery import KafkaRecovery  # noqa: PLC0415
    from stream_app.adapters.kafka.reset import reset_task  # noqa: PLC0415
    from stream_app.runtime.ports.publishing import EpochEndedError  # noqa: PLC0415
    from stream_app.runtime.ports.recovery import RecoveryError  # noqa: PLC0415

    connection, topics = connection_to(operational), topics_of(operational)
    done: list[Reset] = []
    # Before anything is given up: what is not there is said in time, a producer and offsets would be waited for.
    await _require_tasks(connection, topics, partitions)
    for partition in partitions:
        publisher = KafkaPublisher(connection, publisher_settings(operational), f"{operational.deployment}-{partition}")
        try:
            done.append(
                await reset_task(
                    publisher=publisher,
                    recovery=KafkaRecovery(connection, topics, recovery_settings(operational)),
                    topics=topics,
                    deployment=operational.deployment,
                    partition=partition,
                    start_from=to,
                )
            )
        except (EpochEndedError, RecoveryError) as error:
            status = BROKER_UNREACHABLE if not done else REFUSED
            message = f"task {partition} was not reset: {error}"
            raise CommandError(message, status=status) from error
    return done


async def _require_tasks(connection: Connection, topics: Topics, partitions: list[int]) -> None:
    from stream_app.adapters.kafka.topics import partition_counts  # noqa: PLC0415

    names = (topics.texts, topics.frames, topics.state, topics.journal)
    counts = await partition_counts(connection, names)
    missing = [name for name in names if name not in counts]
    if missing:
        message = f"expected the topics {', '.join(missing)}, found none: `vigil topics create` makes them"
        raise CommandError(message)
    last = min(counts[name] for name in names[:3]) - 1
    beyond = [str(number) for number in partitions if number > last]
    if beyond:
        message = f"--partition: expected 0 to {last}, found {', '.join(beyond)}"
        raise CommandError(message, status=USAGE)


async def _show(operational: Operational) -> None:
    from stream_app.adapters.kafka.clients import BrokerUnreachableError  # noqa: PLC0415
    from stream_app.adapters.kafka.to_the_end import TopicMissingError  # noqa: PLC0415
    from stream_app.adapters.reading.checkpoints import read_checkpoints  # noqa: PLC0415
    from stream_app.core.event_time import format_event_time  # noqa: PLC0415

    try:
        found = await read_checkpoints(connection_to(operational), topics_of(operational), operational.deployment)
    except BrokerUnreachableError as error:
        raise CommandError(str(error), status=BROKER_UNREACHABLE) from error
    except TopicMissingError as error:
        raise CommandError(str(error)) from error
    table = Table(box=None, pad_edge=False)
    for name in ("task", "next text", "next frame", "stream time", "window", "incidents"):
        table.add_column(name, justify="right", overflow="fold")
    for partition, state in sorted(found.items()):
        stream = format_event_time(state.stream_ms) if state.stream_ms > 0 else "-"
        incidents = len(state.decide.incidents)
        cells = (partition, state.next_text, state.next_frame, stream, state.held, incidents)
        table.add_row(*(str(cell) for cell in cells))
    console().print(table)
    echo(f"{len(found)} checkpoints of deployment {operational.deployment}")
