"""Replays in memory that write a recording of their own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stream_app.replay.canonical import Done, Judged, Run, replay
from stream_app.replay.rewriting import Rewriter
from stream_app.wire.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from stream_app.core.types import InForce
    from stream_app.replay.overload import Overload
    from stream_app.replay.recording import About, Kind, Recording, TopicRecord
    from stream_app.replay.track import Pace
    from stream_app.runtime.ports.scoring import Scorer


@dataclass
class Rewritten:
    """What a replay wrote, read as a file of it is: by append time, and a partition's records as they were written."""

    about: About
    written: list[tuple[Kind, TopicRecord]] = field(default_factory=list)

    def add(self, kind: Kind, record: TopicRecord) -> None:
        self.written.append((kind, record))

    def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
        newest: dict[tuple[Kind, int], int] = {}
        times = []
        for kind, record in self.written:
            place = (kind, record.partition)
            newest[place] = max(record.timestamp, newest.get(place, record.timestamp))
            times.append(newest[place])
        order = sorted(range(len(times)), key=times.__getitem__)
        yield from (self.written[number] for number in order)

    def of(self, kind: Kind) -> list[TopicRecord]:
        return [record for found, record in self.written if found == kind]


def rewrite(
    recording: Recording,
    in_force: InForce,
    scorer: Scorer,
    *,
    pace: Pace,
    overload: Mapping[int, Overload] | None = None,
    take: Callable[[Judged], None] = lambda _: None,
    add: Callable[[Kind, TopicRecord], None] = lambda _, __: None,
) -> tuple[Rewritten, Done]:
    """Replay a recording, and return the recording that it makes; ``add`` is given its records as they come."""
    about = recording.about
    made = Rewritten(about)
    context = Context(
        deployment=about.deployment,
        partition=0,
        topics=about.topics,
        model=in_force.model,
        settings_sha256=in_force.settings_sha256,
        provider="CPU",
    )

    def put(kind: Kind, record: TopicRecord) -> None:
        made.add(kind, record)
        add(kind, record)

    rewriter = Rewriter(put, context, step_ms=1_000, keyframe_ms=20_000)
    runs = [Run(in_force, scorer)]
    done = asyncio.run(replay(recording, runs, take=take, pace=pace, overload=overload, rewriter=rewriter))
    return made, done
