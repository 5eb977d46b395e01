"""What the live system scored is what the same bundle gives offline for the same pair, bit for bit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stream_app.bundle.load import load_bundle
from stream_app.demo.judge import judge
from stream_app.drawn_site import sample
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.proofs.offline import Offline
from tests.proofs.rig import WINDOW, make_rig, now_ms

if TYPE_CHECKING:
    from stream_app.demo.truth import Outputs
    from tests.conftest import Broker
    from tests.proofs.rig import Rig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

_DEMO_BUNDLE = Path(__file__).resolve().parents[2] / "stream_app/demo_bundle/site/1"
_ROWS = 40

Coordinates = tuple[int, int]


def _at(decision: dict[str, Any], kind: str) -> Coordinates | None:
    return next(((e["partition"], e["offset"]) for e in decision["evidence"] if e["kind"] == kind), None)


async def _run(rig: Rig) -> tuple[Outputs, dict[Coordinates, bytes], dict[Coordinates, str]]:
    """Publish drawn pictures and sentences, several frames to a text and some texts without; let a worker score all."""
    await rig.create_topics()
    worker = rig.start_worker(batch_images=8, decode_children=2)
    pictures: dict[Coordinates, bytes] = {}
    sentences: dict[Coordinates, str] = {}
    try:
        await worker.wait_ready()
        async with rig.planter() as planter:
            for number, row in enumerate(sample(11, _ROWS, wording="mixed")):
                zone, at_ms = f"zone-{number}", now_ms()
                if number % 5:
                    for camera in ("c1", "c2"):
                        frame = await planter.frame(zone, at_ms, row.jpeg, camera)
                        pictures[frame.partition, frame.offset] = row.jpeg
                text = await planter.text(zone, at_ms, row.text)
                sentences[text.partition, text.offset] = row.text
        outputs = await rig.settle()
        assert await worker.stop() == 0, worker.last_lines()
    finally:
        await rig.stop()
    return outputs, pictures, sentences


@pytest.mark.parametrize("which", ["tiny", "demo"])
def test_live_scores_equal_offline_inference_bit_for_bit(
    kafka: Broker, topic_prefix: str, tmp_path: Path, which: str
) -> None:
    directory = write_tiny_bundle(tmp_path) if which == "tiny" else _DEMO_BUNDLE
    rig = make_rig(kafka.bootstrap, tmp_path, topic_prefix, directory)
    outputs, pictures, sentences = asyncio.run(_run(rig))

    assert judge(rig.published, outputs, WINDOW) == []
    offline = Offline(load_bundle(directory))
    kinds = {"pair": 0, "text": 0}
    for decision in outputs.decisions:
        text_at, frame_at = _at(decision, "text"), _at(decision, "frame")
        assert text_at is not None
        text, image = sentences[text_at], pictures[frame_at] if frame_at is not None else None
        assert decision["logits"] == offline.score(image, text)
        if image is not None:
            assert decision["without_image"] == offline.score(None, text)
            assert decision["without_text"] == offline.score(image, None)
        kinds["pair" if image is not None else "text"] += 1
    assert kinds == {"pair": _ROWS * 4 // 5 * 2, "text": _ROWS // 5}
