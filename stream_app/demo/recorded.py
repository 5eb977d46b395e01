"""A play as a recording, as if a deployment had seen it: the inputs by append time, drawn while they are read.

In: a play. Out: a recording of its frames and texts, which holds nothing: each reading draws it anew, and gives the
same. It has no journal; a replay of it writes one.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from aiokafka.partitioner import murmur2

from stream_app.demo.player import frame_headers, moments, text_headers, text_value
from stream_app.replay.recording import About, TopicRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.demo.player import Play, PlayedCamera
    from stream_app.replay.recording import Kind
    from stream_app.wire.topics import Topics

#: Where the time of every play begins: 2026-01-01T00:00:00Z.
BEGIN_MS = 1_767_225_600_000
#: What is sent is appended so much later, ms.
_ON_THE_WAY_MS = 40
_PARTITIONS = 4
_APPEND_TIME = 1

_Sent = tuple[int, int, "Kind", str, bytes, tuple[tuple[str, bytes | None], ...]]


class PlayedRecording:
    """A play, open for reading. Implements the port :class:`~stream_app.replay.recording.Recording`."""

    def __init__(self, play: Play, topics: Topics, *, deployment: str) -> None:
        """Take a play whose cameras show the same whenever they are asked.

        Args:
            play: what is seen and said.
            topics: names of the topics.
            deployment: whose recording it is.
        """
        self._play = play
        zones = {camera.zone for camera in play.cameras} | {report.zone for report in play.reports}
        self._about = About(
            deployment=deployment,
            topics=topics,
            partitions=tuple(sorted(set(map(_partition, zones)))),
            from_ms=BEGIN_MS,
            to_ms=BEGIN_MS + play.duration_ms + _ON_THE_WAY_MS,
        )

    @property
    def about(self) -> About:
        """What it says of itself."""
        return self._about

    def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
        """Yield all inputs by append time."""
        films = (self._film(camera, number) for number, camera in enumerate(self._play.cameras))
        offsets: dict[tuple[Kind, int], int] = {}
        for at_ms, _, kind, zone, value, headers in heapq.merge(self._reports(), *films, key=lambda sent: sent[:2]):
            place = (kind, _partition(zone))
            offset = offsets.get(place, 0)
            offsets[place] = offset + 1
            append_ms = BEGIN_MS + at_ms + _ON_THE_WAY_MS
            yield (
                kind,
                TopicRecord(place[1], offset, append_ms, _APPEND_TIME, zone.encode(), value, headers, len(value)),
            )

    def _film(self, camera: PlayedCamera, number: int) -> Iterator[_Sent]:
        for count, at_ms in enumerate(moments(self._play, number)):
            picture = camera.jpeg(at_ms)
            if picture is None:
                return
            headers = frame_headers(camera, count, BEGIN_MS + at_ms)
            yield at_ms, number + 1, "frames", camera.zone, picture, tuple(headers)

    def _reports(self) -> Iterator[_Sent]:
        for number, report in enumerate(sorted(self._play.reports, key=lambda report: report.sent_ms)):
            headers = text_headers(number, BEGIN_MS + report.event_ms)
            yield report.sent_ms, 0, "texts", report.zone, text_value(report), tuple(headers)


def _partition(zone: str) -> int:
    """Return the partition that Kafka's own partitioner gives a zone."""
    return int(murmur2(zone.encode()) & 0x7FFFFFFF) % _PARTITIONS
