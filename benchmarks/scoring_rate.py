"""Scored frames per second: decode pool, micro-batches and fusion of the worker, beside bare OpenCV and ONNX Runtime.

In: a bundle. Out: figures. Both sides score the same frames with the same texts on the same cores. The bare side is a
loop that a benchmark would write: a thread per core, each decoding 32 images and running the three graphs over them,
one fused row a pair, no records, no queues, no isolation of poison images. The worker's side decodes in child processes
and fuses three rows a pair, since an alert says what each side contributed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.measured import Figure, ratios, usable_cores
from benchmarks.records import jpeg
from stream_app.adapters.decoding.pool import DecodePool
from stream_app.adapters.inference.engine import Engine
from stream_app.adapters.inference.scorer import BatchingScorer
from stream_app.bundle.graphs import Graphs
from stream_app.bundle.image import decode_image
from stream_app.bundle.load import Bundle, load_bundle
from stream_app.config import Operational, Semantic
from stream_app.core.types import Side
from stream_app.runtime.ports.scoring import ImageInput, ScoreItem, TextInput
from stream_app.wiring.model import decode_settings, engine_settings, scorer_settings

#: Goal: this share of what bare decoding and inference do.
GOAL_RATIO = 0.5
#: Frames that one text meets.
_FRAMES_PER_TEXT = 10
_PICTURES = 64
_BATCH = 32
#: As many observations as four tasks may have in flight.
_IN_FLIGHT = 256


def measure_scoring(path: Path, *, rounds: int, frames: int, sizes: Sequence[tuple[int, int]]) -> list[Figure]:
    """Measure both sides in turn.

    Args:
        path: directory of the bundle.
        rounds: how often each.
        frames: frames per round.
        sizes: width and height of the frames.

    Returns:
        Per size: the worker's and the bare frames per second, and their ratio.
    """
    bundle = load_bundle(path)
    figures: list[Figure] = []
    for width, height in sizes:
        pictures = [jpeg(width, height, noise=4.0, seed=number) for number in range(_PICTURES)]
        images = [pictures[number % _PICTURES] for number in range(frames)]
        rates = asyncio.run(_in_turn(bundle, images, rounds))
        worker, bare = tuple(one for one, _ in rates), tuple(other for _, other in rates)
        what = f"{width}x{height} JPEG"
        figures += [
            Figure(part="scoring", name=f"worker's scorer, {what}", unit="frames/s", values=worker),
            Figure(part="scoring", name=f"bare decode + ONNX Runtime, {what}", unit="frames/s", values=bare),
            Figure(
                part="scoring",
                name=f"worker's scorer / bare, {what}",
                unit="times",
                values=ratios(worker, bare),
                goal=GOAL_RATIO,
                digits=2,
            ),
        ]
    return figures


async def _in_turn(bundle: Bundle, images: Sequence[bytes], rounds: int) -> list[tuple[float, float]]:
    operational = Operational(provider="cpu")
    engine = Engine.open(bundle, on_notice=lambda _: None, settings=engine_settings(operational))
    decoder = DecodePool(bundle.manifest.image, settings=decode_settings(operational, Semantic()))
    scorer = BatchingScorer(
        bundle, engine=engine, decoder=decoder, on_hang=_hung, settings=scorer_settings(operational)
    )
    graphs = Graphs(bundle, intra_op_threads=1)
    await decoder.start()
    try:
        scorer.start()
        # Once unmeasured: threads, caches and allocators of both sides are warm then.
        await _score(scorer, images[:_BATCH], -1)
        _bare(bundle, graphs, images[: _BATCH * usable_cores()])
        return [
            (await _score(scorer, images, number), await asyncio.to_thread(_bare, bundle, graphs, images))
            for number in range(rounds)
        ]
    finally:
        await scorer.close()
        await decoder.close()


async def _score(scorer: BatchingScorer, images: Sequence[bytes], round_number: int) -> float:
    """Score all frames with as many in flight as a worker has; return frames per second."""
    waiting = iter(enumerate(images))

    async def work() -> None:
        for number, data in waiting:
            text = number // _FRAMES_PER_TEXT
            frame_key, text_key = (round_number, 0, int(Side.FRAME), number), (round_number, 0, int(Side.TEXT), text)
            score = await scorer.score(ScoreItem(ImageInput(frame_key, data), TextInput(text_key, _text(text))))
            if score.full is None or score.image_failure is not None:
                message = f"frame {number}: expected a score of both sides, found {score}"
                raise RuntimeError(message)
            scorer.forget(frame_key)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(_IN_FLIGHT):
            group.create_task(work())
    return len(images) / (time.perf_counter() - started)


def _bare(bundle: Bundle, graphs: Graphs, images: Sequence[bytes]) -> float:
    """Decode and infer with one thread per core and nothing around it; return frames per second."""
    spec = bundle.manifest.image

    def batch(first: int) -> int:
        part = images[first : first + _BATCH]
        pixels = np.stack([decode_image(data, spec) for data in part])
        texts = range(first // _FRAMES_PER_TEXT, (first + len(part) - 1) // _FRAMES_PER_TEXT + 1)
        tokens, length = bundle.tokenizer.encode_batch(_text(text) for text in texts)
        image_features, text_features = graphs.encode_images(pixels), graphs.encode_texts(tokens, length)
        belongs = np.arange(first, first + len(part)) // _FRAMES_PER_TEXT - texts.start
        there = np.ones(len(part), dtype=np.float32)
        return len(graphs.fuse(image_features, text_features[belongs], there, there))

    started = time.perf_counter()
    with ThreadPoolExecutor(usable_cores()) as threads:
        done = sum(threads.map(batch, range(0, len(images), _BATCH)))
    if done != len(images):
        message = f"expected {len(images)} frames scored, found {done}"
        raise RuntimeError(message)
    return len(images) / (time.perf_counter() - started)


def _text(number: int) -> str:
    return f"two men are fighting at the north gate, alarm {number}"


def _hung(sentence: str) -> None:
    raise RuntimeError(sentence)
