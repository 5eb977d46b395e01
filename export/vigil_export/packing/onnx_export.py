"""Exports a model to its three ONNX graphs. In: a trained model. Out: checked, stripped graphs as bytes.

A graph leaves here only if ONNX's checker and shape inference accept it, its batch and token dimensions are dynamic, it
agrees with PyTorch over a grid of shapes (an absent side may even hold NaN), and it reveals nothing of the machine
that made it (the exporter writes source lines and absolute paths into a graph). Equal weights give equal bytes.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.checker
import onnx.shape_inference
import onnxruntime as ort
import torch
from torch import Tensor, nn

from stream_app.bundle.manifest import FUSION_HEAD, IMAGE_ENCODER, TEXT_ENCODER
from vigil_export.models.model import FusionModel

OPSET = 20
"""From 23 on the exporter emits an Attention that ONNX Runtime refuses with some masks; 20 runs everywhere."""

# Where a tensor may keep its numbers; quantised weights are in int32_data.
_NUMBERS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")

TOLERANCE = 1e-4
GRAPH_NAMES = (IMAGE_ENCODER, TEXT_ENCODER, FUSION_HEAD)
_BATCHES = (1, 2, 3, 8, 17)
_TOKENS = (1, 2, 9, 33, 64)
_PATH = re.compile(rb"(?:/[A-Za-z0-9_.-]+){2,}\.py|site-packages|/home/|/root/|/tmp/|[A-Z]:\\\\?[A-Za-z]")

Array = npt.NDArray[np.generic]


class ExportRefusedError(ValueError):
    """An exported graph differs from the trained model; the message says what was expected and found."""


@dataclass(frozen=True, slots=True)
class _Graph:
    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    output: str
    sample: tuple[Tensor, ...]
    dynamic: dict[str, dict[int, str]]
    max_tokens: int = 4096


@dataclass(frozen=True, slots=True)
class Exported:
    """The three graphs and by how much they differ from PyTorch.

    Attributes:
        graphs: File name -> ONNX bytes.
        difference: File name -> greatest absolute difference over the grid of shapes.
    """

    graphs: dict[str, bytes]
    difference: dict[str, float]


def export_graphs(model: FusionModel, *, names: Collection[str] = GRAPH_NAMES) -> Exported:
    """Export the three graphs and check them.

    Args:
        model: A trained model in evaluation mode.
        names: Which of them to export.

    Returns:
        The graphs.

    Raises:
        ExportRefusedError: The exporter or ONNX's checker refuses a graph, a dimension is fixed, a result differs by
            more than 1e-4 or is not finite, or a path is left in a graph.
    """
    model = model.eval().to("cpu").to(memory_format=torch.contiguous_format)
    graphs, difference = {}, {}
    for graph in (graph for graph in _plan(model) if graph.name in names):
        proto = _export(graph)
        data = finished(proto, graph.name, dynamic=graph.dynamic)
        difference[graph.name] = _check_parity(data, graph, model)
        graphs[graph.name] = data
    return Exported(graphs, difference)


def finished(proto: onnx.ModelProto, name: str, *, dynamic: Mapping[str, Mapping[int, str]]) -> bytes:
    """Strip a graph, check what it declares, and return its bytes.

    Args:
        proto: From an exporter or a tool; modified in place.
        name: Of the file, for messages.
        dynamic: Input -> axis -> name: the dimensions that must not be fixed.

    Raises:
        ExportRefusedError: ONNX's checker or shape inference refuses it, a dimension is fixed, or a path is left.
    """
    _strip(proto)
    _assert_dynamic(proto, name, dynamic)
    _assert_no_path(proto, name)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportRefusedError(f"{name}: expected a graph that ONNX's checker accepts, found {error}") from error
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


#: The dimensions that must stay open, by file and input.
DYNAMIC: dict[str, dict[str, dict[int, str]]] = {
    IMAGE_ENCODER: {"image": {0: "b"}},
    TEXT_ENCODER: {"tokens": {0: "b", 1: "t"}, "length": {0: "b"}},
    FUSION_HEAD: {name: {0: "b"} for name in ("image_features", "text_features", "image_present", "text_present")},
}


def _plan(model: FusionModel) -> tuple[_Graph, ...]:
    spec = model.spec
    sample_tokens = min(7, spec.text.max_tokens)
    # Four tensors of their own: the exporter takes one tensor given twice for one input.
    features = (torch.zeros(3, *model.image.shape), torch.ones(3, *model.text.shape))
    present = (torch.ones(3), torch.zeros(3))
    return (
        _Graph(
            IMAGE_ENCODER,
            model.image,
            ("image",),
            "image_features",
            (torch.zeros(3, spec.image.height, spec.image.width, 3, dtype=torch.uint8),),
            DYNAMIC[IMAGE_ENCODER],
        ),
        _Graph(
            TEXT_ENCODER,
            model.text,
            ("tokens", "length"),
            "text_features",
            (torch.ones(3, sample_tokens, dtype=torch.int64), torch.full((3,), min(5, sample_tokens))),
            DYNAMIC[TEXT_ENCODER],
            spec.text.max_tokens,
        ),
        _Graph(
            FUSION_HEAD,
            model.head,
            ("image_features", "text_features", "image_present", "text_present"),
            "logits",
            (*features, *present),
            DYNAMIC[FUSION_HEAD],
        ),
    )


@contextlib.contextmanager
def quiet(logger: str = "") -> Iterator[None]:
    """Keep the progress and advice of PyTorch's and ONNX's tools from the terminal, but not what they raise."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _export(graph: _Graph) -> onnx.ModelProto:
    sizes = {"b": torch.export.Dim("b", min=1, max=4096), "t": torch.export.Dim("t", min=1, max=graph.max_tokens)}
    shapes = tuple({axis: sizes[size] for axis, size in graph.dynamic[name].items()} for name in graph.inputs)
    try:
        with quiet("torch.onnx"):
            program = torch.onnx.export(
                graph.module,
                graph.sample,
                input_names=list(graph.inputs),
                output_names=[graph.output],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ExportRefusedError(f"{graph.name}: expected a module that PyTorch can export, found {reason}") from error
    if program is None:
        raise ExportRefusedError(f"{graph.name}: expected a program from the exporter, found none")
    proto: onnx.ModelProto = program.model_proto
    return proto


def _strip(proto: onnx.ModelProto) -> None:
    """Remove everything that says where and from which lines the graph came."""
    del proto.metadata_props[:]
    proto.doc_string = ""
    proto.producer_name, proto.producer_version = "vigil-export", ""
    proto.graph.doc_string = ""
    del proto.graph.metadata_props[:]
    del proto.graph.value_info[:]
    for part in (*proto.graph.node, *proto.graph.initializer, *proto.graph.input, *proto.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for function in proto.functions:
        del function.metadata_props[:]
        function.doc_string = ""
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""


def _assert_dynamic(proto: onnx.ModelProto, name: str, dynamic: Mapping[str, Mapping[int, str]]) -> None:
    for value in proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        for axis in dynamic[value.name]:
            if not dims[axis].dim_param:
                found = dims[axis].dim_value
                raise ExportRefusedError(
                    f"{name}: expected a dynamic axis {axis} of {value.name}, found the fixed size {found}"
                )
    first = proto.graph.output[0].type.tensor_type.shape.dim[0]
    if not first.dim_param:
        raise ExportRefusedError(f"{name}: expected a dynamic batch of the output, found {first.dim_value}")


def _assert_no_path(proto: onnx.ModelProto, name: str) -> None:
    """Look for paths in all but the weights: in megabytes of random numbers any five bytes occur somewhere."""
    words = onnx.ModelProto()
    words.CopyFrom(proto)
    for tensor in words.graph.initializer:
        for numbers in _NUMBERS:
            tensor.ClearField(numbers)
    data = words.SerializeToString(deterministic=True)
    found = _PATH.search(data)
    places = [place for place in _places() if place in data]
    if found is not None or places:
        what = places[0] if found is None else found.group()
        raise ExportRefusedError(f"{name}: expected no path in the graph, found {what!r}")


def _places() -> tuple[bytes, ...]:
    """Return the folders of this machine that a graph might name; short ones such as `/srv` may occur anywhere."""
    folders = (Path.cwd(), Path.home(), Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2])
    return tuple(str(folder).encode() for folder in folders if len(folder.parts) > 2)


def _check_parity(data: bytes, graph: _Graph, model: FusionModel) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    worst = largest = 0.0
    for inputs in _grid(graph.name, model):
        found = session.run([graph.output], dict(zip(graph.inputs, inputs, strict=True)))[0]
        with torch.inference_mode():
            expected = graph.module(*(torch.from_numpy(values) for values in inputs)).numpy()
        if found.shape != expected.shape:
            raise ExportRefusedError(f"{graph.name}: expected shape {expected.shape}, found {found.shape}")
        # A comparison does not notice NaN.
        if not np.isfinite(found).all() or not np.isfinite(expected).all():
            raise ExportRefusedError(
                f"{graph.name}: expected finite results for {_shapes(inputs)}, found NaN or infinity: {_DIVERGED}"
            )
        worst = max(worst, float(np.abs(found - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    if worst > TOLERANCE:
        why = f"; {_differs(largest)}" if np.spacing(np.float32(largest)) > TOLERANCE / 4 else ""
        raise ExportRefusedError(f"{graph.name}: expected at most {TOLERANCE} from PyTorch, found {worst:.3g}{why}")
    return worst


_DIVERGED = "the model diverged; train again with a lower recipe.rate or with recipe.clip above 0"


def _differs(largest: float) -> str:
    return f"results are as large as {largest:.3g}, for which float32 lacks the digits: {_DIVERGED}"


def _shapes(inputs: tuple[Array, ...]) -> str:
    return ", ".join(f"{values.dtype} {list(values.shape)}" for values in inputs)


def _grid(name: str, model: FusionModel) -> Iterator[tuple[Array, ...]]:
    """Give inputs of every batch size: any pixels; any tokens of any length; any features, a lone side beside NaN."""
    rng, spec = np.random.default_rng(17), model.spec
    for b in _BATCHES:
        if name == IMAGE_ENCODER:
            yield (rng.integers(0, 256, (b, spec.image.height, spec.image.width, 3), dtype=np.uint8),)
        elif name == TEXT_ENCODER:
            for t in sorted({min(t, spec.text.max_tokens) for t in (*_TOKENS, spec.text.max_tokens)}):
                yield rng.integers(0, spec.text.vocabulary, (b, t)), rng.integers(1, t + 1, b)
        else:
            shapes = (model.image.shape, model.text.shape)
            one, two = (rng.uniform(-1, 1, (b, *shape)).astype(np.float32) for shape in shapes)
            yes, no = np.ones(b, np.float32), np.zeros(b, np.float32)
            yield one, two, yes, yes
            yield one, np.full_like(two, np.nan), yes, no
            yield np.full_like(one, np.nan), two, no, yes
