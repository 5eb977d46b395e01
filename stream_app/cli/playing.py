"""`vigil replay --to-kafka`: recordings played into the input topics of a deployment, as if they came now.

In: recordings, where to, how fast. Out: records on the topics; how far it came, as the last line. It refuses outputs,
and the topics that were recorded.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from aiokafka.errors import KafkaError

from stream_app.adapters.feed import FeedError, feeding_producer
from stream_app.adapters.feed.recorded import Progress, feed_recorded, require_no_outputs
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.to_the_end import TopicMissingError
from stream_app.cli.judging import progress
from stream_app.cli.options import connection_to, topics_of
from stream_app.config import Operational
from stream_app.core.event_time import format_event_time
from stream_app.replay.canonical import Reached
from stream_app.replay.played import Inputs, Played, outputs_among
from stream_app.replay.recording import Recording, RecordingError
from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import BROKER_UNREACHABLE, REFUSED, USAGE, CommandError, notice, run_command
from stream_app.wire.topics import Topics
from stream_app.wiring.recordings import Beside, open_recording

_FASTEST = "max"
#: It is told how far it is after so many records.
_TOLD_EVERY = 32


def refuse_beside(option: str, others: Mapping[str, object]) -> None:
    """Refuse options that mean nothing beside another one.

    Raises:
        CommandError: if one was given; exit status 2.
    """
    given = [name for name, value in others.items() if value]
    if given:
        raise CommandError(f"{', '.join(given)}: does not go with {option}", status=USAGE)


def play_to_kafka(
    paths: list[Path], beside: Beside, operational: Operational, *, speed: str | None, is_same_allowed: bool
) -> None:
    """Play recordings; those of one time together, those of several times one after the other.

    Args:
        paths: files, or folders of files that follow one another.
        beside: for MCAP files of other tools.
        operational: the input topics that it plays into, and the deployment whose outputs are none.
        speed: a factor, or ``max``; None is real time.
        is_same_allowed: play into the topics that were recorded, too.

    Raises:
        CommandError: if it may not, or not all was played.
    """
    factor = _factor(speed)
    targets, connection = topics_of(operational), connection_to(operational)
    with ExitStack() as stack:
        try:
            recordings = [_opened(path, beside, stack) for path in paths]
            _require_free(targets, [recording.about.topics for recording in recordings], is_same_allowed)
            _play(Inputs(recordings), targets, connection, factor)
        except (RecordingError, FeedError, TopicMissingError) as error:
            raise CommandError(str(error)) from error
        except KafkaError as error:
            message = f"the brokers at {connection.bootstrap} no longer confirm: {error}"
            raise CommandError(message, status=BROKER_UNREACHABLE) from error


def _factor(speed: str | None) -> float:
    """Return how fast; 0 is as fast as possible."""
    if speed == _FASTEST:
        return 0.0
    try:
        factor = float(speed or 1)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise CommandError(f"--speed: expected a number above 0, or {_FASTEST}, found {speed!r}", status=USAGE)
    return factor


def _opened(path: Path, beside: Beside, stack: ExitStack) -> Recording:
    recording = open_recording(path, beside)
    if isinstance(recording, AbstractContextManager):
        stack.enter_context(recording)
    if not recording.about.has_pictures:
        raise RecordingError(f"{path}: expected a recording with pictures, found one made without")
    return recording


def _require_free(targets: Topics, recorded: list[Topics], is_same_allowed: bool) -> None:  # noqa: FBT001
    """Refuse what must never be played into: outputs; and what nobody means to: the live inputs."""
    inputs = (targets.frames, targets.texts)
    outputs = outputs_among(inputs, [targets, *recorded])
    if outputs:
        raise CommandError(
            f"refused: expected input topics, found outputs of a deployment: {', '.join(outputs)}", status=REFUSED
        )
    same = sorted(set(inputs) & {topic for topics in recorded for topic in (topics.frames, topics.texts)})
    if same and not is_same_allowed:
        raise CommandError(
            f"refused: the recording came from {', '.join(same)}, and who reads these topics would take it for live. "
            "Name those of a trial (--config, or --set frames_topic=... --set texts_topic=...); --same-topics "
            "plays into them all the same, such as on another cluster",
            status=REFUSED,
        )


def _play(inputs: Inputs, targets: Topics, connection: Connection, speed: float) -> None:
    first_ms = inputs.first_ms()
    if first_ms is None:
        raise CommandError("expected frames or texts in the recordings, found none")
    run = secrets.token_hex(4)
    # No event time may lie in the future, or the worker refuses it: faster than real time it has to end now.
    now_ms = time.time_ns() // 1_000_000
    shift_ms = now_ms - (first_ms if 0 < speed <= 1 else max(inputs.to_ms, first_ms))
    if not 0 < speed <= 1:
        notice(
            f"event times begin at {format_event_time(first_ms + shift_ms)} and end now: a task whose time is past "
            "that takes them for late"
        )
    done = Progress()

    async def work() -> None:
        await require_no_outputs(connection, targets.frames, targets.texts)
        async with feeding_producer(connection, tell=notice) as client:
            records = _told(inputs.played(shift_ms, run), first_ms, done)
            await feed_recorded(
                client, records, done, frames=targets.frames, texts=targets.texts, speed=speed
            )  # fmt: skip

    try:
        run_command(work())
    finally:
        _report(done, targets, shift_ms, run)
    if inputs.left_out:
        notice(f"{inputs.left_out} records are in the recordings without their contents, and were left out")
    if done.too_large:
        raise CommandError(f"{done.too_large} records were larger than the brokers accept")
    if inputs.lost:
        raise CommandError(f"not all of the recordings could be read: {'; '.join(dict.fromkeys(inputs.lost))}")


def _told(records: Iterator[Played], first_ms: int, done: Progress) -> Iterator[Played]:
    with progress() as tell:
        for count, record in enumerate(records):
            if count % _TOLD_EVERY == 0:
                tell("played until", Reached(first_ms, record.moment_ms, done.sent))
            yield record


def _report(done: Progress, targets: Topics, shift_ms: int, run: str) -> None:
    until = "" if done.moment_ms is None else (
        f" until {format_event_time(done.moment_ms)}, as {format_event_time(done.moment_ms + shift_ms)}"
    )  # fmt: skip
    echo(
        f"played {done.frames.sent} frames into {targets.frames} and {done.texts.sent} texts into {targets.texts}"
        f"{until}; run {run}"
    )
