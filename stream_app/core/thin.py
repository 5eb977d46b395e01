"""Stage four: of all pairs, those that are worth scoring. Without it one text in a zone with four cameras makes 160.

In: the join's pairs and unmatched frames. Out: per text and camera one pair per bucket ``floor(frame time /
sample_ms)``, the lowest offset; per camera one unmatched frame per bucket ``floor(frame time / unmatched_every_ms)``,
the first that closes, and never one of an earlier bucket. What is left out is counted by the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.join import NEVER, Held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.core.settings import Semantic
    from stream_app.core.types import Record

#: A zone and a camera: camera names need only be unique within their zone.
Camera = tuple[str, str]

#: How often overload may double the sampling distance.
MAX_LEVEL = 3
#: Cameras whose last sampled frame is remembered; beyond it the one that was not heard of for longest is forgotten, and
#: its next frame counts as its first.
MAX_SAMPLED = 1_024
#: A camera that was not heard of for this long is forgotten; its next frame counts as its first. In milliseconds.
_FORGET_AFTER_MS = 3_600_000
#: Stands for a camera that is forgotten, where its marks may not be dropped yet; older than any frame.
_LONG_AGO = -(1 << 60)


class Thin:
    """Sampling state of one task: the level under overload, and the last sampled bucket of each camera."""

    __slots__ = ("_every_ms", "_levels", "_max_slots", "_newest", "_sample_ms", "_sampled")

    def __init__(self, settings: Semantic) -> None:
        self._sample_ms = settings.sample_ms
        self._every_ms = settings.unmatched_every_ms
        self._max_slots = settings.max_slots
        self._levels: list[tuple[int, int]] = [(NEVER, 0)]
        self._sampled: dict[Camera, list[tuple[int, int]]] = {}
        #: The last bucket of each camera at the head; some may be old.
        self._newest: dict[Camera, int] = {}

    @property
    def level(self) -> int:
        """The level in force: texts admitted now are sampled at ``sample_ms << level``."""
        return self._levels[-1][1]

    @property
    def sample_ms(self) -> int:
        """The sampling distance of a text that is admitted now, in ms."""
        return self._sample_ms << self.level

    def set_level(self, level: int, sequence: int) -> None:
        """Put a level in force from this sequence number on."""
        self._levels.append((sequence, level))

    def switch(self, settings: Semantic, sequence: int, stream_ms: int) -> None:
        """Go by other settings from this sequence number on; a camera's last bucket is told in buckets of the new."""
        self._max_slots = settings.max_slots
        before_ms, self._every_ms, self._sample_ms = self._every_ms, settings.unmatched_every_ms, settings.sample_ms
        if before_ms == self._every_ms:
            return
        for camera, marks in self._sampled.items():
            bucket = marks[-1][1]
            # The last instant of it, so that no new bucket gets a second frame.
            is_old = _is_old(bucket, stream_ms, before_ms)
            marks.append((sequence, _LONG_AGO if is_old else ((bucket + 1) * before_ms - 1) // self._every_ms))
            if camera in self._newest:
                self._newest[camera] = marks[-1][1]

    def keeps_pair(self, text: Held, frame: Held, sequence: int) -> bool:
        """Return whether this pair is scored, and fill its slot if it is."""
        slot = (frame.record.camera, frame.record.event_ms // text.sample_ms)
        if text.used is None:
            text.used = {}
        elif slot in text.used or len(text.used) >= self._max_slots:
            return False
        text.used[slot] = sequence
        if frame.scored == NEVER:
            frame.scored = sequence
        return True

    def keeps_frame(self, frame: Record, sequence: int, stream_ms: int) -> bool:
        """Return whether this unmatched frame is scored, and fill its bucket if it is."""
        bucket = frame.event_ms // self._every_ms
        camera = (frame.zone, frame.camera)
        marks = self._sampled.get(camera)
        if marks is None:
            marks = self._sampled[camera] = []
        # Asked here, not left to forget(): when that runs depends on commits, and results must not.
        if marks and bucket <= marks[-1][1] and not _is_old(marks[-1][1], stream_ms, self._every_ms):
            return False
        marks.append((sequence, bucket))
        if camera not in self._newest and len(self._newest) >= MAX_SAMPLED:
            self._forget_one(sequence, stream_ms)
        self._newest[camera] = bucket
        return True

    def _forget_one(self, sequence: int, stream_ms: int) -> None:
        """Forget, from this sequence number on, the camera that was not heard of for longest."""
        newest, every_ms = self._newest, self._every_ms
        for camera in [camera for camera, bucket in newest.items() if _is_old(bucket, stream_ms, every_ms)]:
            del newest[camera]
        if len(newest) >= MAX_SAMPLED:
            camera = min(newest, key=lambda camera: (newest[camera], camera))
            del newest[camera]
            self._sampled[camera].append((sequence, _LONG_AGO))

    def level_at(self, cut: int) -> int:
        """Return the level that was in force at ``cut``."""
        return next(level for sequence, level in reversed(self._levels) if sequence <= cut)

    def sampled_at(self, cut: int, stream_ms: int, every_ms: int) -> Iterator[tuple[Camera, int]]:
        """Yield each camera's last sampled bucket as of ``cut``, by camera; S and ``unmatched_every_ms`` of then."""
        for camera, marks in sorted(self._sampled.items()):
            buckets = [bucket for sequence, bucket in marks if sequence <= cut]
            if buckets and not _is_old(buckets[-1], stream_ms, every_ms):
                yield camera, buckets[-1]

    def forget(self, cut: int, stream_ms: int, every_ms: int) -> None:
        """Drop what no state at or after ``cut`` needs; stream time and ``unmatched_every_ms`` are those at the cut."""
        while len(self._levels) > 1 and self._levels[1][0] <= cut:
            del self._levels[0]
        for camera in list(self._sampled):
            marks = self._sampled[camera]
            while len(marks) > 1 and marks[1][0] <= cut:
                del marks[0]
            if marks[-1][0] <= cut and _is_old(marks[-1][1], stream_ms, every_ms):
                del self._sampled[camera]

    def restore(self, level: int, sampled: dict[Camera, int]) -> None:
        """Take up the state of a checkpoint."""
        self._levels = [(NEVER, level)]
        self._sampled = {camera: [(NEVER, bucket)] for camera, bucket in sampled.items()}
        self._newest = dict(sampled)


def _is_old(bucket: int, stream_ms: int, every_ms: int) -> bool:
    return (bucket + 1) * every_ms < stream_ms - _FORGET_AFTER_MS
