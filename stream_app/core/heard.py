"""When each camera and each zone's texts were last heard from: what an operator asks first when alerts are missing.

In: raw records as they arrive, and the time. Out: the newest append times, and the zones that have texts and no frames.
Bounded: a key that somebody fills with random names must not fill the memory. At the bound a new name takes the place
of the one that was silent for longest, if that is ten minutes or more; else it is left out and counted. So a flood of
names neither drives out cameras that speak nor shuts new ones out for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from stream_app.core.types import Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stream_app.core.types import RawRecord

MAX_CAMERAS = 1_000
MAX_ZONES = 1_000
#: A zone whose texts are younger than this and that had no frame within it has alarms and no eyes.
RECENT_MS = 600_000
#: Names are for people to read; longer ones are cut where they are shown.
_MAX_NAME_CHARS = 64
_KeyT = TypeVar("_KeyT")


class LastHeard(msgspec.Struct, frozen=True, gc=False):
    """The newest append time of a camera's frames, or of a zone's texts (``camera`` is empty then)."""

    partition: int
    zone: str
    camera: str
    append_ms: int


class Heard:
    """The newest append time per camera and per zone, of all tasks of a worker."""

    __slots__ = ("_frames", "_seeing", "_texts", "left_out")

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._frames: dict[tuple[int, bytes, bytes], int] = {}
        self._texts: dict[tuple[int, bytes], int] = {}
        #: Zones by their newest frame. Cameras that are left out must not make their zone seem blind.
        self._seeing: dict[tuple[int, bytes], int] = {}
        #: Records of cameras and zones beyond the bound on names.
        self.left_out = 0

    def note(self, partition: int, side: Side, raws: Iterable[RawRecord], now_ms: int) -> None:
        """Take note of records; those without a key have no zone and are skipped.

        Args:
            partition: where they came from.
            side: the topic they came from.
            raws: the records.
            now_ms: wall time in ms since the epoch; only names that compete for a place are compared with it.
        """
        for raw in raws:
            if raw.key is None:
                continue
            zone = (partition, raw.key)
            if side is Side.TEXT:
                self.left_out += not _noted(self._texts, zone, raw.timestamp, MAX_ZONES, now_ms)
                continue
            camera = (*zone, _camera(raw))
            self.left_out += not _noted(self._frames, camera, raw.timestamp, MAX_CAMERAS, now_ms)
            # Zones with texts are few enough already.
            _noted(self._seeing, zone, raw.timestamp, 2 * MAX_ZONES if zone in self._texts else MAX_ZONES, now_ms)

    def forget(self, partition: int) -> None:
        """Drop what belongs to a partition that another worker reads from now on."""
        self._frames = {key: at for key, at in self._frames.items() if key[0] != partition}
        self._texts = {key: at for key, at in self._texts.items() if key[0] != partition}
        self._seeing = {key: at for key, at in self._seeing.items() if key[0] != partition}

    def frames(self) -> Iterator[LastHeard]:
        """Yield every camera known."""
        for (partition, zone, camera), at in self._frames.items():
            yield LastHeard(partition, _name(zone), _name(camera), at)

    def texts(self) -> Iterator[LastHeard]:
        """Yield every zone known to have texts."""
        for (partition, zone), at in self._texts.items():
            yield LastHeard(partition, _name(zone), "", at)

    def blind_zones(self, now_ms: int) -> list[str]:
        """Return the zones with a text in the last ten minutes and no frame in them, in alphabetical order."""
        since = now_ms - RECENT_MS
        seeing = {zone for (_, zone), at in self._seeing.items() if at >= since}
        return sorted({_name(zone) for (_, zone), at in self._texts.items() if at >= since and zone not in seeing})


def _noted(heard: dict[_KeyT, int], key: _KeyT, append_ms: int, limit: int, now_ms: int) -> bool:
    """Note a name, the last heard from at the end; return False where it is left out."""
    before = heard.pop(key, None)
    if before is None and len(heard) >= limit:
        silent_for_longest, heard_ms = next(iter(heard.items()))
        if heard_ms > now_ms - RECENT_MS:
            return False
        del heard[silent_for_longest]
    heard[key] = append_ms if before is None else max(append_ms, before)
    return True


def _camera(raw: RawRecord) -> bytes:
    for name, content in raw.headers:
        if name.lower() == "camera":
            return content or b""
    return b""


def _name(name: bytes) -> str:
    return name.decode("utf-8", "replace")[:_MAX_NAME_CHARS]
