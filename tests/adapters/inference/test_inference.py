"""The scorer: each record encoded once, scores equal whatever the batching, and failures named, never swallowed."""

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream_app.adapters.decoding.images import DecodeFailure
from stream_app.adapters.decoding.pool import DecodePool
from stream_app.adapters.inference.batching import LaneBrokenError
from stream_app.adapters.inference.engine import Engine, FusionRow
from stream_app.adapters.inference.scorer import BatchingScorer
from stream_app.bundle.graphs import GraphError
from stream_app.bundle.image import ImageError, decode_image
from stream_app.bundle.load import Bundle, load_bundle
from stream_app.config import Operational, Semantic
from stream_app.runtime.ports.scoring import ImageInput, RecordKey, Score, ScoreItem, Scorer, TextInput
from stream_app.wiring.model import decode_settings, engine_settings, scorer_settings
from tests.adapters.decoding.decode_doubles import DIE
from tests.bundle.tiny_bundle import write_tiny_bundle

_DECLARED = Operational()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path: Path = write_tiny_bundle(tmp_path_factory.mktemp("bundles"))
    return load_bundle(path)


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Engine:
    settings = engine_settings(Operational(provider="cpu", batch_images=8, batch_texts=8, batch_pairs=24))
    return Engine.open(bundle, on_notice=pytest.fail, settings=settings)


class _InlineDecoder:
    """Decodes at once, in this process, and counts."""

    def __init__(self, bundle: Bundle) -> None:
        self.calls = 0
        self._spec = bundle.manifest.image

    async def decode(self, data: bytes) -> NDArray[np.uint8] | DecodeFailure:
        self.calls += 1
        await asyncio.sleep(0)
        try:
            return decode_image(data, self._spec)
        except ImageError as error:
            return DecodeFailure("undecodable", str(error))


class _Faulty:
    """An engine that fails on purpose: on an all-white image, on the token of "smoke", or altogether."""

    def __init__(self, engine: Engine, bundle: Bundle) -> None:
        self._engine = engine
        self.bad_token = bundle.tokenizer.encode("smoke")[0]
        self.is_broken = self.hates_pairs = False
        self.gate = threading.Event()
        self.gate.set()
        self.image_batches: list[int] = []
        self.settings = engine.settings

    def _check(self, *, is_bad: bool) -> None:
        self.gate.wait()
        if self.is_broken or is_bad:
            raise GraphError("on purpose")

    def encode_images(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[NDArray[np.float32]]:
        self.image_batches.append(len(images))
        self._check(is_bad=any(bool((image == 255).all()) for image in images))
        return self._engine.encode_images(images)

    def encode_texts(self, rows: Sequence[Sequence[int]]) -> Sequence[NDArray[np.float32]]:
        self._check(is_bad=any(self.bad_token in row for row in rows))
        return self._engine.encode_texts(rows)

    def fuse(self, rows: Sequence[FusionRow]) -> NDArray[np.float32]:
        self._check(is_bad=self.hates_pairs and any(row[0] is not None and row[1] is not None for row in rows))
        return self._engine.fuse(rows)

    def probe(self) -> None:
        self._check(is_bad=False)


class _Rig:
    def __init__(self, engine: Engine, bundle: Bundle, operational: Operational) -> None:
        self.decoder = _InlineDecoder(bundle)
        self.faulty = _Faulty(engine, bundle)
        self.hangs: asyncio.Queue[str] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self.scorer = BatchingScorer(
            bundle,
            engine=self.faulty,
            decoder=self.decoder,
            on_hang=self._on_hang,
            settings=scorer_settings(operational),
        )

    def _on_hang(self, words: str) -> None:
        self._loop.call_soon_threadsafe(lambda: self.hangs.put_nowait(words))


@asynccontextmanager
async def _rig(engine: Engine, bundle: Bundle, operational: Operational = _DECLARED) -> AsyncIterator[_Rig]:
    rig = _Rig(engine, bundle, operational)
    rig.scorer.start()
    try:
        yield rig
    finally:
        rig.faulty.gate.set()
        await rig.scorer.close()


def _key(side: int, offset: int) -> RecordKey:
    return (1, 0, side, offset)


def _image(offset: int, *colour: int) -> ImageInput:
    pixels = np.full((60, 80, 3), (colour or (offset * 7 % 256, offset * 31 % 256, 90))[::-1], dtype=np.uint8)
    pixels[:20, : 1 + offset % 60] //= 2
    return ImageInput(_key(1, offset), cv2.imencode(".png", pixels)[1].tobytes())


def _text(offset: int, text: str) -> TextInput:
    return TextInput(_key(0, offset), text)


_RED, _BLACK = _image(900, 255, 0, 0), _image(901, 0, 0, 0)
_WHITE = ImageInput(_key(1, 902), cv2.imencode(".png", np.full((60, 80, 3), 255, dtype=np.uint8))[1].tobytes())


def test_scores_say_what_the_tiny_model_was_made_to_say(engine: Engine, bundle: Bundle) -> None:
    async def run() -> None:
        async with _rig(engine, bundle) as rig:
            score: Scorer = rig.scorer
            pair = await score.score(ScoreItem(_RED, _text(1, "a fight")))
            assert pair.full is not None
            assert pair.without_image is not None
            assert pair.without_text is not None
            assert pair.full[0] == pytest.approx(4e6, abs=5e5)
            assert pair.without_image[0] == pytest.approx(2e6, abs=5e5)
            assert pair.without_text[0] == pytest.approx(0, abs=5e5)
            dark = await score.score(ScoreItem(_BLACK, _text(1, "a fight")))
            assert dark.full is not None
            assert dark.full[0] == pytest.approx(0, abs=5e5)
            text = await score.score(ScoreItem(None, _text(1, "a fight")))
            assert text == Score(pair.without_image)
            image = await score.score(ScoreItem(_RED, None))
            assert image == Score(pair.without_text)

    asyncio.run(run())


def test_scores_are_equal_to_the_last_bit_whatever_is_in_flight(engine: Engine, bundle: Bundle) -> None:
    words = ["a fight", "", "fire at the gate", "all quiet", "two men", "unknown words only"]
    items = [ScoreItem(_image(n), _text(n % 6, words[n % 6])) for n in range(20)]
    items += [ScoreItem(_image(n), None) for n in range(5)] + [ScoreItem(None, _text(n, words[n])) for n in range(6)]

    async def one_by_one() -> list[Score]:
        async with _rig(engine, bundle) as rig:
            return [await rig.scorer.score(item) for item in items]

    async def at_once(order: int) -> list[Score]:
        async with _rig(engine, bundle) as rig:
            found = await asyncio.gather(*(rig.scorer.score(item) for item in items[::order]))
            assert rig.decoder.calls == 20
            stats = rig.scorer.stats()
            assert (stats.images_encoded, stats.texts_encoded, stats.rows_fused) == (20, 6, 71)
            assert stats.items_scored == len(items)
            assert stats.in_flight == 0
            return found[::order]

    alone = asyncio.run(one_by_one())
    assert asyncio.run(at_once(1)) == alone
    assert asyncio.run(at_once(-1)) == alone


def test_a_record_is_encoded_once_until_it_is_forgotten(engine: Engine, bundle: Bundle) -> None:
    async def run() -> None:
        async with _rig(engine, bundle) as rig:
            items = [ScoreItem(_RED, _text(n, "a fight")) for n in range(10)]
            await asyncio.gather(*map(rig.scorer.score, items))
            await rig.scorer.score(items[0])
            assert rig.decoder.calls == 1
            assert rig.scorer.stats().cached == 11
            rig.scorer.forget(_RED.key)
            rig.scorer.forget(_key(1, 12345))
            await rig.scorer.score(items[0])
            assert rig.decoder.calls == 2

    asyncio.run(run())


def test_the_cache_is_bounded(engine: Engine, bundle: Bundle) -> None:
    async def run() -> None:
        async with _rig(engine, bundle, Operational(feature_bytes=5 * 1600)) as rig:
            scores = [await rig.scorer.score(ScoreItem(_image(n % 10), None)) for n in range(20)]
            assert rig.scorer.stats().cached <= 5
            assert scores[:10] == scores[10:]

    asyncio.run(run())


def test_a_broken_image_leaves_the_text_to_be_scored_alone(engine: Engine, bundle: Bundle) -> None:
    async def run() -> None:
        async with _rig(engine, bundle) as rig:
            broken = ImageInput(_key(1, 5), _RED.data[:100])
            alone = await rig.scorer.score(ScoreItem(None, _text(1, "a fight")))
            masked = await rig.scorer.score(ScoreItem(broken, _text(1, "a fight")))
            assert masked == Score(alone.full, image_failure="undecodable")
            nothing = await rig.scorer.score(ScoreItem(broken, None))
            assert nothing == Score(None, image_failure="undecodable")
            assert rig.decoder.calls == 1
            assert rig.scorer.stats().failures == {"undecodable": 1}

    asyncio.run(run())


def test_an_input_that_the_model_cannot_take_fails_alone(engine: Engine, bundle: Bundle) -> None:
    async def run() -> None:
        async with _rig(engine, bundle) as rig:
            items = [ScoreItem(_image(n), _text(n, "a fight")) for n in range(6)]
            items += [ScoreItem(_WHITE, _text(7, "a fight")), ScoreItem(_RED, _text(8, "smoke"))]
            items += [ScoreItem(_WHITE, _text(8, "smoke"))]
            scores = await asyncio.gather(*map(rig.scorer.score, items))
            assert all(score.without_image and not score.image_failure for score in scores[:6])
            assert scores[6] == Score(scores[0].without_image, image_failure="inference")
            assert scores[7].text_failure == "inference"
            assert scores[7].full is not None
            assert scores[8] == Score(None, image_failure="inference", text_failure="inference")
            assert rig.scorer.stats().failures == {"inference": 2}

    asyncio.run(run())


def test_a_pair_that_cannot_be_fused_still_gives_the_text_a_voice(engine: Engine, bundle: Bundle) -> None:
    async def run() -> None:
        async with _rig(engine, bundle) as rig:
            alone = await rig.scorer.score(ScoreItem(None, _text(1, "a fight")))
            rig.faulty.hates_pairs = True
            assert await rig.scorer.score(ScoreItem(_RED, _text(1, "a fight"))) == Score(
                alone.full, image_failure="inference"
            )

    asyncio.run(run())


def test_a_broken_engine_raises_and_is_never_a_failed_input(engine: Engine, bundle: Bundle) -> None:
    async def run() -> None:
        async with _rig(engine, bundle) as rig:
            rig.faulty.is_broken = True
            with pytest.raises(LaneBrokenError, match="image: the engine is broken"):
                await rig.scorer.score(ScoreItem(_RED, None))

    asyncio.run(run())


def test_a_cancelled_request_leaves_the_encoding_to_others(engine: Engine, bundle: Bundle) -> None:
    async def run() -> None:
        async with _rig(engine, bundle) as rig:
            first = asyncio.create_task(rig.scorer.score(ScoreItem(_RED, None)))
            second = asyncio.create_task(rig.scorer.score(ScoreItem(_RED, None)))
            await asyncio.sleep(0)
            first.cancel()
            rig.scorer.forget(_RED.key)
            assert (await second).full is not None
            assert rig.decoder.calls == 1

    asyncio.run(run())


def test_work_in_flight_is_bounded_and_batches_grow_while_the_engine_is_busy(engine: Engine, bundle: Bundle) -> None:
    async def run() -> None:
        async with _rig(engine, bundle, Operational(scorer_in_flight=12)) as rig:
            rig.faulty.gate.clear()
            work = [asyncio.create_task(rig.scorer.score(ScoreItem(_image(n), None))) for n in range(40)]
            for _ in range(20):
                await asyncio.sleep(0)
            assert rig.scorer.stats().in_flight == 12
            assert rig.decoder.calls == 12
            rig.faulty.gate.set()
            assert all(score.full for score in await asyncio.gather(*work))
            assert max(rig.faulty.image_batches) == 8

    asyncio.run(run())


def test_a_batch_that_hangs_is_called_out(engine: Engine, bundle: Bundle) -> None:
    async def run() -> None:
        async with _rig(engine, bundle, Operational(watchdog_s=1)) as rig:
            rig.faulty.gate.clear()
            work = asyncio.create_task(rig.scorer.score(ScoreItem(_RED, None)))
            words = await asyncio.wait_for(rig.hangs.get(), timeout=60)
            assert words.startswith("image encoder: batch 1 has been running for")
            rig.faulty.gate.set()
            await work

    asyncio.run(run())


def test_with_real_decode_children_a_poison_image_costs_only_itself(engine: Engine, bundle: Bundle) -> None:
    async def run() -> list[Score]:
        spec = bundle.manifest.image
        told = decode_settings(_DECLARED, Semantic())
        pool = DecodePool(
            spec,
            settings=dataclasses.replace(
                told, children=1, decode="tests.adapters.decoding.decode_doubles:decode_on_cue"
            ),
        )
        await pool.start()
        scorer = BatchingScorer(
            bundle, engine=engine, decoder=pool, on_hang=pytest.fail, settings=scorer_settings(_DECLARED)
        )
        scorer.start()
        try:
            poison = ImageInput(_key(1, 50), _RED.data + DIE)
            items = [ScoreItem(image, _text(3, "a fight")) for image in (_image(1), poison, _image(2), poison)]
            return await asyncio.gather(*map(scorer.score, items))
        finally:
            await scorer.close()
            await pool.close()

    async def expected() -> list[Score]:
        async with _rig(engine, bundle) as rig:
            return [await rig.scorer.score(ScoreItem(_image(n), _text(3, "a fight"))) for n in (1, 2)]

    scores = asyncio.run(run())
    assert [scores[0], scores[2]] == asyncio.run(expected())
    assert scores[1] == scores[3] == Score(scores[0].without_image, image_failure="decode-crash")
