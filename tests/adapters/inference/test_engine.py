"""Providers and the engine: what was asked for is what runs, and a batch changes no bit of a row."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from stream_app.adapters.inference import providers
from stream_app.adapters.inference.engine import Engine, batch_buckets, bucket_of
from stream_app.adapters.inference.providers import CUDA_PROVIDER, TENSORRT_PROVIDER, ProviderError
from stream_app.bundle.errors import BundleError
from stream_app.bundle.graphs import CPU_PROVIDER, Graphs
from stream_app.bundle.image import self_check_image
from stream_app.bundle.load import Bundle, load_bundle
from stream_app.bundle.manifest import FUSION_HEAD
from stream_app.bundle.text import token_bucket, token_buckets
from stream_app.config import Operational
from stream_app.wiring.model import engine_settings
from tests.bundle.tiny_bundle import write_tiny_bundle

_ALL = [TENSORRT_PROVIDER, CUDA_PROVIDER, CPU_PROVIDER]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path: Path = write_tiny_bundle(tmp_path_factory.mktemp("bundles"))
    return load_bundle(path)


def _open(bundle: Bundle, *, pads: bool = False) -> Engine:
    told = engine_settings(Operational(provider="cpu", batch_images=16, batch_texts=16, batch_pairs=32))
    settings = dataclasses.replace(told, pads_to_buckets=pads)
    return Engine.open(bundle, on_notice=pytest.fail, settings=settings)


@pytest.mark.parametrize(
    ("choice", "available", "has_device", "names"),
    [
        ("auto", _ALL, True, [CUDA_PROVIDER, CPU_PROVIDER]),
        ("auto", _ALL, False, [CPU_PROVIDER]),
        ("auto", [CPU_PROVIDER], True, [CPU_PROVIDER]),
        ("cpu", _ALL, True, [CPU_PROVIDER]),
        ("cuda", _ALL, False, [CUDA_PROVIDER, CPU_PROVIDER]),
        ("tensorrt", _ALL, True, _ALL),
    ],
)
def test_candidates(choice: providers.ProviderChoice, available: list[str], has_device: bool, names: list[str]) -> None:  # noqa: FBT001 - a table's column
    found = providers.candidates(choice, available=available, has_device=has_device, engine_cache="")
    assert [entry if isinstance(entry, str) else entry[0] for entry in found] == names


def test_tensorrt_keeps_its_engines_where_it_is_told_and_never_chooses_float16_itself() -> None:
    for folder in ("", "/var/cache/vigil"):
        first = providers.candidates("tensorrt", available=_ALL, has_device=True, engine_cache=folder)[0]
        options = first[1] if isinstance(first, tuple) else {}
        assert options["trt_fp16_enable"] == "False"
        assert options.get("trt_engine_cache_path", "") == folder
        assert ("trt_engine_cache_enable" in options) == bool(folder)


def test_a_provider_that_is_not_in_the_build_is_refused() -> None:
    with pytest.raises(ProviderError, match="expected CUDAExecutionProvider in this build"):
        providers.candidates("cuda", available=[CPU_PROVIDER], has_device=True, engine_cache="")


def test_a_required_provider_that_does_not_run_is_refused_with_expected_and_found() -> None:
    with pytest.raises(ProviderError, match="expected CUDAExecutionProvider, found CPUExecutionProvider"):
        providers.judge("cuda", CPU_PROVIDER, has_device=True)
    assert providers.judge("cuda", CUDA_PROVIDER, has_device=True) == ""


def test_auto_says_when_it_fell_back_on_a_machine_with_a_device() -> None:
    assert "fell back to CPUExecutionProvider" in providers.judge("auto", CPU_PROVIDER, has_device=True)
    assert providers.judge("auto", CPU_PROVIDER, has_device=False) == ""
    assert providers.judge("auto", CUDA_PROVIDER, has_device=True) == ""


def test_two_runtimes_beside_each_other_are_refused() -> None:
    with pytest.raises(ProviderError, match="expected one distribution, found onnxruntime, onnxruntime-gpu"):
        providers.refuse_double_install(["onnxruntime-gpu", "numpy", "onnxruntime"])
    providers.refuse_double_install(["onnxruntime-gpu", "onnxruntime-extensions"])
    providers.refuse_double_install(providers.installed_runtimes())


def test_the_engine_names_the_provider_of_its_sessions(bundle: Bundle) -> None:
    engine = _open(bundle)
    assert engine.provider == CPU_PROVIDER
    assert engine.measurement.is_batch_exact


class _Sessions:
    """Stands for ONNX Runtime's class of sessions: they run on the CPU and name the provider that the test wants."""

    def __init__(self, *said: str) -> None:
        self._said = iter(said)

    def __call__(self, model: bytes, **options: Any) -> onnxruntime.InferenceSession:  # noqa: ANN401 - as ONNX Runtime's
        session = _REAL_SESSION(model, **options | {"providers": [CPU_PROVIDER]})
        said = [next(self._said)]
        session.get_providers = lambda: said
        return session


_REAL_SESSION = onnxruntime.InferenceSession


@pytest.mark.parametrize("others", [CUDA_PROVIDER, TENSORRT_PROVIDER])
@pytest.mark.parametrize("slowest", [CPU_PROVIDER, CUDA_PROVIDER])
@pytest.mark.parametrize("place", range(3))
def test_where_one_graph_fell_back_its_provider_is_the_one_that_is_named(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, others: str, slowest: str, place: int
) -> None:
    said = [others] * 3
    said[place] = slowest
    monkeypatch.setattr(onnxruntime, "InferenceSession", _Sessions(*said))
    assert Graphs(bundle, intra_op_threads=1).provider == slowest


def test_a_required_provider_is_refused_where_a_single_graph_fell_back(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: _ALL)
    monkeypatch.setattr(onnxruntime, "InferenceSession", _Sessions(CUDA_PROVIDER, CPU_PROVIDER, CUDA_PROVIDER))
    with pytest.raises(ProviderError, match="expected CUDAExecutionProvider, found CPUExecutionProvider"):
        Engine.open(bundle, on_notice=pytest.fail, settings=engine_settings(Operational(provider="cuda")))


def test_a_model_that_gives_no_number_on_known_inputs_is_refused(bundle: Bundle) -> None:
    model = onnx.load_from_string(bundle.graphs[FUSION_HEAD])
    for weights in model.graph.initializer:
        if weights.data_type == onnx.TensorProto.FLOAT:
            numbers = np.full_like(onnx.numpy_helper.to_array(weights), np.nan)
            weights.CopyFrom(onnx.numpy_helper.from_array(numbers, weights.name))
    broken = dataclasses.replace(bundle, graphs=bundle.graphs | {FUSION_HEAD: model.SerializeToString()})
    with pytest.raises(BundleError, match=r"self-check: expected .* found fusion_head\.onnx: NaN or infinity"):
        _open(broken)


def test_a_model_whose_rows_depend_on_their_batch_is_said(bundle: Bundle) -> None:
    model = onnx.load_from_string(bundle.graphs[FUSION_HEAD])
    (last,) = (node for node in model.graph.node if list(node.output) == ["logits"])
    last.output[0] = "plain"
    little = onnx.numpy_helper.from_array(np.array([1e-6], dtype=np.float32), "little")
    model.graph.initializer.append(little)
    model.graph.node.extend(
        [
            onnx.helper.make_node("ReduceSum", ["image_present"], ["neighbours"]),
            onnx.helper.make_node("Mul", ["neighbours", "little"], ["nudge"]),
            onnx.helper.make_node("Add", ["plain", "nudge"], ["logits"]),
        ]
    )
    leaning = dataclasses.replace(bundle, graphs=bundle.graphs | {FUSION_HEAD: model.SerializeToString()})
    said: list[str] = []
    Engine.open(leaning, on_notice=said.append, settings=engine_settings(Operational(provider="cpu")))
    assert [sentence for sentence in said if "depends on its batch" in sentence] == said != []


@pytest.mark.skipif(providers.has_nvidia_device(), reason="this machine has an NVIDIA device")
def test_cuda_required_without_a_device_is_refused(bundle: Bundle) -> None:
    with pytest.raises(ProviderError, match="provider cuda: expected CUDAExecutionProvider"):
        Engine.open(bundle, on_notice=pytest.fail, settings=engine_settings(Operational(provider="cuda")))


def test_buckets_double_up_to_the_bound() -> None:
    assert batch_buckets(32) == (2, 4, 8, 16, 32)
    assert batch_buckets(24) == (2, 4, 8, 16, 24)
    assert batch_buckets(1) == (2,)
    assert token_buckets(48) == (8, 16, 32, 48)
    assert token_buckets(5) == (5,)
    assert [token_bucket(length, 24) for length in (1, 8, 9, 17, 24)] == [8, 8, 16, 24, 24]
    assert [bucket_of(size, (2, 4, 8)) for size in (1, 2, 3, 8, 9)] == [2, 2, 4, 8, 9]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 16])
def test_batches_and_padding_by_copies_change_no_bit(bundle: Bundle, size: int) -> None:
    plain, padded = _open(bundle), _open(bundle, pads=True)
    images = [self_check_image(seed, 32, 40) for seed in range(size)]
    tokens = [tuple(range(1, 2 + seed)) for seed in range(size)]
    alone = [plain.encode_images([image])[0] for image in images]
    alone_texts = [plain.encode_texts([row])[0] for row in tokens]
    for engine in (plain, padded):
        np.testing.assert_array_equal(np.stack(engine.encode_images(images)), np.stack(alone))
        np.testing.assert_array_equal(np.stack(engine.encode_texts(tokens)), np.stack(alone_texts))
        rows = [
            (None if seed % 3 == 1 else alone[seed], None if seed % 3 == 2 else alone_texts[seed])
            for seed in range(size)
        ]
        logits = engine.fuse(rows)
        assert logits.shape == (size, 2)
        for row, found in zip(rows, logits, strict=True):
            np.testing.assert_array_equal(plain.fuse([row])[0], found)
