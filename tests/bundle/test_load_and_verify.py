"""Loading and verifying: a whole bundle passes, and every way of being broken is refused with expected and found."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from stream_app.bundle import BundleError
from stream_app.bundle import manifest as m
from stream_app.bundle.graphs import Graphs
from stream_app.bundle.load import load_bundle
from stream_app.bundle.verify import THOROUGH_BATCHES, measure, remark, require
from tests.bundle.tiny_bundle import OPSET, write_tiny_bundle


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def bundle_path(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "bundle"))


def _rewrite(path: Path, change: Callable[[m.Manifest], m.Manifest]) -> None:
    """Change the manifest, with the hashes of the files as they are now."""
    manifest = m.parse_manifest((path / m.MANIFEST_NAME).read_bytes())
    files = {name: m.sha256_hex((path / name).read_bytes()) for name in m.FILE_NAMES}
    changed = change(msgspec.structs.replace(manifest, files=files))
    (path / m.MANIFEST_NAME).write_bytes(m.encode_manifest(changed))


def _same(manifest: m.Manifest) -> m.Manifest:
    return manifest


def test_a_whole_bundle_passes_and_no_row_depends_on_its_batch(original: Path) -> None:
    bundle = load_bundle(original)
    measurement = measure(bundle, Graphs(bundle, intra_op_threads=1), batch_sizes=THOROUGH_BATCHES)
    require(measurement)
    assert measurement.case_count == 5
    assert measurement.parity_difference < 1e-5
    assert measurement.is_batch_exact
    assert measurement.padding_difference < 1e-6
    assert measurement.is_within_tolerance
    assert bundle.sha256 == m.sha256_hex((original / m.MANIFEST_NAME).read_bytes())


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_all_three_tasks_can_be_packed(tmp_path: Path, task: m.Task) -> None:
    names = ("fight",) if task == "binary" else ("fight", "fire", "calm")
    labels = [m.Label(name=name, alerts=name != "calm", open_at=0.8, close_at=0.5) for name in names]
    bundle = load_bundle(write_tiny_bundle(tmp_path, labels=labels, task=task))
    require(measure(bundle, Graphs(bundle, intra_op_threads=1)))


@pytest.mark.parametrize("name", m.FILE_NAMES)
def test_a_changed_file_is_refused_with_both_hashes(bundle_path: Path, name: str) -> None:
    expected = m.sha256_hex((bundle_path / name).read_bytes())
    with (bundle_path / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(BundleError, match=f"SHA-256 of {name}: expected {expected}, found "):
        load_bundle(bundle_path)


def test_missing_and_additional_files_are_refused(bundle_path: Path) -> None:
    (bundle_path / "weights.bin").write_bytes(b"")
    with pytest.raises(BundleError, match=r"weights\.bin"):
        load_bundle(bundle_path)
    (bundle_path / "weights.bin").unlink()
    (bundle_path / m.FUSION_HEAD).unlink()
    with pytest.raises(BundleError, match="files of the bundle"):
        load_bundle(bundle_path)
    with pytest.raises(BundleError, match="a directory"):
        load_bundle(bundle_path / "nowhere")


def test_a_file_that_cannot_be_read_is_refused(bundle_path: Path) -> None:
    (bundle_path / m.TOKENIZER).unlink()
    # A regular file whose first byte cannot be read, also by those whom permissions do not stop.
    (bundle_path / m.TOKENIZER).symlink_to("/proc/self/mem")
    with pytest.raises(BundleError, match=r"tokenizer\.json: expected a file that can be read"):
        load_bundle(bundle_path)


def test_a_self_check_without_words_is_one(bundle_path: Path) -> None:
    def wordless(manifest: m.Manifest) -> m.Manifest:
        cases = tuple(case for case in manifest.self_check.cases if case.text is None)
        blank = msgspec.structs.replace(cases[0], image_seed=None, text=" ")
        check = msgspec.structs.replace(manifest.self_check, cases=(*cases, blank))
        return msgspec.structs.replace(manifest, self_check=check)

    _rewrite(bundle_path, wordless)
    bundle = load_bundle(bundle_path)
    assert measure(bundle, Graphs(bundle, intra_op_threads=1)).case_count == 2


def test_the_opset_is_read_and_compared(bundle_path: Path) -> None:
    assert load_bundle(bundle_path).manifest.opset == OPSET
    _rewrite(bundle_path, lambda manifest: msgspec.structs.replace(manifest, opset=21))
    with pytest.raises(BundleError, match=r"opset of image_encoder\.onnx: expected 21, found 20"):
        load_bundle(bundle_path)


def _refused_by_graphs(path: Path, message: str) -> None:
    bundle = load_bundle(path)
    with pytest.raises(BundleError, match=message):
        Graphs(bundle, intra_op_threads=1)


def test_graphs_must_have_the_shapes_of_the_manifest(bundle_path: Path) -> None:
    _rewrite(bundle_path, lambda manifest: msgspec.structs.replace(manifest, image=m.ImageSpec(height=64, width=64)))
    _refused_by_graphs(
        bundle_path, r"image_encoder\.onnx input image: expected \['b', 64, 64, 3\], found \['b', 32, 40, 3\]"
    )


def test_graphs_must_have_the_names_and_types_of_the_contract(bundle_path: Path) -> None:
    (bundle_path / m.IMAGE_ENCODER).write_bytes((bundle_path / m.FUSION_HEAD).read_bytes())
    _rewrite(bundle_path, _same)
    _refused_by_graphs(bundle_path, r"image_encoder\.onnx input: expected \['image'\]")


def test_a_batch_size_that_was_baked_in_is_refused(bundle_path: Path) -> None:
    model = onnx.load(str(bundle_path / m.FUSION_HEAD))
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 2
    (bundle_path / m.FUSION_HEAD).write_bytes(model.SerializeToString())
    _rewrite(bundle_path, _same)
    _refused_by_graphs(bundle_path, r"fusion_head\.onnx input")


def test_a_model_that_gives_other_logits_is_refused_with_the_difference(bundle_path: Path) -> None:
    def shifted(manifest: m.Manifest) -> m.Manifest:
        replace = msgspec.structs.replace
        first, *rest = manifest.self_check.cases
        wrong = replace(first, logits=(first.logits[0] + 0.5, first.logits[1]))
        return replace(manifest, self_check=replace(manifest.self_check, cases=(wrong, *rest)))

    _rewrite(bundle_path, shifted)
    bundle = load_bundle(bundle_path)
    measurement = measure(bundle, Graphs(bundle, intra_op_threads=1))
    assert not measurement.is_within_tolerance
    with pytest.raises(BundleError, match=r"self-check case 0 .*expected differences <= 0.0001, found 0\.(49|5)"):
        require(measurement)


def test_a_text_encoder_that_looks_at_padding_is_refused(bundle_path: Path) -> None:
    model = onnx.load(str(bundle_path / m.TEXT_ENCODER))
    (mask,) = (node for node in model.graph.node if list(node.output) == ["masked"])
    mask.CopyFrom(onnx.helper.make_node("Identity", ["vectors"], ["masked"]))
    (bundle_path / m.TEXT_ENCODER).write_bytes(model.SerializeToString())
    _rewrite(bundle_path, _same)
    bundle = load_bundle(bundle_path)
    measurement = measure(bundle, Graphs(bundle, intra_op_threads=1))
    assert measurement.padding_difference > 0.01
    with pytest.raises(BundleError):
        require(measurement)


def test_a_row_that_depends_on_its_batch_within_the_tolerance_is_remarked(original: Path) -> None:
    bundle = load_bundle(original)
    exact = measure(bundle, Graphs(bundle, intra_op_threads=1))
    assert not remark(exact)
    differences = {"image_encoder": 0.0, "text_encoder": 1e-7, "fusion_head": 2e-7}
    close = msgspec.structs.replace(exact, batch_differences=differences)
    require(close)
    assert "expected equal bits, found differences up to 2e-07 in fusion_head" in remark(close)


def test_an_absent_side_has_no_influence(original: Path) -> None:
    graphs = Graphs(load_bundle(original), intra_op_threads=1)
    random = np.random.default_rng(1)
    text = random.normal(size=(2, 6)).astype(np.float32)
    flags = np.zeros(2, dtype=np.float32)
    ones = np.ones(2, dtype=np.float32)
    logits = [graphs.fuse(random.normal(size=(2, 6)).astype(np.float32), text, flags, ones) for _ in range(3)]
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(logits[0], logits[2])
