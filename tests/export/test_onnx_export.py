"""Graphs equal PyTorch whatever the fusion, tell nothing of the machine, are equal for equal weights, or refused."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
pytest.importorskip("timm")
onnx = pytest.importorskip("onnx")

if TYPE_CHECKING:
    from torch import Tensor

from stream_app.bundle.manifest import FUSION_HEAD, IMAGE_ENCODER, TEXT_ENCODER, sha256_hex  # noqa: E402
from vigil_export.models.fusions import FusionKind, FusionSpec  # noqa: E402 - the skips above come first
from vigil_export.models.model import FusionModel, ImageEncoderSpec, ModelSpec, TextEncoderSpec, build_model  # noqa: E402
from vigil_export.packing import onnx_export  # noqa: E402
from vigil_export.packing.onnx_export import Exported, ExportRefusedError, export_graphs  # noqa: E402

_HASH = """
from stream_app.bundle.manifest import sha256_hex
from tests.export.test_onnx_export import small_model
from vigil_export.packing.onnx_export import export_graphs
for name, data in sorted(export_graphs(small_model("concat")).graphs.items()):
    print(name, sha256_hex(data))
"""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    # The exporter traces itself in thousands of records, which pytest would collect and format.
    logging.getLogger("torch").propagate = False


def small_model(kind: FusionKind) -> FusionModel:
    """Return a model with random weights; a text of the token form is a BERT-like one."""
    torch.manual_seed(3)
    text = TextEncoderSpec(kind="transformer" if kind == "attention" else "gru", width=16, embedding=8, heads=2,
                           features=16, vocabulary=60, max_tokens=9)  # fmt: skip
    return build_model(
        ModelSpec(
            labels=("a", "b", "c"),
            task="multiclass",
            image=ImageEncoderSpec(height=32, width=48, features=16),
            text=text,
            fusion=FusionSpec(kind=kind, width=16, heads=2, layers=1, rank=2),
        )
    ).eval()


@pytest.fixture(scope="module")
def model() -> FusionModel:
    return small_model("concat")


@pytest.fixture(scope="module")
def exported(model: FusionModel) -> Exported:
    return export_graphs(model)


@pytest.mark.parametrize("kind", ["attention", "decision", "image_only"])
def test_a_head_equals_pytorch_whatever_shape_its_features_have(kind: FusionKind) -> None:
    found = small_model(kind)
    head = onnx_export._plan(found)[2]
    data = onnx_export.finished(onnx_export._export(head), head.name, dynamic=head.dynamic)
    assert onnx_export._check_parity(data, head, found) <= 1e-4
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(data), strict_mode=True, data_prop=True)
    assert [d.dim_value for d in inferred.graph.output[0].type.tensor_type.shape.dim][1:] == [3]


def test_equal_weights_give_equal_bytes_in_another_process_too(exported: Exported) -> None:
    found = subprocess.run([sys.executable, "-c", _HASH], capture_output=True, text=True, check=True).stdout
    assert found == "".join(f"{name} {sha256_hex(data)}\n" for name, data in sorted(exported.graphs.items()))


def test_graphs_are_those_of_the_contract_and_name_no_source(exported: Exported) -> None:
    assert set(exported.graphs) == {IMAGE_ENCODER, TEXT_ENCODER, FUSION_HEAD}
    for name, data in exported.graphs.items():
        proto = onnx.load_from_string(data)
        assert [(o.domain, o.version) for o in proto.opset_import if not o.domain] == [("", onnx_export.OPSET)]
        assert exported.difference[name] <= 1e-4
        assert b".py" not in data
        assert not proto.metadata_props
        assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param


class _FixedBatch(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """The trap of the exporter: `len` of a tensor bakes the size of the sample into the graph."""

    def forward(self, one: Tensor, two: Tensor, image: Tensor, text: Tensor) -> Tensor:
        sums: Tensor = (one + two)[:, :3] + torch.zeros(len(image), 3) + text[:, None]
        return sums


class _LetsNaNThrough(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """The usual mistake of a mask: zero times NaN is NaN."""

    def forward(self, one: Tensor, two: Tensor, image: Tensor, text: Tensor) -> Tensor:
        sums: Tensor = (one * image[:, None] + two * text[:, None])[:, :3]
        return sums


class _Unexportable(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """A branch on values, which a graph cannot hold."""

    def forward(self, one: Tensor, two: Tensor, image: Tensor, text: Tensor) -> Tensor:
        chosen: Tensor = one[:, :3] if float((image * text).sum()) > 0.5 else two[:, :3]
        return chosen


def test_a_module_with_a_baked_batch_or_a_branch_is_refused(model: FusionModel) -> None:
    head = onnx_export._plan(model)[2]
    for module in (_FixedBatch(), _Unexportable()):
        with pytest.raises(ExportRefusedError, match=r"fusion_head\.onnx: expected"):
            onnx_export.finished(onnx_export._export(replace(head, module=module)), head.name, dynamic=head.dynamic)


def test_a_head_that_lets_nan_of_an_absent_side_through_is_refused(model: FusionModel) -> None:
    head = replace(onnx_export._plan(model)[2], module=_LetsNaNThrough())
    data = onnx_export.finished(onnx_export._export(head), head.name, dynamic=head.dynamic)
    with pytest.raises(ExportRefusedError, match="expected finite results"):
        onnx_export._check_parity(data, head, model)


def test_a_graph_that_differs_from_pytorch_is_refused(model: FusionModel) -> None:
    head = onnx_export._plan(model)[2]
    proto = onnx_export._export(head)
    assert onnx_export._check_parity(proto.SerializeToString(), head, model) <= 1e-4
    bias = next(weight for weight in proto.graph.initializer if weight.name.endswith("out.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), bias.name))
    with pytest.raises(ExportRefusedError, match=r"expected at most 0\.0001 from PyTorch, found 0\.01$"):
        onnx_export._check_parity(proto.SerializeToString(), head, model)


def test_a_model_that_diverged_is_refused_with_what_to_do(model: FusionModel) -> None:
    head = onnx_export._plan(model)[2]
    other = build_model(model.spec).eval()
    with torch.no_grad():
        for weight in other.head.parameters():
            weight.mul_(100)
    wild = replace(head, module=other.head)
    data = onnx_export._export(wild).SerializeToString()
    with pytest.raises(ExportRefusedError, match=r"the model diverged; train again with a lower recipe\.rate"):
        onnx_export._check_parity(data, wild, model)


def test_a_path_is_found_in_names_and_attributes_and_not_in_weights(model: FusionModel) -> None:
    head = onnx_export._plan(model)[2]
    proto = onnx_export._export(head)
    weights = proto.graph.initializer.add()
    weights.CopyFrom(onnx.numpy_helper.from_array(np.frombuffer(b"/tmp/a/b.py C:\\home\\", np.uint8).copy(), "more"))
    # As the quantiser writes int8: one varint per weight.
    numbers = list(b"C:\\Xab /home/")
    proto.graph.initializer.append(onnx.helper.make_tensor("bytes", onnx.TensorProto.INT8, [len(numbers)], numbers))
    onnx_export.finished(proto, head.name, dynamic=head.dynamic)
    for path in ("/home/x", "/usr/lib/python/model.py", "C:\\work\\model"):
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        changed.graph.name = path
        with pytest.raises(ExportRefusedError, match="expected no path"):
            onnx_export.finished(changed, head.name, dynamic=head.dynamic)


def test_a_folder_of_the_machine_is_found_wherever_people_work(
    model: FusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = onnx_export._plan(model)[2]
    proto = onnx_export._export(head)
    proto.graph.name = "made in /usr/share/doc"
    onnx_export.finished(proto, head.name, dynamic=head.dynamic)
    monkeypatch.chdir("/usr/share")
    with pytest.raises(ExportRefusedError, match="expected no path in the graph, found b'/usr/share'"):
        onnx_export.finished(proto, head.name, dynamic=head.dynamic)


def test_a_graph_that_onnx_refuses_is_refused(model: FusionModel) -> None:
    head = onnx_export._plan(model)[2]
    proto = onnx_export._export(head)
    proto.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ExportRefusedError, match="ONNX's checker accepts"):
        onnx_export.finished(proto, head.name, dynamic=head.dynamic)
