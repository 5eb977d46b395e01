"""The three graphs of a bundle as ONNX Runtime sessions: arrays in, arrays out, signatures checked on creation.

This is the only place that calls ``session.run``. It never runs a graph with a single row: ONNX Runtime takes another
kernel for a matrix product with one row, and results would depend on the batch. It must not know queues, buckets or
which provider was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _ort_state

from stream_app.bundle.errors import BundleError
from stream_app.bundle.manifest import FUSION_HEAD, IMAGE_ENCODER, TEXT_ENCODER
from stream_app.bundle.onnx_model import is_recurrent_float16, read_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from stream_app.bundle.load import Bundle

CPU_PROVIDER = "CPUExecutionProvider"

#: A provider, or a provider with its options, as ONNX Runtime takes them.
Provider = str | tuple[str, dict[str, str]]

_Shape = tuple[int | str, ...]
_Signature = dict[str, tuple[str, _Shape]]

# ONNX Runtime's exceptions share no ancestor below Exception.
_ORT_ERRORS = tuple(
    getattr(_ort_state, name)
    for name in (
        "EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "ModelLoaded",
        "NoModel", "NoSuchFile", "NotImplemented", "RuntimeException",
    )
    if hasattr(_ort_state, name)
)  # fmt: skip
_LOG_ERRORS_ONLY = 3
_DISABLED_OPTIMISERS = "optimization.disable_specified_optimizers"
# In ONNX Runtime 1.31 it kills the process on a Transpose in float16 behind an LSTM or a GRU.
_FATAL_OPTIMISER = "MatmulTransposeFusion"


class GraphError(RuntimeError):
    """A run of a graph failed, or gave something that is no result: a wrong shape, NaN or infinity."""


class Graphs:
    """Three sessions over checked bytes. Calls are thread-safe and release the GIL while ONNX Runtime works."""

    def __init__(
        self, bundle: Bundle, *, providers: Sequence[Provider] = (CPU_PROVIDER,), intra_op_threads: int
    ) -> None:
        """Create the sessions and check their signatures.

        Args:
            bundle: a loaded bundle.
            providers: in order of preference. ONNX Runtime falls back without a word: look at ``provider`` after.
            intra_op_threads: threads inside one operator; 0 is ONNX Runtime's own choice.

        Raises:
            BundleError: if a graph cannot be loaded or its inputs and outputs are not those of the manifest.
        """
        manifest = bundle.manifest
        size: _Shape = (manifest.image.height, manifest.image.width, 3)
        self._features = {"image_features": manifest.features.image, "text_features": manifest.features.text}
        image: tuple[str, _Shape] = ("tensor(float)", ("b", *manifest.features.image))
        text: tuple[str, _Shape] = ("tensor(float)", ("b", *manifest.features.text))
        flag: tuple[str, _Shape] = ("tensor(float)", ("b",))
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        signatures: dict[str, tuple[_Signature, _Signature]] = {
            IMAGE_ENCODER: ({"image": ("tensor(uint8)", ("b", *size))}, {"image_features": image}),
            TEXT_ENCODER: (
                {"tokens": ("tensor(int64)", ("b", "t")), "length": ("tensor(int64)", ("b",))},
                {"text_features": text},
            ),
            FUSION_HEAD: (
                {"image_features": image, "text_features": text, "image_present": flag, "text_present": flag},
                {"logits": ("tensor(float)", ("b", len(manifest.labels)))},
            ),
        }
        for name, (inputs, outputs) in signatures.items():
            options = _session_options(intra_op_threads)
            if is_recurrent_float16(read_model(bundle.graphs[name], name)):
                options.add_session_config_entry(_DISABLED_OPTIMISERS, _FATAL_OPTIMISER)
            session = _open(bundle.graphs[name], name, options=options, providers=providers)
            _check_signature(f"{name} input", inputs, session.get_inputs())
            _check_signature(f"{name} output", outputs, session.get_outputs())
            self._sessions[name] = session
        self._label_count = len(manifest.labels)

    @property
    def provider(self) -> str:
        """The execution provider in use; where the three sessions differ, the slowest: the CPU before CUDA."""
        # The order of the alphabet is the order of speed: CPU..., CUDA..., Tensorrt...
        return min(str(session.get_providers()[0]) for session in self._sessions.values())

    def encode_images(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode images.

        Args:
            images: uint8 [b, H, W, 3] RGB of the manifest's size, b >= 1.

        Returns:
            float32 [b, *features.image], finite.

        Raises:
            GraphError: if the run fails or a feature is not finite.
        """
        return self._run(IMAGE_ENCODER, {"image": images}, self._features["image_features"])

    def encode_texts(self, tokens: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.float32]:
        """Encode texts: tokens int64 [b, t], length int64 [b] -> float32 [b, *features.text], finite.

        Raises:
            GraphError: if the run fails or a feature is not finite.
        """
        return self._run(TEXT_ENCODER, {"tokens": tokens, "length": length}, self._features["text_features"])

    def fuse(
        self,
        image_features: NDArray[np.float32],
        text_features: NDArray[np.float32],
        image_present: NDArray[np.float32],
        text_present: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Fuse rows of features; a side whose present flag is 0 has no influence.

        Args:
            image_features: float32 [b, *features.image], finite.
            text_features: float32 [b, *features.text], finite.
            image_present: float32 [b], 0 or 1.
            text_present: float32 [b], 0 or 1.

        Returns:
            float32 [b, L] logits, finite.

        Raises:
            GraphError: if the run fails or a logit is not finite.
        """
        feed = {
            "image_features": image_features,
            "text_features": text_features,
            "image_present": image_present,
            "text_present": text_present,
        }
        return self._run(FUSION_HEAD, feed, (self._label_count,))

    def _run(
        self, name: str, feed: Mapping[str, NDArray[np.generic]], row_shape: tuple[int, ...]
    ) -> NDArray[np.float32]:
        rows = len(next(iter(feed.values())))
        if rows == 1:
            feed = {key: np.repeat(value, 2, axis=0) for key, value in feed.items()}
        try:
            output = self._sessions[name].run(None, dict(feed))[0]
        except _ORT_ERRORS as error:
            message = f"{name}: {error}"
            raise GraphError(message) from error
        result = np.asarray(output, dtype=np.float32)[:rows]
        if result.shape != (rows, *row_shape):
            message = f"{name}: expected float32 {[rows, *row_shape]}, found {list(result.shape)}"
            raise GraphError(message)
        if not np.isfinite(result).all():
            message = f"{name}: NaN or infinity in the result"
            raise GraphError(message)
        return result


def _session_options(intra_op_threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.use_deterministic_compute = True
    # Spinning threads take the cores from the decode children.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _open(
    model: bytes, name: str, *, options: onnxruntime.SessionOptions, providers: Sequence[Provider]
) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(model, sess_options=options, providers=list(providers))
    except _ORT_ERRORS as error:
        raise BundleError(name, expected="a graph that ONNX Runtime can load", found=error) from error


def _check_signature(what: str, expected: _Signature, found: Sequence[onnxruntime.NodeArg]) -> None:
    if [node.name for node in found] != list(expected) and {node.name for node in found} != set(expected):
        raise BundleError(what, expected=list(expected), found=[node.name for node in found])
    for node in found:
        dtype, shape = expected[node.name]
        if node.type != dtype:
            raise BundleError(f"{what} {node.name}", expected=dtype, found=node.type)
        if len(node.shape) != len(shape) or not all(map(_dimension_fits, shape, node.shape)):
            raise BundleError(f"{what} {node.name}", expected=list(shape), found=list(node.shape))


def _dimension_fits(expected: int | str, found: int | str | None) -> bool:
    """A dimension named in the contract must be dynamic; a number must be that number, or unknown until it runs."""
    if isinstance(expected, str):
        return not isinstance(found, int)
    return not isinstance(found, int) or found == expected
