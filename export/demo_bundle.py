"""Makes the demo bundle, from nothing to a verified directory: draw, train, calibrate, export, measure, pack.

One function per stage, each of which leaves values behind and no files; the bundle appears at the very end or never.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.data import Split
from export.data.rows import SplitName
from export.data.site import draw_split, reword
from export.data.tokens import read_varied, train_tokenizer
from export.evaluation.calibration import calibrate
from export.evaluation.intervals import RESAMPLES
from export.evaluation.predictions import Predictions
from export.evaluation.site_figures import measure
from export.evaluation.site_thresholds import THRESHOLD_RULE, choose_reported
from export.model import FusionModel, ImageEncoderSpec, ModelSpec, TextEncoderSpec, build_model
from export.packing.card import write_card
from export.packing.onnx_export import OPSET, TOLERANCE, Exported, export_graphs
from export.packing.pack import self_check_cases, write_bundle
from export.packing.revision import source_revision
from export.training.train import Recipe, score, train
from stream_app.bundle.manifest import (
    Calibration,
    Features,
    ImageSpec,
    Label,
    Manifest,
    SelfCheck,
    TextSpec,
    sha256_hex,
)
from stream_app.bundle.text import Tokenizer
from stream_app.drawn_site import LABELS

IMAGE = ImageSpec(height=96, width=128)
TEXT = TextSpec(max_tokens=64, pad_id=0, max_chars=2000)
ARCHITECTURE = (
    "timm's ResNet, two narrow stages, at 96 x 128 (mean and maximum of its last map), embedding 64 and "
    "LSTM 128 over byte-level BPE 1024, concatenation, two dense layers, one sigmoid per label"
)
_CHECK_TEXTS = (
    "two men are fighting at the gate",
    "Warning: a bag has been left behind",
    "大门口有人在打架",
    "all quiet",
)


@dataclass(frozen=True, slots=True)
class Order:
    """What to make.

    Attributes:
        name: Of the bundle.
        version: Of the bundle.
        rows: Training rows.
        validation_rows: Rows for calibration and thresholds.
        test_rows: Rows of each of the two test sets.
        recipe: How to train; its seed also decides every picture and text.
    """

    name: str = "site"
    version: str = "1"
    rows: int = 12_000
    validation_rows: int = 3000
    test_rows: int = 3000
    recipe: Recipe = field(default_factory=Recipe)


Say = Callable[[str], None]
"""Told one line after each step."""


@dataclass(frozen=True, slots=True)
class _Trained:
    model: FusionModel
    tokenizer: Tokenizer
    tokenizer_json: bytes


def make_demo_bundle(out: Path, order: Order, *, say: Say) -> Manifest:
    """Make a bundle of the drawn site.

    Args:
        out: Directory to create; must not exist.
        order: What to make; equal orders give equal bundles on one machine, as far as PyTorch permits.
        say: Told one line after each step.

    Returns:
        The manifest of the bundle.

    Raises:
        FileExistsError: `out` exists.
        ExportRefusedError: An exported graph is not what was trained.
        BundleError: Serving would refuse the bundle.
    """
    if out.exists():  # said at once, not after minutes of training
        raise FileExistsError(f"expected no {out}, found one: a bundle is never overwritten, choose another version")
    trained = _train(order, say)
    calibration, labels = _calibrate(trained, order)
    say("calibrated: " + ", ".join(f"{label.name} opens at {label.open_at:.2f}" for label in labels))
    exported = export_graphs(trained.model)
    say("exported: greatest difference from PyTorch " + f"{max(exported.difference.values()):.1e}")
    metrics = _measure(trained, order, calibration, labels, say)
    metrics["export_difference"] = exported.difference
    manifest, files = _assemble(trained, order, calibration, labels, exported, metrics)
    write_bundle(out, manifest, files)
    size = sum(path.stat().st_size for path in out.iterdir())
    say(f"wrote {out}: {size / 1e6:.2f} MB, verified")
    return manifest


def _seed_of(order: Order, part: int) -> int:
    # Parts of one order, and equal parts of two orders, must share no camera: 16 parts per seed.
    return order.recipe.seed * 16 + part


def _train(order: Order, say: Say) -> _Trained:
    split = draw_split(_seed_of(order, 1), order.rows, image=IMAGE, wording="train")
    say(f"drew {order.rows} training rows")
    texts = [text for number in range(3) for text in reword(split, seed=_seed_of(order, 2) + 1000 * number)]
    tokenizer_json = train_tokenizer(texts, spec=TEXT)
    tokenizer = Tokenizer(tokenizer_json, TEXT)
    torch.manual_seed(order.recipe.seed)
    model = build_model(
        ModelSpec(
            labels=LABELS,
            image=ImageEncoderSpec(height=IMAGE.height, width=IMAGE.width),
            text=TextEncoderSpec(vocabulary=tokenizer.vocabulary_size, max_tokens=TEXT.max_tokens),
        )
    )

    def read(epoch: int) -> list[tuple[int, ...]]:
        seed_of_epoch = order.recipe.seed * 100_003 + epoch
        return read_varied(reword(split, seed=seed_of_epoch), tokenizer_json, spec=TEXT, seed=seed_of_epoch)

    train(
        model,
        split,
        recipe=order.recipe,
        read=read,
        progress=lambda epoch, loss: say(f"epoch {epoch}/{order.recipe.epochs}: loss {loss:.4f}"),
    )
    return _Trained(model, tokenizer, tokenizer_json)


def _calibrate(trained: _Trained, order: Order) -> tuple[Calibration, tuple[Label, ...]]:
    split = draw_split(_seed_of(order, 3), order.validation_rows, image=IMAGE, wording="train")
    predictions = _predict(trained, split, order, "validation")
    calibration = calibrate(predictions)
    is_reported = np.stack([_says(split, label) for label in LABELS], 1) & (split.truth > 0.5)
    return calibration, choose_reported(predictions, calibration, is_reported=is_reported)


def _predict(trained: _Trained, split: Split, order: Order, name: SplitName) -> Predictions:
    return Predictions(
        name=order.name,
        task="multilabel",
        labels=LABELS,
        logits=score(trained.model, split, trained.tokenizer),
        truth=split.truth,
        has_image=split.has_image,
        has_text=split.has_text,
        decisions=np.arange(len(split)),
        groups=split.groups,
        ids=split.ids,
        facets=split.facets,
        split=name,
    )


def _says(split: Split, label: str) -> npt.NDArray[np.bool_]:
    says: npt.NDArray[np.bool_] = (split.facets["claims"] == label) & (split.facets["kind"] == "truthful")
    return says


def _measure(
    trained: _Trained, order: Order, calibration: Calibration, labels: tuple[Label, ...], say: Say
) -> dict[str, Any]:
    metrics: dict[str, Any] = {"intervals": f"95 %, {RESAMPLES} resamples of cameras"}
    for key, part, wording in (("train_wording", 4, "train"), ("held_out_wording", 5, "held-out")):
        split = draw_split(_seed_of(order, part), order.test_rows, image=IMAGE, wording=wording)  # type: ignore[arg-type]
        metrics[key] = measure(_predict(trained, split, order, "test"), calibration, labels=labels)
        found = metrics[key]["accuracy"]
        say(f"{key}: text {found['text'][0]:.3f}, image {found['image'][0]:.3f}, both {found['both'][0]:.3f}")
    return metrics


def _assemble(
    trained: _Trained,
    order: Order,
    calibration: Calibration,
    labels: tuple[Label, ...],
    exported: Exported,
    metrics: dict[str, Any],
) -> tuple[Manifest, dict[str, bytes]]:
    training: dict[str, Any] = {
        "data": "drawn site",
        "seed": order.recipe.seed,
        "rows": order.rows,
        "validation_rows": order.validation_rows,
        "epochs": order.recipe.epochs,
        "recipe": asdict(order.recipe),
        "input": f"{IMAGE.height} x {IMAGE.width}",
        "architecture": ARCHITECTURE,
        "parameters": sum(weight.numel() for weight in trained.model.parameters()),
        "threshold_rule": THRESHOLD_RULE,
        "torch": str(torch.__version__),
    }
    card = write_card(order.name, order.version, labels=labels, training=training, metrics=metrics)
    files = {**exported.graphs, "tokenizer.json": trained.tokenizer_json, "MODEL_CARD.md": card.encode()}
    manifest = Manifest(
        schema=1,
        name=order.name,
        version=order.version,
        task="multilabel",
        labels=labels,
        calibration=calibration,
        image=IMAGE,
        text=TEXT,
        features=Features(image=trained.model.image.shape, text=trained.model.text.shape),
        opset=OPSET,
        files={name: sha256_hex(data) for name, data in files.items()},
        self_check=SelfCheck(
            tolerance=TOLERANCE, cases=self_check_cases(trained.model, trained.tokenizer, _CHECK_TEXTS)
        ),
        training=training,
        metrics=metrics,
        source_revision=source_revision(),
    )
    return manifest, files
