"""The export: exact under padding, graphs that equal PyTorch, calibration that helps, bundles whole or absent."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
pytest.importorskip("timm")
onnx = pytest.importorskip("onnx")

from benchmarks.demo_bundle import FUSIONS, Order, make_demo_bundle  # noqa: E402
from stream_app.bundle.graphs import Graphs  # noqa: E402
from stream_app.bundle.load import load_bundle  # noqa: E402
from stream_app.bundle.manifest import TextSpec  # noqa: E402
from stream_app.bundle.text import Tokenizer  # noqa: E402
from stream_app.bundle.verify import measure as run_self_check  # noqa: E402
from stream_app.drawn_site import LABELS, sample  # noqa: E402
from vigil_export.data.preparing.tokens import train_tokenizer  # noqa: E402 - the skips above come first
from vigil_export.models.model import FusionModel, ModelSpec, TextEncoderSpec, build_model  # noqa: E402

TINY = Order(
    train=96,
    validation=48,
    test=96,
    overrides={"recipe.epochs": 1, "recipe.threads": 1, "text.vocabulary": 300, "image.height": 48, "image.width": 64},
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    # The exporter traces itself in thousands of records, which pytest would collect and format.
    logging.getLogger("torch").propagate = False


@pytest.fixture(scope="module")
def model() -> FusionModel:
    torch.manual_seed(3)
    return build_model(ModelSpec(labels=LABELS, text=TextEncoderSpec(vocabulary=300))).eval()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "tiny" / "1"
    make_demo_bundle(out, replace(TINY, name="tiny"), say=lambda _: None)
    return out


def test_padding_and_what_stands_in_it_change_no_bit_of_a_texts_features(model: FusionModel) -> None:
    rng = np.random.default_rng(1)
    for length in (1, 2, 7, 30):
        row = torch.from_numpy(rng.integers(0, 300, (1, length)))
        size = torch.tensor([length])
        with torch.inference_mode():
            bare = model.text(row, size)
            for more in (1, 20):
                padded = torch.cat((row, torch.from_numpy(rng.integers(0, 300, (1, more)))), 1)
                assert torch.equal(model.text(padded, size), bare)


def test_an_absent_side_has_no_influence(model: FusionModel) -> None:
    one, other, kept = (torch.randn(4, 128) for _ in range(3))
    yes, no = torch.ones(4), torch.zeros(4)
    with torch.inference_mode():
        assert torch.equal(model.head(one, kept, no, yes), model.head(other, kept, no, yes))
        assert torch.equal(model.head(kept, one, yes, no), model.head(kept, other, yes, no))
        assert not torch.equal(model.head(one, kept, yes, yes), model.head(other, kept, yes, yes))


def test_graphs_have_dynamic_dimensions_the_opset_and_no_trace_of_the_machine(tiny: Path) -> None:
    assert max(load_bundle(tiny).manifest.metrics["export_difference"].values()) <= 1e-4
    for path in tiny.glob("*.onnx"):
        proto = onnx.load(path)
        assert [(o.domain, o.version) for o in proto.opset_import if not o.domain] == [("", 20)]
        for value in (*proto.graph.input, *proto.graph.output):
            assert value.type.tensor_type.shape.dim[0].dim_param, (path.name, value.name)
        assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
        assert str(Path.cwd()).encode() not in path.read_bytes()


def test_the_tokenizer_knows_every_text_and_is_equal_for_equal_texts() -> None:
    spec = TextSpec(max_tokens=64, pad_id=0)
    texts = [row.text for row in sample(3, 64, wording="train")]
    data = train_tokenizer(texts, spec=spec, vocabulary=400)
    assert data == train_tokenizer(texts, spec=spec, vocabulary=400)
    tokenizer = Tokenizer(data, spec)
    assert tokenizer.vocabulary_size <= 400
    wide = tokenizer.encode("\uff26\uff29\uff32\uff25")  # full-width letters
    assert wide == tokenizer.encode("FIRE")
    assert 0 not in tokenizer.encode("never seen before: 麒麟 🦒 ñandú")


def test_one_command_makes_a_bundle_that_serving_accepts(tiny: Path) -> None:
    bundle = load_bundle(tiny)
    assert run_self_check(bundle, Graphs(bundle, intra_op_threads=1)).is_within_tolerance
    assert bundle.manifest.label_names == LABELS


def test_its_card_has_the_figures_of_test_rows_and_the_table_of_fusions(tiny: Path) -> None:
    card, metrics = (tiny / "MODEL_CARD.md").read_text("utf-8"), load_bundle(tiny).manifest.metrics
    value, low, high = metrics["test"]["figures"]["both"]["accuracy"]
    assert f"| accuracy | {value:.3f} [{low:.3f}, {high:.3f}] |" in card
    assert set(metrics["test"]["facets"]["wording"]) == {"held-out", "train"}
    assert FUSIONS.read_text("utf-8").strip() in card
    assert "Real cameras" in card


def test_an_existing_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "site" / "1"
    out.mkdir(parents=True)
    (out / "mine").write_text("keep")
    with pytest.raises(FileExistsError, match="expected no"):
        make_demo_bundle(out, TINY, say=lambda _: None)
    assert (out / "mine").read_text() == "keep"


def test_a_bundle_that_serving_would_refuse_leaves_nothing_behind(tiny: Path, tmp_path: Path) -> None:
    from stream_app.bundle import BundleError  # noqa: PLC0415
    from vigil_export.packing.pack import write_bundle  # noqa: PLC0415

    manifest = load_bundle(tiny).manifest
    files = {name: (tiny / name).read_bytes() for name in manifest.files}
    files["MODEL_CARD.md"] += b"changed after it was hashed"
    with pytest.raises(BundleError):
        write_bundle(tmp_path / "site" / "1", manifest, files)
    assert [*(tmp_path / "site").iterdir()] == []
