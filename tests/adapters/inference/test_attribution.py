"""What an alert says that each side contributed is what leaving that side out of the fusion head does, exactly."""

import asyncio
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from stream_app.adapters.decoding.images import DecodeFailure
from stream_app.adapters.inference.engine import Engine
from stream_app.adapters.inference.scorer import BatchingScorer
from stream_app.bundle.calibration import micro_logits
from stream_app.bundle.demo import demo_bundle_path
from stream_app.bundle.graphs import Graphs
from stream_app.bundle.image import decode_image
from stream_app.bundle.load import Bundle, load_bundle
from stream_app.bundle.manifest import Presence
from stream_app.config import Operational
from stream_app.core.outcome import Outcome
from stream_app.core.score import MICRO, probability
from stream_app.core.types import Contribution, Scored
from stream_app.drawn_site import sample
from stream_app.runtime.ports.scoring import ImageInput, Score, ScoreItem, TextInput
from stream_app.wire.alerts import render_alert
from stream_app.wiring.model import engine_settings, scorer_settings
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.wire.test_events import CONTEXT, opened

FRAMES = 3


class _Decoder:
    def __init__(self, bundle: Bundle) -> None:
        self._spec = bundle.manifest.image

    async def decode(self, data: bytes) -> NDArray[np.uint8] | DecodeFailure:
        return decode_image(data, self._spec)


@pytest.fixture(scope="module", params=["shipped", "tiny"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    is_tiny = request.param == "tiny"
    return load_bundle(write_tiny_bundle(tmp_path_factory.mktemp("bundles")) if is_tiny else demo_bundle_path())


async def _scores(bundle: Bundle, items: list[ScoreItem]) -> list[Score]:
    operational = Operational(provider="cpu")
    engine = Engine.open(bundle, on_notice=pytest.fail, settings=engine_settings(operational))
    scorer = BatchingScorer(
        bundle, engine=engine, decoder=_Decoder(bundle), on_hang=pytest.fail, settings=scorer_settings(operational)
    )
    scorer.start()
    try:
        return list(await asyncio.gather(*(scorer.score(item) for item in items)))
    finally:
        await scorer.close()


class _ByHand:
    """One row at a time through the three graphs; a side that is left out is only marked as absent."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._graphs = bundle, Graphs(bundle, intra_op_threads=1)

    def micro(self, jpeg: bytes, text: str, presence: Presence) -> tuple[int, ...]:
        manifest = self._bundle.manifest
        seen = self._graphs.encode_images(decode_image(jpeg, manifest.image)[None])
        read = self._graphs.encode_texts(*self._bundle.tokenizer.encode_batch([text]))
        flags = (np.array([presence != "text"], np.float32), np.array([presence != "image"], np.float32))
        logits = self._graphs.fuse(seen, read, *flags)
        found = micro_logits(logits, task=manifest.task, calibration=manifest.calibration, presence=presence)
        return found[0]


def test_an_alert_says_what_leaving_a_side_out_of_the_fusion_head_does(bundle: Bundle) -> None:
    rows = list(sample(19, FRAMES, wording="mixed"))
    pictures, text = [row.jpeg for row in rows], rows[0].text
    words = TextInput((1, 0, 0, 0), text)
    items = [ScoreItem(ImageInput((1, 0, 1, at), jpeg), words) for at, jpeg in enumerate(pictures)]
    outcome = Outcome()
    for at, score in enumerate(asyncio.run(_scores(bundle, items))):
        assert score.full is not None
        scored = Scored(at, 0, score.full, score.without_image, score.without_text)
        outcome.add(score.full, scored, is_image_masked=False)
    by_hand = _ByHand(bundle)
    sides: tuple[Presence, ...] = ("both", "text", "image")
    for at, label in enumerate(bundle.manifest.label_names):
        totals = [sum(by_hand.micro(jpeg, text, side)[at] for jpeg in pictures) for side in sides]
        full, without_image, without_text = (total // FRAMES for total in totals)
        found = outcome.contribution(at)
        assert found == Contribution(full, without_image, without_text), label
        alert = msgspec.structs.replace(opened(), score=full, contribution=found)
        said = json.loads(render_alert(alert, CONTEXT).value or b"")["contribution"]
        assert said["image"] == round(probability(full) - probability(without_image), 4), label
        assert said["text"] == round(probability(full) - probability(without_text), 4), label


def test_a_side_that_says_nothing_new_contributes_what_the_head_gives_it_and_a_lone_side_has_no_contribution(
    tmp_path: Path,
) -> None:
    tiny = load_bundle(write_tiny_bundle(tmp_path))
    row = next(iter(sample(19, 1, wording="mixed")))
    pair = ScoreItem(ImageInput((1, 0, 1, 0), row.jpeg), TextInput((1, 0, 0, 0), "a fight"))
    alone = ScoreItem(None, TextInput((1, 0, 0, 0), "a fight"))
    both, lone = asyncio.run(_scores(tiny, [pair, alone]))
    assert both.full is not None
    assert both.without_text is not None
    # The word of the label is worth four logits in the tiny bundle, but for a little noise.
    assert (both.full[0] - both.without_text[0]) / MICRO == pytest.approx(4, abs=0.2)
    assert both.without_image == lone.full
    assert (lone.without_image, lone.without_text) == (None, None)
