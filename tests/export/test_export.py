"""The export: exact under padding, graphs that equal PyTorch, calibration that helps, bundles whole or absent."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
pytest.importorskip("timm")
onnx = pytest.importorskip("onnx")

if TYPE_CHECKING:
    pass

from export import demo_bundle  # noqa: E402
from export.data import Split  # noqa: E402 - the skips above come first
from export.data.site import draw_split, reword  # noqa: E402
from export.data.tokens import train_tokenizer  # noqa: E402
from export.demo_bundle import IMAGE, TEXT, Order, make_demo_bundle  # noqa: E402
from export.evaluation.calibration import calibrate  # noqa: E402
from export.evaluation.predictions import Predictions  # noqa: E402
from export.evaluation.site_figures import is_right, measure  # noqa: E402
from export.evaluation.site_thresholds import choose_reported  # noqa: E402
from export.model import FusionModel, ModelSpec, TextEncoderSpec, build_model  # noqa: E402
from export.training.train import Recipe  # noqa: E402
from stream_app.bundle.graphs import Graphs  # noqa: E402
from stream_app.bundle.load import load_bundle  # noqa: E402
from stream_app.bundle.manifest import Presence  # noqa: E402
from stream_app.bundle.text import Tokenizer  # noqa: E402
from stream_app.bundle.verify import measure as run_self_check  # noqa: E402
from stream_app.drawn_site import LABELS  # noqa: E402

TINY = Order(rows=256, validation_rows=240, test_rows=240, recipe=Recipe(epochs=1, batch=64))


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
    split = draw_split(3, 64, image=IMAGE, wording="train")
    data = train_tokenizer(reword(split, seed=1), spec=TEXT, vocabulary=400)
    assert data == train_tokenizer(reword(split, seed=1), spec=TEXT, vocabulary=400)
    tokenizer = Tokenizer(data, TEXT)
    assert tokenizer.vocabulary_size <= 400
    wide = tokenizer.encode("\uff26\uff29\uff32\uff25")  # full-width letters
    assert wide == tokenizer.encode("FIRE")
    assert 0 not in tokenizer.encode("never seen before: 麒麟 🦒 ñandú")


def test_splits_are_equal_for_equal_seeds_and_come_through_servings_preparation() -> None:
    one, again = (draw_split(4, 48, image=IMAGE, wording="mixed") for _ in range(2))
    assert np.array_equal(one.images, again.images)
    assert one.texts == again.texts
    assert one.images.shape == (48, 96, 128, 3)
    assert len(np.unique(one.groups)) == 2


def test_thresholds_let_a_reported_event_open_without_its_picture() -> None:
    truth = np.array([[1.0], [1.0], [0.0], [0.0]], np.float32)
    sure = np.array([[0.95], [0.9], [0.1], [0.2]])
    alone = np.array([[0.7], [0.66], [0.1], [0.2]])
    chances: dict[Presence, npt.NDArray[np.float64]] = {"both": sure, "image": sure, "text": alone}
    predictions = _predictions(
        {key: np.log(p / (1 - p)).astype(np.float32) for key, p in chances.items()}, truth, labels=("fire",)
    )
    calibration = calibrate(predictions, "none")
    (label,) = choose_reported(predictions, calibration, is_reported=truth > 0.5)
    assert 0.5 <= label.open_at <= 0.67
    assert 0 < label.close_at < label.open_at


def _predictions(
    logits: dict[Presence, npt.NDArray[np.float32]],
    truth: npt.NDArray[np.float32],
    *,
    labels: tuple[str, ...] = LABELS,
    split: Split | None = None,
) -> Predictions:
    places = np.arange(len(truth))
    return Predictions(
        name="run",
        task="multilabel",
        labels=labels,
        logits=logits,
        truth=truth,
        has_image=np.ones(len(truth), np.bool_),
        has_text=np.ones(len(truth), np.bool_),
        decisions=places,
        groups=places if split is None else split.groups,
        ids=tuple(map(str, places)),
        facets={} if split is None else split.facets,
    )


def test_a_decision_is_right_when_the_best_label_happens_or_nothing_does_and_nothing_is_said() -> None:
    scores = np.array([[0.9, 0.6], [0.6, 0.9], [0.1, 0.2], [0.1, 0.2], [0.8, 0.1]])
    truth = np.array([[1, 0], [1, 0], [0, 0], [0, 1], [0, 0]], np.float32)
    assert is_right(scores, truth).tolist() == [True, False, True, False, False]


def test_an_interval_holds_its_value_and_no_difference_has_an_empty_one(tiny: Path) -> None:
    labels = load_bundle(tiny).manifest.labels
    split = draw_split(9, 240, image=IMAGE, wording="train")
    rng = np.random.default_rng(7)
    image, text = (rng.normal(0, 1, (240, 5)).astype(np.float32) for _ in range(2))
    predictions = _predictions({"both": image, "image": image, "text": text}, split.truth, split=split)
    found = measure(predictions, load_bundle(tiny).manifest.calibration, labels=labels)
    for value, low, high in found["accuracy"].values():
        assert low <= value <= high
    assert found["by"]["kind"]["truthful"]["rows"] == int((split.facets["kind"] == "truthful").sum())


def test_one_command_makes_a_bundle_that_serving_accepts(tiny: Path) -> None:
    bundle = load_bundle(tiny)
    assert run_self_check(bundle, Graphs(bundle)).is_within_tolerance
    assert bundle.manifest.label_names == LABELS


def test_equal_orders_train_equal_models() -> None:
    order = replace(TINY, rows=128)
    one, again = (demo_bundle._train(order, lambda _: None) for _ in range(2))
    assert one.tokenizer_json == again.tokenizer_json
    for left, right in zip(one.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_an_existing_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "site" / "1"
    out.mkdir(parents=True)
    (out / "mine").write_text("keep")
    with pytest.raises(FileExistsError, match="never overwritten"):
        make_demo_bundle(out, TINY, say=lambda _: None)
    assert (out / "mine").read_text() == "keep"


def test_a_bundle_that_serving_would_refuse_leaves_nothing_behind(tiny: Path, tmp_path: Path) -> None:
    from export.packing.pack import write_bundle  # noqa: PLC0415
    from stream_app.bundle import BundleError  # noqa: PLC0415

    manifest = load_bundle(tiny).manifest
    files = {name: (tiny / name).read_bytes() for name in manifest.files}
    files["MODEL_CARD.md"] += b"changed after it was hashed"
    with pytest.raises(BundleError):
        write_bundle(tmp_path / "site" / "1", manifest, files)
    assert [*(tmp_path / "site").iterdir()] == []
