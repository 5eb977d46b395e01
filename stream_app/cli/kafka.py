"""`vigil kafka`: a real Apache Kafka on this machine, for trying things out.

In: the command line. Out: brokers started or stopped, their address on stdout. It must not know how they are run.

Exit status: 0 done, 1 failed or (for `status` and `down`) nothing is up, 2 wrong usage, 130
interrupted.
"""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from stream_app.local_kafka import (
    BrokerStatus,
    LocalKafkaError,
    default_state_dir,
    detached_down,
    detached_status,
    detached_up,
)
from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import FAILED, INTERRUPTED

_SIZES = (1, 3)

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="A real Kafka on this machine, for trying things out."
)

_StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", help="Where the running broker is recorded. [default: $XDG_STATE_HOME/vigil]"),
]


@app.command()
def up(
    *,
    nodes: Annotated[int, typer.Option("--nodes", help="Number of nodes, 1 or 3.")] = 1,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1024, max=65_533, help="Port of the first node. [default: a free one]"),
    ] = None,
    state_dir: _StateDir = None,
) -> None:
    """Start a Kafka on loopback and leave it running. Its data is temporary: `down` removes it.

    The first start downloads Kafka's jars (43 MB) into the local Maven repository.
    """
    if nodes not in _SIZES:
        message = f"expected 1 or 3, found {nodes}"
        raise typer.BadParameter(message, param_hint="--nodes")
    echo("starting Kafka ...", err=True)
    try:
        status = detached_up(nodes, port=port, state_dir=state_dir or default_state_dir())
    except LocalKafkaError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted: nothing was left running", status=INTERRUPTED)
    _report(status)


@app.command()
def down(*, state_dir: _StateDir = None) -> None:
    """Stop the Kafka that `up` started and remove its data."""
    try:
        before = detached_down(state_dir=state_dir or default_state_dir())
    except LocalKafkaError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted: run `vigil kafka down` again", status=INTERRUPTED)
    if before is None:
        _fail("no local Kafka is up")
    echo(f"down: {before.bootstrap} is stopped, its data removed")


@app.command()
def status(*, state_dir: _StateDir = None) -> None:
    """Say whether a Kafka started by `up` runs, and where. Exit status 1 if it does not, or only in part."""
    try:
        found = detached_status(state_dir=state_dir or default_state_dir())
    except LocalKafkaError as error:
        _fail(str(error))
    if found is None:
        _fail("down")
    _report(found)


def _report(found: BrokerStatus) -> None:
    if not found.is_up:
        _fail(f"only {found.nodes_up} of {found.nodes_total} nodes are up, at {found.bootstrap}; logs: {found.folder}")
    size = "1 node" if found.nodes_total == 1 else f"{found.nodes_total} nodes"
    echo(f"up: {found.bootstrap} ({size}, logs in {found.folder})")


def _fail(message: str, *, status: int = FAILED) -> NoReturn:
    echo(message, err=True)
    raise typer.Exit(status)
