"""Labels are data: bread in an oven, from a folder of pictures and sentences to alerts on a real Kafka.

A model with several exclusive labels is trained by the command line, exported signed, and run by a worker that takes no
other. Nothing that is published differs from what the same bundle says offline.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the training side needs the extra `export`")
pytest.importorskip("timm")

from stream_app.bundle.load import load_bundle
from stream_app.core.score import probability
from stream_app.demo.judge import judge
from tests.proofs.offline import Offline
from tests.proofs.rig import WINDOW, make_rig, now_ms
from vigil_export.cli import main

if TYPE_CHECKING:
    from stream_app.demo.truth import Outputs
    from tests.conftest import Broker
    from tests.proofs.rig import Rig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

#: Label -> colour of the crust (BGR) and what the baker's timer or nose reports; the oven is empty in the last.
BREAD: dict[str, tuple[tuple[int, int, int], tuple[str, ...]]] = {
    "raw": ((150, 200, 225), ("the dough has just gone in", "面团刚放进去")),
    "baked": ((50, 120, 190), ("it smells of fresh bread", "面包香了")),
    "burnt": ((20, 25, 35), ("there is smoke from the crust", "面包糊了")),
    "nothing": ((90, 90, 90), ("the oven is cold and empty", "烤箱是空的")),
}
_SMALL = ("height=32", "width=40", "features=16")
_RECIPE = ("epochs=6", "batch=16", "rate=0.01", "threads=1")


def _picture(label: str, rng: np.random.Generator) -> bytes:
    picture = np.full((48, 60, 3), (60, 60, 70), np.uint8)
    if label != "nothing":
        centre = (int(rng.integers(22, 38)), int(rng.integers(20, 28)))
        cv2.ellipse(picture, centre, (18, 11), 0, 0, 360, BREAD[label][0], -1)
    noisy = picture + rng.normal(0, 6, picture.shape)
    return bytes(cv2.imencode(".jpg", noisy.clip(0, 255).astype(np.uint8))[1].tobytes())


def _words(label: str, rng: np.random.Generator) -> str:
    return f"{BREAD[label][1][int(rng.integers(0, 2))]} ({int(rng.integers(2, 9))})"


def _bake(folder: Path) -> None:
    """Write a data set of 160 rows, each label in every split."""
    rng = np.random.default_rng(3)
    for split, count in (("train", 120), ("validation", 40)):
        (folder / split).mkdir(parents=True)
        lines = []
        for number in range(count):
            label = tuple(BREAD)[number % len(BREAD)]
            (folder / split / f"{number}.jpg").write_bytes(_picture(label, rng))
            lines.append({"file_name": f"{number}.jpg", "text": _words(label, rng), "label": label})
        (folder / split / "metadata.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def _command(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert not ended.value.code


def _train(folder: Path) -> Path:
    """Return a bundle, signed; its key is `baker.pub` beside it."""
    _bake(folder / "bread")
    settings = [f"image.{value}" for value in _SMALL] + [f"recipe.{value}" for value in _RECIPE]
    settings += ["text.kind=bag", "text.features=16", "text.embedding=16", "fusion.width=16"]
    options = [part for setting in settings for part in ("--set", setting)]
    _command("train", "--data", folder / "bread", "--out", folder / "runs/oven", *options)
    _command("keys", "create", folder / "baker")
    _command("export", folder / "runs/oven", "--out", folder / "oven", "--sign", folder / "baker.key")
    return folder / "oven"


async def _serve(rig: Rig, key: Path) -> tuple[Outputs, dict[tuple[str, int, int], Any], dict[str, str]]:
    """Publish three pairs of each label, one zone each; return outputs, what was sent by place, the label by zone."""
    await rig.create_topics()
    worker = rig.start_worker(allow_unsigned=False, bundle_key=key)
    rng = np.random.default_rng(4)
    sent: dict[tuple[str, int, int], Any] = {}
    labels: dict[str, str] = {}
    try:
        await worker.wait_ready()
        async with rig.planter() as planter:
            for number in range(12):
                zone, label = f"oven-{number}", tuple(BREAD)[number % len(BREAD)]
                labels[zone], picture, words = label, _picture(label, rng), _words(label, rng)
                at_ms = now_ms()
                frame = await planter.frame(zone, at_ms, picture)
                text = await planter.text(zone, at_ms, words)
                sent["frame", frame.partition, frame.offset] = picture
                sent["text", text.partition, text.offset] = words
        outputs = await rig.settle()
        assert await worker.stop() == 0, worker.last_lines()
    finally:
        await rig.stop()
    return outputs, sent, labels


def test_labels_of_another_domain_come_out_as_they_were_trained(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    directory = _train(tmp_path)
    bundle = load_bundle(directory)
    assert bundle.manifest.task == "multiclass"
    assert [(label.name, label.alerts) for label in bundle.manifest.labels] == [
        ("baked", True),
        ("burnt", True),
        ("nothing", False),
        ("raw", True),
    ]
    rig = make_rig(kafka.bootstrap, tmp_path, topic_prefix, directory)
    outputs, sent, labels = asyncio.run(_serve(rig, tmp_path / "baker.pub"))

    assert judge(rig.published, outputs, WINDOW) == []
    offline = Offline(bundle)
    for decision in outputs.decisions:
        named = {e["kind"]: sent[e["kind"], e["partition"], e["offset"]] for e in decision["evidence"]}
        expected = offline.score(named["frame"], named["text"])
        assert decision["logits"] == expected
        assert decision["scores"] == {name: round(probability(logit), 4) for name, logit in expected.items()}
        assert max(expected, key=expected.__getitem__) == labels[decision["zone"]]
    assert len(outputs.decisions) == len(labels)

    opened = {(alert["zone"], alert["label"]) for alert in outputs.alerts if alert["phase"] == "opened"}
    assert opened == {(zone, label) for zone, label in labels.items() if label != "nothing"}
    scores = {decision["zone"]: decision["scores"] for decision in outputs.decisions}
    assert {alert["score"] == scores[alert["zone"]][alert["label"]] for alert in outputs.alerts} == {True}
    assert {alert["model"]["name"] for alert in outputs.alerts} == {"oven"}
