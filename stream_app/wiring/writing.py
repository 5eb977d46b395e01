"""Composes what a replay writes: the file, what it says of itself, and how it ends."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stream_app import __version__
from stream_app.adapters.recording.layout import InForce as Recorded
from stream_app.adapters.recording.layout import Opening
from stream_app.adapters.recording.sink import Sink
from stream_app.replay.rewriting import Rewriter
from stream_app.wire.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_app.config import Operational
    from stream_app.core.types import InForce
    from stream_app.replay.recording import Kind, Recording, TopicRecord
    from stream_app.wiring.model import Inference

#: A file takes a keyframe of any size.
_ANY_BYTES = 1 << 40


class OutError(Exception):
    """A recording cannot be written; the message says which, why, and what became of it."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The recording that a replay wrote; ``size`` is in bytes."""

    path: Path
    records: int
    size: int


@contextmanager
def rewriter_to(
    out: Path,
    recording: Recording,
    in_force: InForce,
    ready: Inference,
    operational: Operational,
    tell: Callable[[Written], None],
) -> Iterator[Rewriter]:
    """Write a recording while the block runs; it is ended properly unless the disk takes no more.

    Args:
        out: a file; there must be nothing.
        recording: what is judged.
        in_force: what judges from the first input to the last.
        ready: the bundle, and what runs it.
        operational: how often a step and a keyframe come.
        tell: is told what was written, also where the block was left before it was done.

    Raises:
        OutError: if something is there, or the disk takes no more; what is in the file stays readable.
    """
    try:
        sink = Sink(out, _opening(recording, in_force), manifest=ready.bundle.manifest_data)
    except OSError as error:
        if isinstance(error, FileExistsError) and Path(error.filename) == out:
            raise OutError(f"{out}: expected nothing there, found something: choose another name") from error
        raise OutError(f"{out} cannot be written: {error.strerror or error}") from error
    about = recording.about
    context = Context(
        deployment=about.deployment,
        partition=0,
        topics=about.topics,
        model=in_force.model,
        settings_sha256=in_force.settings_sha256,
        provider=ready.engine.provider,
        journal_bytes=_ANY_BYTES,
    )
    rewriter = Rewriter(
        _adding_to(sink, out), context, step_ms=operational.commit_ms, keyframe_ms=operational.keyframe_ms
    )
    try:
        yield rewriter
    except OutError:
        sink.abandon()
        tell(_written(sink))
        raise
    except BaseException:
        # Ctrl-C, or a recording that cannot be read further: what there is, is a recording all the same.
        _finish(sink, out)
        tell(_written(sink))
        raise
    _finish(sink, out)
    tell(_written(sink))


def _opening(recording: Recording, in_force: InForce) -> Opening:
    about = recording.about
    model, settings = (msgspec.Raw(msgspec.json.encode(part)) for part in (in_force.model, in_force.settings))
    return Opening(
        version=__version__,
        # Zones that were left out are not in it at all. So it holds all that its tasks saw, from offset 0 on.
        about=msgspec.structs.replace(about, zones=()),
        # The last incidents close behind the last input.
        is_open_ended=True,
        in_force=tuple(
            Recorded(partition, model, settings, in_force.settings_sha256) for partition in about.partitions
        ),
    )


def _adding_to(sink: Sink, out: Path) -> Callable[[Kind, TopicRecord], None]:
    def add(kind: Kind, record: TopicRecord) -> None:
        try:
            sink.add(kind, record)
        except OSError as error:
            raise _cut_short(out, error) from error

    return add


def _finish(sink: Sink, out: Path) -> None:
    try:
        sink.finish()
    except OSError as error:
        raise _cut_short(out, error) from error


def _cut_short(out: Path, error: OSError) -> OutError:
    why = error.strerror or error
    return OutError(f"{out} cannot be written further: {why}; what was written before can be read")


def _written(sink: Sink) -> Written:
    return Written(path=sink.files[0], records=sink.records, size=sink.size)
