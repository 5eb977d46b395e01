"""The window's bounds besides bytes of images: cameras, records, and what texts gather. They bound a checkpoint, too.

In: records that enter and leave the window, and slots that texts fill. Out: whether a bound is passed, and who leaves
early: of the records first frames that are not the lowest offset of their camera's bucket, then the oldest; of the
texts the oldest. A text that leaves early is judged by what it has. All is a function of the merge order alone.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from stream_app.core.types import Side

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.core.join import Held
    from stream_app.core.settings import Semantic

#: The most bytes that a held text takes in a checkpoint before it has met a frame: its place in two lists and the
#: flags, counts and incidents of its outcome; for each label four sums; for each slot a run of its own, and the frame
#: as evidence; for each camera its name and the length of that.
TEXT_BYTES = 700
LABEL_BYTES = 4 * 9
SLOT_BYTES = 40
NAME_BYTES = 5


class Crowd:
    """Who is in the window of one task, counted."""

    __slots__ = ("_cameras", "_labels", "_names", "_settings", "_texts", "bytes", "max_bytes", "max_held")

    def __init__(self, settings: Semantic, labels: int) -> None:
        """Begin with an empty window; ``labels`` is their number in the model in force."""
        self._texts: dict[int, set[str]] = {}
        #: The most bytes that the held texts take in a checkpoint, and the bounds of that and of the records held.
        self.bytes = 0
        self.switch(settings, labels, 0)
        #: By zone and camera, how many frames.
        self._cameras: dict[str, dict[str, int]] = {}
        #: By camera, how many texts have a slot of it.
        self._names: dict[str, int] = {}

    def switch(self, settings: Semantic, labels: int, labels_before: int) -> None:
        """Go by other bounds from here on; what is over them leaves when the next record comes."""
        self.bytes += len(self._texts) * (labels - labels_before) * LABEL_BYTES
        self._settings, self._labels = settings, labels
        self.max_held, self.max_bytes = settings.max_held, settings.held_texts_bytes

    def refuses(self, zone: str, camera: str) -> bool:
        """Return whether a frame's camera would be one too many in the window of its zone."""
        cameras = self._cameras.get(zone)
        return cameras is not None and camera not in cameras and len(cameras) >= self._settings.max_cameras

    def enter(self, held: Held) -> None:
        """Count a record that the window now holds, with the slots that it has."""
        record = held.record
        if record.side is Side.TEXT:
            self._texts[record.offset] = set()
            self.bytes += self._text_bytes
            for camera, _ in held.used or ():
                self.fill(held, camera)
        else:
            cameras = self._cameras.get(record.zone)
            if cameras is None:
                cameras = self._cameras[record.zone] = {}
            cameras[record.camera] = cameras.get(record.camera, 0) + 1

    def leave(self, held: Held) -> None:
        """Take off a record that left the window."""
        record = held.record
        if record.side is Side.TEXT:
            self.bytes -= self._text_bytes + len(held.used or ()) * SLOT_BYTES
            for camera in self._texts.pop(record.offset):
                self._names[camera] -= 1
                if not self._names[camera]:
                    del self._names[camera]
                    self.bytes -= _bytes_of(camera)
            return
        cameras = self._cameras[record.zone]
        left = cameras[record.camera] - 1
        if left:
            cameras[record.camera] = left
        else:
            del cameras[record.camera]
            if not cameras:
                del self._cameras[record.zone]

    def fill(self, text: Held, camera: str) -> None:
        """Count a slot that a held text has filled."""
        cameras = self._texts[text.record.offset]
        self.bytes += SLOT_BYTES
        if camera not in cameras:
            cameras.add(camera)
            if camera not in self._names:
                self.bytes += _bytes_of(camera)
            self._names[camera] = self._names.get(camera, 0) + 1

    def choose(self, window: Iterable[Held]) -> list[Held]:
        """Return who leaves before another record comes, until an eighth of each bound that is reached is free again.

        One is reached where ``bytes`` is above ``max_bytes``, or ``max_held`` records are held.
        """
        window = list(window)
        chosen = self._choose_texts(window)
        leaving = {id(held) for held in chosen}
        bound = self._settings.max_held
        if len(window) >= bound:
            left = len(window) - len(chosen)
            order = [held for held in self._in_order(window) if id(held) not in leaving]
            chosen += order[: max(0, left - (bound - max(1, bound // 8)))]
        return chosen

    def _choose_texts(self, window: list[Held]) -> list[Held]:
        bound, over = self._settings.held_texts_bytes, self.bytes
        chosen: list[Held] = []
        if over <= bound:
            return chosen
        left: dict[str, int] = {}
        for held in sorted((one for one in window if one.record.side is Side.TEXT), key=_by_age):
            if over <= bound - bound // 8:
                break
            chosen.append(held)
            over -= self._text_bytes + SLOT_BYTES * len(held.used or ())
            for camera in self._texts[held.record.offset]:
                left[camera] = left.get(camera, self._names[camera]) - 1
                if not left[camera]:
                    over -= _bytes_of(camera)
        return chosen

    def _in_order(self, window: list[Held]) -> Iterable[Held]:
        sample_ms = self._settings.sample_ms
        firsts: set[tuple[str, str, int]] = set()
        rest: list[Held] = []
        lowest: list[Held] = []
        for held in sorted((one for one in window if one.record.side is Side.FRAME), key=_by_offset):
            record = held.record
            bucket = (record.zone, record.camera, record.event_ms // sample_ms)
            (rest if bucket in firsts else lowest).append(held)
            firsts.add(bucket)
        return chain(rest, lowest, sorted((one for one in window if one.record.side is Side.TEXT), key=_by_age))

    @property
    def _text_bytes(self) -> int:
        return TEXT_BYTES + self._labels * LABEL_BYTES


def _bytes_of(name: str) -> int:
    return len(name.encode()) + NAME_BYTES


def _by_offset(held: Held) -> int:
    return held.record.offset


def _by_age(held: Held) -> tuple[int, int]:
    return (held.record.event_ms, held.record.offset)
