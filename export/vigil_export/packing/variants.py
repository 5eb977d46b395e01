"""Smaller graphs of one model: float16 and int8. In: the float32 graphs. Out: graphs of the same contract.

`fp16` halves weights and arithmetic; inputs and outputs stay float32, so serving notices nothing. It is meant for GPUs;
a CPU widens what it has no kernel for. `int8` is static quantisation in QDQ form for CPUs: scales are measured on rows
of data. Weights have 7 bits, because processors without VNNI saturate sums of products of 8 bits. The encoders alone
are quantised: the head is small, and its logits are what calibration was fitted to. What either costs is known only
when measured (`vigil_export.packing.measure`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from stream_app.bundle.manifest import FUSION_HEAD, IMAGE_ENCODER, TEXT_ENCODER
from vigil_export.packing.onnx_export import DYNAMIC, ExportRefusedError, finished, quiet

Graphs = dict[str, bytes]
"""File name -> ONNX bytes."""

Feed = Mapping[str, npt.NDArray[Any]]
"""Input name -> array, for one run of a graph."""

#: The most rows that the scales of int8 are measured on: more change them little.
SCALE_ROWS = 256

# Range makes indices, and float16 counts only to 2,048. The rest is the library's own list.
_WIDE = (*DEFAULT_OP_BLOCK_LIST, "Range")
_RECURRENT = frozenset({"LSTM", "GRU"})
# What a convolutional network is made of. Additions in a text encoder may be masks of -1e4, whose range would leave no
# steps for anything else; there only the products are quantised.
_QUANTISED = {
    IMAGE_ENCODER: ["Conv", "Gemm", "MatMul", "Add", "Relu", "Clip", "MaxPool"],
    TEXT_ENCODER: ["Gemm", "MatMul", "Gather"],
}


def to_fp16(graphs: Mapping[str, bytes]) -> Graphs:
    """Convert graphs to float16 with float32 inputs and outputs.

    Args:
        graphs: Of `export_graphs`.

    Returns:
        Graphs of the same inputs and outputs; equal graphs give equal bytes.

    Raises:
        ExportRefusedError: A weight does not fit into float16 (beyond 65504), or a graph cannot be converted.
    """
    found = {}
    for name, data in graphs.items():
        proto = onnx.load_from_string(data)
        _require_float16_weights(proto, name)
        with quiet():
            half = convert_float_to_float16(proto, keep_io_types=True, op_block_list=[*_WIDE, *_unsafe(proto)])
            # The converter appends its casts, after the nodes that read them.
            OnnxModel(half).topological_sort(is_deterministic=True)
        found[name] = finished(half, name, dynamic=DYNAMIC[name])
    return found


def _unsafe(proto: onnx.ModelProto) -> tuple[str, ...]:
    """Return the further operators that must stay float32 in a graph.

    Behind an LSTM or a GRU, a Transpose in float16 before a product kills ONNX Runtime 1.31 on a CPU while it optimises
    the graph (its MatmulTransposeFusion).
    """
    return ("Transpose",) if _RECURRENT & {node.op_type for node in proto.graph.node} else ()


def _require_float16_weights(proto: onnx.ModelProto, name: str) -> None:
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            largest = float(np.abs(onnx.numpy_helper.to_array(tensor)).max(initial=0.0))
            if largest > float(np.finfo(np.float16).max):
                raise ExportRefusedError(f"{name}: expected weights within +-65504 for fp16, found {largest:g}")


def to_int8(graphs: Mapping[str, bytes], rows: Mapping[str, Sequence[Feed]]) -> Graphs:
    """Quantise the two encoders.

    Args:
        graphs: Of `export_graphs`.
        rows: Encoder -> inputs of some runs, from training or validation rows; an encoder without any stays as it is.

    Returns:
        Graphs of the same inputs and outputs; equal graphs and rows give equal bytes.

    Raises:
        ExportRefusedError: A graph cannot be quantised.
    """
    found = {FUSION_HEAD: graphs[FUSION_HEAD]}
    for name, kinds in _QUANTISED.items():
        feeds = rows.get(name, ())
        present = {node.op_type for node in onnx.load_from_string(graphs[name]).graph.node}
        if not feeds or not present & set(kinds):
            found[name] = graphs[name]
            continue
        quantised = _quantised(graphs[name], kinds, feeds)
        found[name] = finished(quantised, name, dynamic=DYNAMIC[name])
    return found


def _quantised(data: bytes, kinds: Sequence[str], feeds: Sequence[Feed]) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, target = Path(folder) / "model.onnx", Path(folder) / "quantised.onnx"
        source.write_bytes(data)
        quantize_static(
            str(source),
            str(target),
            _Rows(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(kinds),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(str(target))


class _Rows(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
    """Hands out the inputs of one run after another."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = feeds
        self._left = iter(feeds)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        feed = next(self._left, None)
        return None if feed is None else dict(feed)

    def rewind(self) -> None:
        self._left = iter(self._feeds)
