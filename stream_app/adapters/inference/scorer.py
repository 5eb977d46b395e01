"""The scorer: images, texts and pairs in, calibrated integer scores out; the inference port on a real engine.

Three stages (image encoder, text encoder, fusion head), each a lane of greedy micro-batches with a thread of its own.
A record is decoded and encoded once and fused as often as it is asked for. For a pair three rows are fused: both
sides, the image alone, the text alone; so an alert can say what each contributed. It knows records by key only, no
Kafka and no incidents.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_app.adapters.decoding.images import DecodeFailure, ImageDecoder
from stream_app.adapters.inference.batching import ItemFailedError, Lane
from stream_app.adapters.inference.engine import EngineSettings, FusionRow
from stream_app.adapters.inference.features import Encoded, FeatureCache
from stream_app.adapters.inference.watchdog import Watchdog
from stream_app.bundle.calibration import micro_logits
from stream_app.bundle.load import Bundle
from stream_app.bundle.manifest import PRESENCES, Presence
from stream_app.runtime.ports.scoring import ImageInput, MicroLogits, RecordKey, Score, ScoreItem, TextInput

#: The reason of a side that was prepared well and that the model could not take.
INFERENCE_FAILURE = "inference"
_ROWS_OF_A_PAIR = 3
#: What an entry of the cache costs beside its numbers: a task, an array's header, a key.
_ENTRY_OVERHEAD_BYTES = 1500

#: Full, without image, without text.
_Scores = tuple[MicroLogits, MicroLogits | None, MicroLogits | None]
_In = TypeVar("_In")


class FusionEngine(Protocol):
    """What the scorer needs of an engine; all calls come from executor threads."""

    @property
    def settings(self) -> EngineSettings:
        """The bounds of its batches."""
        ...

    def encode_images(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[NDArray[np.float32]]:
        """Encode images; raises GraphError for a batch that fails."""
        ...

    def encode_texts(self, rows: Sequence[Sequence[int]]) -> Sequence[NDArray[np.float32]]:
        """Encode token ids; raises GraphError for a batch that fails."""
        ...

    def fuse(self, rows: Sequence[FusionRow]) -> NDArray[np.float32]:
        """Fuse features; raises GraphError for a batch that fails."""
        ...

    def probe(self) -> None:
        """Run a known input; raises GraphError if the engine is broken."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerSettings:
    """Operational settings of the scorer.

    Attributes:
        max_in_flight: items being scored at once, over all tasks; more calls wait.
        cache_bytes: what features may take.
        watchdog_s: time after which a running batch counts as hung.
    """

    max_in_flight: int
    cache_bytes: int
    watchdog_s: float


@dataclass(frozen=True, slots=True)
class ScorerStats:
    """Counts since the start, and what is there now.

    ``batches`` and ``waiting`` are per stage (image, text, fusion). ``failures`` counts records by reason, each once.
    """

    items_scored: int
    images_encoded: int
    texts_encoded: int
    rows_fused: int
    in_flight: int
    cached: int
    batches: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)


class BatchingScorer:
    """Implements ``stream_app.runtime.ports.scoring.Scorer``. Everything but the batches runs on one event loop."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: FusionEngine,
        decoder: ImageDecoder,
        on_hang: Callable[[str], None],
        settings: ScorerSettings,
    ) -> None:
        """Set up a scorer; ``start`` sets the watchdog on it.

        Args:
            bundle: the bundle that the engine runs.
            engine: warmed.
            decoder: started; the caller closes it after the scorer.
            on_hang: called in the watchdog's thread with a sentence when a batch hangs; expected to end the process.
            settings: see ``ScorerSettings``.
        """
        self._bundle = bundle
        self._engine = engine
        self._decoder = decoder
        # One thread per stage: a long image batch must not hold back the short rows of the fusion head.
        self._executors = [ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("image", "text", "fusion")]
        image, text, fusion = self._executors
        most, probe = engine.settings, engine.probe
        self._images = Lane("image", engine.encode_images, max_batch=most.batch_images, executor=image, probe=probe)
        self._texts = Lane("text", self._encode_texts, max_batch=most.batch_texts, executor=text, probe=probe)
        pairs = max(1, most.batch_rows // _ROWS_OF_A_PAIR)
        self._fusion = Lane("fusion", self._fuse, max_batch=pairs, executor=fusion, probe=probe)
        features = bundle.manifest.features
        row_bytes = 4 * max(math.prod(features.image), math.prod(features.text)) + _ENTRY_OVERHEAD_BYTES
        self._cache = FeatureCache(most=settings.cache_bytes // row_bytes)
        self._room = asyncio.Semaphore(settings.max_in_flight)
        self._in_flight = self._items_scored = self._rows_fused = 0
        self._failures: Counter[str] = Counter()
        stages = {
            "image encoder": lambda: self._images.batch_in_work,
            "text encoder": lambda: self._texts.batch_in_work,
            "fusion head": lambda: self._fusion.batch_in_work,
        }
        self._watchdog = Watchdog(stages, limit_s=settings.watchdog_s, on_hang=on_hang)

    def start(self) -> None:
        """Set the watchdog on the stages."""
        self._watchdog.start()

    async def close(self) -> None:
        """Fail what waits with LaneBrokenError, let running batches end, free the threads."""
        for lane in (self._images, self._texts, self._fusion):
            lane.close()
        await self._cache.close()
        for executor in self._executors:
            await asyncio.to_thread(executor.shutdown, cancel_futures=True)
        # Last: a batch that hangs while the process wants to end is to be found, too.
        self._watchdog.stop()

    async def score(self, item: ScoreItem) -> Score:
        """Score one item; see the port.

        Raises:
            LaneBrokenError: if the engine fails on a known input, or the scorer was closed.
            DecodePoolError: if no decode child can be started any more.
        """
        async with self._room:
            self._in_flight += 1
            try:
                return await self._score(item)
            finally:
                self._in_flight -= 1

    def forget(self, key: RecordKey) -> None:
        """Let the features of a record go; a key that is not known is ignored."""
        self._cache.forget(key)

    def oldest_batch_s(self) -> float:
        """Return how long the oldest running batch has been running, in seconds; 0 if none is."""
        return self._watchdog.oldest_s

    def stats(self) -> ScorerStats:
        """Return the counts so far."""
        lanes = {lane.name: lane.stats() for lane in (self._images, self._texts, self._fusion)}
        return ScorerStats(
            items_scored=self._items_scored,
            images_encoded=lanes["image"].items,
            texts_encoded=lanes["text"].items,
            rows_fused=self._rows_fused,
            in_flight=self._in_flight,
            cached=len(self._cache),
            batches={name: stats.batches for name, stats in lanes.items()},
            waiting={name: stats.waiting for name, stats in lanes.items()},
            failures=dict(self._failures),
        )

    async def _score(self, item: ScoreItem) -> Score:
        image, text = item.image, item.text
        # Both are started before either is awaited.
        image_task = None if image is None else self._cache.request(image.key, partial(self._encode_image, image))
        text_task = None if text is None else self._cache.request(text.key, partial(self._encode_text, text))
        image_side = None if image_task is None else await asyncio.shield(image_task)
        text_side = None if text_task is None else await asyncio.shield(text_task)
        score = await self._fused(image_side, text_side)
        self._items_scored += 1
        return score

    async def _encode_image(self, image: ImageInput) -> Encoded:
        decoded = await self._decoder.decode(image.data)
        if isinstance(decoded, DecodeFailure):
            self._failures[decoded.reason] += 1
            return decoded.reason
        return await self._encoded(self._images, decoded)

    async def _encode_text(self, text: TextInput) -> Encoded:
        return await self._encoded(self._texts, text.text)

    async def _encoded(self, lane: Lane[_In, NDArray[np.float32]], item: _In) -> Encoded:
        try:
            return await lane.submit(item)
        except ItemFailedError:
            self._failures[INFERENCE_FAILURE] += 1
            return INFERENCE_FAILURE

    async def _fused(self, image: Encoded | None, text: Encoded | None) -> Score:
        """Fuse what could be encoded. If a pair cannot be fused, the text is tried alone, then the image alone."""
        image_row = None if isinstance(image, str) else image
        text_row = None if isinstance(text, str) else text
        attempts: list[FusionRow] = [(image_row, text_row)]
        if image_row is not None and text_row is not None:
            attempts += [(None, text_row), (image_row, None)]
        for attempt in attempts:
            if attempt[0] is None and attempt[1] is None:
                break
            try:
                full, without_image, without_text = await self._fusion.submit(attempt)
            except ItemFailedError:
                continue
            image_failure, text_failure = self._failure(image, attempt[0]), self._failure(text, attempt[1])
            return Score(full, without_image, without_text, image_failure, text_failure)
        return Score(None, None, None, self._failure(image, None), self._failure(text, None))

    def _failure(self, side: Encoded | None, row: NDArray[np.float32] | None) -> str | None:
        """Return why a side took no part: its own failure, or that the fusion head could not take it."""
        if side is None or isinstance(side, str):
            return side
        if row is not None:
            return None
        self._failures[INFERENCE_FAILURE] += 1
        return INFERENCE_FAILURE

    def _encode_texts(self, texts: Sequence[str]) -> Sequence[NDArray[np.float32]]:
        return self._engine.encode_texts([self._bundle.tokenizer.encode(text) for text in texts])

    def _fuse(self, items: Sequence[FusionRow]) -> list[_Scores]:
        """Fuse items of one or two sides: the rows of all items in one run."""
        rows = [row for item in items for row in _rows(item)]
        logits = self._engine.fuse(rows)
        self._rows_fused += len(rows)
        calibrated = iter(self._calibrated(rows, logits))
        scores: list[_Scores] = []
        for item in items:
            full = next(calibrated)
            if _presence(item) == "both":
                image_alone, text_alone = next(calibrated), next(calibrated)
                scores.append((full, text_alone, image_alone))
            else:
                scores.append((full, None, None))
        return scores

    def _calibrated(self, rows: Sequence[FusionRow], logits: NDArray[np.float32]) -> list[MicroLogits]:
        manifest = self._bundle.manifest
        scores: dict[int, MicroLogits] = {}
        for presence in PRESENCES:
            at = [index for index, row in enumerate(rows) if _presence(row) == presence]
            found = micro_logits(logits[at], task=manifest.task, calibration=manifest.calibration, presence=presence)
            scores.update(zip(at, found, strict=True))
        return [scores[index] for index in range(len(rows))]


def _rows(item: FusionRow) -> list[FusionRow]:
    image, text = item
    return [item] if image is None or text is None else [item, (image, None), (None, text)]


def _presence(row: FusionRow) -> Presence:
    if row[0] is None:
        return "text"
    return "image" if row[1] is None else "both"
