"""The ages of cameras and texts as metrics, read when somebody scrapes; what was heard when is the core's ledger.

In: the ledger and the wall clock. Out: Prometheus samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_app.core.heard import Heard, LastHeard


class Freshness(Collector):
    """A collector of the ages at scrape time."""

    def __init__(self, heard: Heard, *, now_ms: Callable[[], int]) -> None:
        """Make it.

        Args:
            heard: the ledger of one worker.
            now_ms: wall time in ms since the epoch; ages are against it, and a clock that lags shows 0, never less.
        """
        self._heard = heard
        self._now_ms = now_ms

    def collect(self) -> Iterator[Metric]:
        """Yield the ages as Prometheus gauges, as of now."""
        now = self._now_ms()
        frames = GaugeMetricFamily(
            "vigil_last_frame_age_seconds", "Age of a camera's newest frame.", labels=["zone", "camera"]
        )
        for names, newest_ms in _newest(self._heard.frames()).items():
            frames.add_metric(names, _age_s(now, newest_ms))
        yield frames
        texts = GaugeMetricFamily("vigil_last_text_age_seconds", "Age of a zone's newest text.", labels=["zone"])
        for (zone, _), newest_ms in _newest(self._heard.texts()).items():
            texts.add_metric([zone], _age_s(now, newest_ms))
        yield texts
        blind = self._heard.blind_zones(now)
        yield GaugeMetricFamily(
            "vigil_zones_without_frames", "Zones with texts and no frames in the last ten minutes.", value=len(blind)
        )
        named = GaugeMetricFamily("vigil_zone_without_frames", "1 for each of those zones.", labels=["zone"])
        for zone in blind:
            named.add_metric([zone], 1)
        yield named
        yield GaugeMetricFamily(
            "vigil_names_left_out",
            "Records of cameras and zones beyond the bound on names.",
            value=self._heard.left_out,
        )


def _newest(heard: Iterable[LastHeard]) -> dict[tuple[str, str], int]:
    """Return the newest append time by zone and camera as shown: cut and replaced, two names may look like one."""
    newest: dict[tuple[str, str], int] = {}
    for one in heard:
        names = (one.zone, one.camera)
        newest[names] = max(one.append_ms, newest.get(names, one.append_ms))
    return newest


def _age_s(now_ms: int, append_ms: int) -> float:
    return max(now_ms - append_ms, 0) / 1_000
