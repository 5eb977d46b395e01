"""The command line `vigil`: names the commands; each is loaded only when it is called.

In: arguments. Out: an exit status that says what happened. It must not know what any command does.
"""

from __future__ import annotations

import logging
from typing import Annotated, ClassVar

import typer

from stream_app import __version__
from stream_app.terminal.groups import Commands, Part, command_line, run_command_line
from stream_app.terminal.lines import echo

__all__ = ["app", "main"]


class _Vigil(Commands):
    advice = "see the extras in README.md"
    parts: ClassVar = {
        "demo": Part(
            "stream_app.cli.demo", "See it work: a Kafka, two workers, drawn cameras, alerts, a worker killed."
        ),
        "worker": Part("stream_app.cli.worker", "Join frames and texts, score them, publish alerts."),
        "topics": Part("stream_app.cli.topics", "Create the topics, or check those that exist."),
        "feed": Part("stream_app.cli.feed", "Send videos, images, cameras and texts to the input topics."),
        "watch": Part("stream_app.cli.watch", "Show alerts as they come."),
        "status": Part("stream_app.cli.status", "Show when each camera and zone was last heard from."),
        "decisions": Part("stream_app.cli.decisions", "Record the decisions topic to a file."),
        "record": Part("stream_app.cli.record", "Record a range of the topics to files that can be replayed."),
        "recording": Part("stream_app.cli.recording", "Look at recordings, cut them, take them apart."),
        "evidence": Part("stream_app.cli.evidence", "Fetch the frames and texts of an alert, or of a recording."),
        "replay": Part("stream_app.cli.replay", "Judge recordings again, without a broker."),
        "verify": Part("stream_app.cli.verify", "Prove that recordings hold what happened, to the byte."),
        "compare": Part("stream_app.cli.compare", "Say what a bundle or a setting would change, on recordings."),
        "task": Part("stream_app.cli.task", "Show tasks, and reset one whose input is gone."),
        "bundle": Part("stream_app.cli.bundle", "Show or check a model bundle."),
        "config": Part("stream_app.cli.config", "Show or check the settings in force."),
        "kafka": Part("stream_app.cli.kafka", "A real Kafka on this machine, for trying things out."),
        "site": Part("stream_app.cli.site", "The drawn security site: frames and alarm texts with known truth."),
    }


app = command_line(
    _Vigil,
    words="Vigil joins camera frames and alarm texts from Kafka, scores them together, and publishes alerts.",
    epilog=(
        "Exit status: 0 done, 1 failed, 2 wrong usage, 3 no broker reachable, 4 refused by a check, "
        "5 not all could be verified, 130 interrupted. "
        "Commands that run until they are stopped end with 0 on Ctrl-C."
    ),
)


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if is_asked:
        echo(__version__)
        raise typer.Exit


@app.callback()
def _vigil(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run `vigil` and exit the process.

    Args:
        arguments: without the program's name; None for the process's own.

    Raises:
        SystemExit: always; see the exit statuses in docs/cli.md.
    """
    # Commands say in one line what went wrong; the Kafka clients would say it in twenty. The worker sets up real logs.
    for name in ("aiokafka", "kafka"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    run_command_line(app, "vigil", arguments)
