"""What decoding and inference count of themselves, as metrics, read when somebody scrapes.

In: functions that return the scorer's and the decoder's counts. Out: Prometheus samples. Nothing is copied in between,
so there is no second count that could drift from the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from stream_app.adapters.decoding.images import DecodeStats
    from stream_app.adapters.inference.scorer import ScorerStats


class WorkMetrics(Collector):
    """A collector over the counts of one worker."""

    def __init__(self, scorer: Callable[[], ScorerStats], decoder: Callable[[], DecodeStats]) -> None:
        """Keep where to ask."""
        self._scorer = scorer
        self._decoder = decoder

    def collect(self) -> Iterator[Metric]:
        """Yield the samples of this moment."""
        scored, decoded = self._scorer(), self._decoder()
        yield _counter("vigil_decoded", "Images decoded to pixels.", decoded.decoded)
        yield _counter(
            "vigil_decode_children_lost", "Decoding processes that died or were ended.", decoded.lost_children
        )
        yield _gauge("vigil_decode_waiting", "Images that wait to be decoded.", decoded.waiting)
        yield _counter("vigil_items_scored", "Observations scored.", scored.items_scored)
        yield _counter("vigil_images_encoded", "Distinct images encoded.", scored.images_encoded)
        yield _counter("vigil_texts_encoded", "Distinct texts encoded.", scored.texts_encoded)
        yield _counter("vigil_rows_fused", "Rows of the fusion head.", scored.rows_fused)
        yield _gauge("vigil_scores_in_flight", "Observations being scored.", scored.in_flight)
        yield _gauge("vigil_features_cached", "Records whose features are kept.", scored.cached)
        failures = CounterMetricFamily("vigil_scoring_failures", "Sides that could not be scored.", labels=["reason"])
        for reason, count in sorted(scored.failures.items()):
            failures.add_metric([reason], count)
        yield failures
        batches = CounterMetricFamily("vigil_batches", "Batches run.", labels=["stage"])
        for stage, count in sorted(scored.batches.items()):
            batches.add_metric([stage], count)
        yield batches


def _counter(name: str, words: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, words, value=value)


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, value=value)
