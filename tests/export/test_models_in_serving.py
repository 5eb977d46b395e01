"""A model whose features are tokens goes the whole way: exported, packed, loaded and checked as serving does it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
pytest.importorskip("timm")
pytest.importorskip("onnx")

from stream_app.bundle.graphs import Graphs  # noqa: E402
from stream_app.bundle.load import load_bundle  # noqa: E402
from stream_app.bundle.manifest import (  # noqa: E402
    Calibration,
    Features,
    ImageSpec,
    Label,
    Manifest,
    Scaling,
    SelfCheck,
    sha256_hex,
)
from stream_app.bundle.text import Tokenizer  # noqa: E402
from stream_app.bundle.verify import THOROUGH_BATCHES, measure  # noqa: E402
from vigil_export.models.encoders import make_tokenizer  # noqa: E402 - the skips above come first
from vigil_export.models.model import FusionSpec, ImageEncoderSpec, ModelSpec, TextEncoderSpec, build_model  # noqa: E402
from vigil_export.packing.onnx_export import OPSET, TOLERANCE, export_graphs  # noqa: E402
from vigil_export.packing.pack import self_check_cases, write_bundle  # noqa: E402

TEXTS = ("two men fight at the gate", "大门口有人在打架", "all quiet")


def pack(spec: ModelSpec, out: Path) -> None:
    """Pack an untrained model as a bundle."""
    tokenizer, bounds = make_tokenizer(spec.text, TEXTS)
    model = build_model(spec, tokenizer=tokenizer).eval()
    exported = export_graphs(model)
    files = {**exported.graphs, "tokenizer.json": tokenizer, "MODEL_CARD.md": b"# Untrained\n"}
    plain = Scaling(scale=(1.0,) * len(spec.labels), offset=(0.0,) * len(spec.labels))
    manifest = Manifest(
        schema=1,
        name="untrained",
        version="1",
        task=spec.task,
        labels=tuple(Label(name=name, alerts=True, open_at=0.5, close_at=0.3) for name in spec.labels),
        calibration=Calibration(both=plain, image=plain, text=plain),
        image=ImageSpec(height=spec.image.height, width=spec.image.width),
        text=bounds,
        features=Features(image=model.image.shape, text=model.text.shape),
        opset=OPSET,
        files={name: sha256_hex(data) for name, data in files.items()},
        self_check=SelfCheck(
            tolerance=TOLERANCE, cases=self_check_cases(model, Tokenizer(tokenizer, bounds), list(TEXTS))
        ),
        training={},
        metrics={},
        source_revision="unknown",
    )
    write_bundle(out, manifest, files)


def test_a_fusion_of_tokens_passes_the_self_check_of_serving(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(2)
    logging.getLogger("torch").propagate = False  # the exporter traces itself in thousands of records
    spec = ModelSpec(
        labels=("fight", "fire"),
        image=ImageEncoderSpec(height=40, width=64, features=16, grid=3),
        text=TextEncoderSpec(kind="bag", vocabulary=300, embedding=12, features=20, max_tokens=24),
        fusion=FusionSpec(kind="attention", width=16),
    )
    pack(spec, tmp_path / "untrained" / "1")
    bundle = load_bundle(tmp_path / "untrained" / "1")
    assert bundle.manifest.features == Features(image=(9, 16), text=(24, 21))
    found = measure(bundle, Graphs(bundle, intra_op_threads=1), batch_sizes=THOROUGH_BATCHES)
    assert found.is_within_tolerance
