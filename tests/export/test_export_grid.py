"""Models of every fusion and every encoder equal their graphs; `python -m benchmarks.export_grid` runs all of them."""

from __future__ import annotations

import logging

import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
pytest.importorskip("timm")
pytest.importorskip("onnx")

from benchmarks import export_grid  # noqa: E402 - the skips above come first
from vigil_export.models.fusions import FUSIONS  # noqa: E402

# Each encoder at least once, each fusion once; what takes long to export is not exported twice.
QUICK: list[export_grid.Choice] = [
    ("narrow-resnet", "lstm", "concat"),
    ("resnet", "bag", "gated"),
    ("plain-cnn", "bag", "product"),
    ("efficientnet", "transformer", "bilinear"),
    ("narrow-resnet", "bag", "decision"),
    ("narrow-resnet", "bag", "image_only"),
    ("narrow-resnet", "bert", "text_only"),
    ("vision transformer", "gru, both sides", "attention"),
    ("vision transformer", "gru, both sides", "transformer"),
]


def test_a_quick_selection_has_every_encoder_and_every_fusion() -> None:
    images, texts, fusions = (set(names) for names in zip(*QUICK, strict=True))
    assert (images, texts, fusions) == ({*export_grid.IMAGES}, {*export_grid.TEXTS}, {*FUSIONS})
    for form in ("pooled", "tokens"):  # the long run has every encoder in both forms
        chosen = [choice for choice in export_grid.covering() if form == FUSIONS[choice[2]].FORM]
        assert {choice[0] for choice in chosen} == {*export_grid.IMAGES}
        assert {choice[1] for choice in chosen} == {*export_grid.TEXTS}
    assert {choice[2] for choice in export_grid.covering()} == {*FUSIONS}


@pytest.mark.timeout(400)
def test_graphs_of_every_fusion_equal_pytorch_whatever_the_batch_and_whatever_is_absent() -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    logging.getLogger("torch").propagate = False  # the exporter traces itself in thousands of records
    results = list(export_grid.compare(QUICK))
    assert len(results) == 4 * 4 * 7 + 2
    assert max(result.difference for result in results) <= export_grid.TOLERANCE
