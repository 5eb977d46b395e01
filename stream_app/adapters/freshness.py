"""When each camera and each zone's texts were last heard of: what an operator asks first when alerts are missing.

In: raw records as they arrive. Out: ages, and the zones that have texts and no frames. Bounded: a key that somebody
fills with random names must not fill the memory, nor the metrics page. At the bound a new name takes the place of the
one that was silent for longest, if that is ten minutes or more; else it is left out and counted. So a flood of names
neither drives out cameras that speak nor shuts new ones out for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_app.core.types import RawRecord, Side

MAX_CAMERAS = 1_000
MAX_ZONES = 1_000
#: A zone whose texts are younger than this and that had no frame within it has alarms and no eyes.
RECENT_MS = 600_000
_MAX_NAME_CHARS = 64
_KeyT = TypeVar("_KeyT")


class LastSeen(msgspec.Struct, frozen=True, gc=False):
    """The newest append time of a camera's frames, or of a zone's texts (``camera`` is empty then)."""

    partition: int
    zone: str
    camera: str
    append_ms: int


class Freshness(Collector):
    """Keeps the newest append time per camera and per zone; a Prometheus collector of their ages at scrape time."""

    def __init__(self, *, now_ms: Callable[[], int]) -> None:
        """Make it.

        Args:
            now_ms: wall time in ms since the epoch; ages are against it, and a clock that lags shows 0, never less.
        """
        self._now_ms = now_ms
        self._frames: dict[tuple[int, bytes, bytes], int] = {}
        self._texts: dict[tuple[int, bytes], int] = {}
        #: Zones by their newest frame. Cameras that are left out must not make their zone seem blind.
        self._seeing: dict[tuple[int, bytes], int] = {}
        self._left_out = 0

    def saw(self, partition: int, side: Side, raws: Iterable[RawRecord]) -> None:
        """Take note of records; those without a key have no zone and are passed over."""
        for raw in raws:
            if raw.key is None:
                continue
            zone = (partition, raw.key)
            if side is Side.TEXT:
                self._left_out += not self._noted(self._texts, zone, raw.timestamp, MAX_ZONES)
                continue
            self._left_out += not self._noted(self._frames, (*zone, _camera(raw)), raw.timestamp, MAX_CAMERAS)
            # Zones with texts are few enough already.
            self._noted(self._seeing, zone, raw.timestamp, 2 * MAX_ZONES if zone in self._texts else MAX_ZONES)

    def forget(self, partition: int) -> None:
        """Drop what belongs to a partition that another worker reads from now on."""
        self._frames = {key: at for key, at in self._frames.items() if key[0] != partition}
        self._texts = {key: at for key, at in self._texts.items() if key[0] != partition}
        self._seeing = {key: at for key, at in self._seeing.items() if key[0] != partition}

    def frames(self) -> Iterator[LastSeen]:
        """Yield every camera known."""
        for (partition, zone, camera), at in self._frames.items():
            yield LastSeen(partition, _name(zone), _name(camera), at)

    def texts(self) -> Iterator[LastSeen]:
        """Yield every zone known to have texts."""
        for (partition, zone), at in self._texts.items():
            yield LastSeen(partition, _name(zone), "", at)

    def blind_zones(self) -> list[str]:
        """Return the zones with a text in the last ten minutes and no frame in them, in alphabetical order."""
        since = self._now_ms() - RECENT_MS
        seeing = {zone for (_, zone), at in self._seeing.items() if at >= since}
        return sorted({_name(zone) for (_, zone), at in self._texts.items() if at >= since and zone not in seeing})

    def collect(self) -> Iterator[Metric]:
        """Yield the ages as Prometheus gauges, as of now."""
        now = self._now_ms()
        frames = GaugeMetricFamily(
            "vigil_last_frame_age_seconds", "Age of a camera's newest frame.", labels=["zone", "camera"]
        )
        for names, newest_ms in _newest(self.frames()).items():
            frames.add_metric(names, _age_s(now, newest_ms))
        yield frames
        texts = GaugeMetricFamily("vigil_last_text_age_seconds", "Age of a zone's newest text.", labels=["zone"])
        for (zone, _), newest_ms in _newest(self.texts()).items():
            texts.add_metric([zone], _age_s(now, newest_ms))
        yield texts
        blind = self.blind_zones()
        yield GaugeMetricFamily(
            "vigil_zones_without_frames", "Zones with texts and no frames in the last ten minutes.", value=len(blind)
        )
        named = GaugeMetricFamily("vigil_zone_without_frames", "1 for each of those zones.", labels=["zone"])
        for zone in blind:
            named.add_metric([zone], 1)
        yield named
        yield GaugeMetricFamily(
            "vigil_names_left_out", "Records of cameras and zones beyond the bound on names.", value=self._left_out
        )

    def _noted(self, seen: dict[_KeyT, int], key: _KeyT, append_ms: int, limit: int) -> bool:
        """Note a name, the last heard of at the end; return False where it is left out."""
        before = seen.pop(key, None)
        if before is None and len(seen) >= limit:
            silent_for_longest, heard_ms = next(iter(seen.items()))
            if heard_ms > self._now_ms() - RECENT_MS:
                return False
            del seen[silent_for_longest]
        seen[key] = append_ms if before is None else max(append_ms, before)
        return True


def _newest(seen: Iterable[LastSeen]) -> dict[tuple[str, str], int]:
    """Return the newest append time by zone and camera as shown: cut and replaced, two names may look like one."""
    newest: dict[tuple[str, str], int] = {}
    for one in seen:
        names = (one.zone, one.camera)
        newest[names] = max(one.append_ms, newest.get(names, one.append_ms))
    return newest


def _camera(raw: RawRecord) -> bytes:
    for name, content in raw.headers:
        if name.lower() == "camera":
            return content or b""
    return b""


def _name(name: bytes) -> str:
    return name.decode("utf-8", "replace")[:_MAX_NAME_CHARS]


def _age_s(now_ms: int, append_ms: int) -> float:
    return max(now_ms - append_ms, 0) / 1_000
