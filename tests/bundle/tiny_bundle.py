"""A complete, valid and tiny bundle for tests, whose scores a person can foretell.

``write_tiny_bundle(root)`` writes ``root/tiny/1`` and returns that path. The tokenizer splits at spaces; label ``i``
has the word of its own name, and colour channel ``i % 3``:

    logit[i] = -2 + 4 * (the text says the label's name) + 4 * (mean of the channel / 255 - 0.5) + a little noise

A side that is absent adds nothing. So with the default labels (open_at 0.8, close_at 0.5):

| input                                   | logit of "fight" | probability |
|-----------------------------------------|------------------|-------------|
| text "a fight" alone                    |  2               | 0.88, opens |
| text "all quiet" alone                  | -2               | 0.12        |
| text "a fight" and a red image          |  4               | 0.98        |
| text "a fight" and a black image        |  0               | 0.50        |
| red image alone                         |  0               | 0.50        |

The noise (below 0.1) comes from a convolution and from averaged random embeddings, so that the arithmetic is of the
kind of real models and depends on every pixel and token. Known results come from onnx's reference evaluator, not from
ONNX Runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tokenizers
from onnx import TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tokenizers import models, pre_tokenizers

from stream_app.bundle import manifest as m
from stream_app.bundle.image import self_check_image
from stream_app.bundle.text import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

    Arrays = Mapping[str, NDArray[Any]]
    Ports = Mapping[str, tuple[int, Sequence[int | str]]]

OPSET = 20
DEFAULT_LABELS = (
    m.Label(name="fight", alerts=True, open_at=0.8, close_at=0.5),
    m.Label(name="fire", alerts=True, open_at=0.8, close_at=0.5),
)
_NOISE_FEATURES = 4
_WORDS = ("a", "all", "quiet", "two", "men", "at", "the", "gate", "smoke", "door", "open", "camera", "sees", "dock")
_FLOAT, _INT64, _UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8


class _Graphs(NamedTuple):
    image_encoder: ModelProto
    text_encoder: ModelProto
    fusion_head: ModelProto


def write_tiny_bundle(  # noqa: PLR0913 - each is a knob that some test turns
    root: Path,
    *,
    labels: Sequence[m.Label] = DEFAULT_LABELS,
    task: m.Task = "multilabel",
    name: str = "tiny",
    version: str = "1",
    height: int = 32,
    width: int = 40,
    max_tokens: int = 24,
    seed: int = 0,
) -> Path:
    """Write a bundle to ``root/name/version`` and return that directory.

    Args:
        root: where bundles live; made if missing.
        labels: the labels, in the order of the logits.
        task: as in the manifest; ``binary`` wants one label, ``multiclass`` two or more.
        name: the bundle's name.
        version: the bundle's version.
        height: rows of the image encoder's input, at least 8.
        width: columns of the image encoder's input, at least 8.
        max_tokens: the bound on tokens.
        seed: of the noise; another seed makes another model (and hash) with nearly the same scores.
    """
    words = ["[PAD]", "[UNK]", *(label.name for label in labels), *_WORDS]
    image, text = m.ImageSpec(height=height, width=width), m.TextSpec(max_tokens=max_tokens, pad_id=0)
    graphs = _make_graphs(len(labels), len(words), height=height, width=width, seed=seed)
    tokenizer = _tokenizer_bytes(words)
    contents = {
        m.IMAGE_ENCODER: graphs.image_encoder.SerializeToString(),
        m.TEXT_ENCODER: graphs.text_encoder.SerializeToString(),
        m.FUSION_HEAD: graphs.fusion_head.SerializeToString(),
        m.TOKENIZER: tokenizer,
        m.MODEL_CARD: b"# Tiny\n\nNot a model: fixed arithmetic for tests.\n",
    }
    scaling = m.Scaling(scale=(1.0,) * len(labels), offset=(0.0,) * len(labels))
    manifest = m.Manifest(
        schema=m.SCHEMA,
        name=name,
        version=version,
        task=task,
        labels=tuple(labels),
        calibration=m.Calibration(both=scaling, image=scaling, text=scaling),
        image=image,
        text=text,
        features=m.Features(image=(len(labels) + _NOISE_FEATURES,), text=(len(labels) + _NOISE_FEATURES,)),
        opset=OPSET,
        files={file: m.sha256_hex(data) for file, data in contents.items()},
        self_check=m.SelfCheck(tolerance=1e-4, cases=_cases(graphs, Tokenizer(tokenizer, text), labels, image)),
        training={"data": "none"},
        metrics={},
        source_revision="tests",
    )
    directory = root / name / version
    directory.mkdir(parents=True, exist_ok=True)
    for file, data in contents.items():
        (directory / file).write_bytes(data)
    (directory / m.MANIFEST_NAME).write_bytes(m.encode_manifest(manifest))
    return directory


def _tokenizer_bytes(words: Sequence[str]) -> bytes:
    tokenizer = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str().encode()


def _make_graphs(label_count: int, word_count: int, *, height: int, width: int, seed: int) -> _Graphs:
    random = np.random.default_rng(seed)
    return _Graphs(
        _image_encoder(label_count, height=height, width=width, random=random),
        _text_encoder(label_count, word_count, random=random),
        _fusion_head(label_count, random=random),
    )


def _image_encoder(label_count: int, *, height: int, width: int, random: np.random.Generator) -> ModelProto:
    """Features: mean of channel i % 3 minus 0.5 for every label, then averaged convolution channels."""
    channel = np.zeros((3, label_count), dtype=np.float32)
    channel[np.arange(label_count) % 3, np.arange(label_count)] = 1
    constants: Arrays = {
        "scale": np.array(255, dtype=np.float32),
        "half": np.array(0.5, dtype=np.float32),
        "kernel": random.normal(0, 0.1, (_NOISE_FEATURES, 3, 8, 8)).astype(np.float32),
        "channel": channel,
        "plane": np.array([1, 2], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["as_float"], to=_FLOAT),
        helper.make_node("Div", ["as_float", "scale"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "plane"], ["colour"], keepdims=0),
        helper.make_node("Sub", ["colour", "half"], ["centred"]),
        helper.make_node("MatMul", ["centred", "channel"], ["known"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["edges"], strides=[4, 4]),
        helper.make_node("Relu", ["edges"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["noise"]),
        helper.make_node("Concat", ["known", "noise"], ["image_features"], axis=1),
    ]
    size = label_count + _NOISE_FEATURES
    inputs: Ports = {"image": (_UINT8, ["b", height, width, 3])}
    return _model("image_encoder", nodes, constants, inputs, {"image_features": (_FLOAT, ["b", size])})


def _text_encoder(label_count: int, word_count: int, *, random: np.random.Generator) -> ModelProto:
    """Features: 1 where the label's word occurs, then averaged random embeddings; padding is masked out."""
    size = label_count + _NOISE_FEATURES
    embedding = np.zeros((word_count, size), dtype=np.float32)
    embedding[:, label_count:] = random.normal(0, 0.5, (word_count, _NOISE_FEATURES))
    embedding[2 + np.arange(label_count), np.arange(label_count)] = 1
    constants: Arrays = {
        "embedding": embedding,
        "zero": np.array(0, dtype=np.int64),
        "one": np.array(1, dtype=np.int64),
        "second": np.array([1], dtype=np.int64),
        "third": np.array([2], dtype=np.int64),
        "low": np.array(0, dtype=np.float32),
        "high": np.array(1, dtype=np.float32),
        "split": np.array([label_count, _NOISE_FEATURES], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "tokens"], ["vectors"]),
        helper.make_node("Shape", ["tokens"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["t"]),
        helper.make_node("Range", ["zero", "t", "one"], ["places"]),
        helper.make_node("Unsqueeze", ["length", "second"], ["lengths"]),
        helper.make_node("Less", ["places", "lengths"], ["is_token"]),
        helper.make_node("Cast", ["is_token"], ["mask"], to=_FLOAT),
        helper.make_node("Unsqueeze", ["mask", "third"], ["mask_3"]),
        helper.make_node("Mul", ["vectors", "mask_3"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "second"], ["sums"], keepdims=0),
        helper.make_node("Split", ["sums", "split"], ["words", "rest"], axis=1),
        helper.make_node("Clip", ["words", "low", "high"], ["known"]),
        helper.make_node("Cast", ["lengths"], ["divisor"], to=_FLOAT),
        helper.make_node("Div", ["rest", "divisor"], ["noise"]),
        helper.make_node("Concat", ["known", "noise"], ["text_features"], axis=1),
    ]
    inputs: Ports = {"tokens": (_INT64, ["b", "t"]), "length": (_INT64, ["b"])}
    return _model("text_encoder", nodes, constants, inputs, {"text_features": (_FLOAT, ["b", size])})


def _fusion_head(label_count: int, *, random: np.random.Generator) -> ModelProto:
    size = label_count + _NOISE_FEATURES
    weights = random.normal(0, 0.01, (2 * size, label_count)).astype(np.float32)
    for start in (0, size):
        weights[start : start + label_count] = 4 * np.eye(label_count)
    constants: Arrays = {
        "weights": weights,
        "bias": np.full(label_count, -2, dtype=np.float32),
        "second": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["image_present", "second"], ["image_flag"]),
        helper.make_node("Unsqueeze", ["text_present", "second"], ["text_flag"]),
        helper.make_node("Mul", ["image_features", "image_flag"], ["image_side"]),
        helper.make_node("Mul", ["text_features", "text_flag"], ["text_side"]),
        helper.make_node("Concat", ["image_side", "text_side"], ["sides"], axis=1),
        helper.make_node("Gemm", ["sides", "weights", "bias"], ["logits"]),
    ]
    inputs: Ports = {
        "image_features": (_FLOAT, ["b", size]),
        "text_features": (_FLOAT, ["b", size]),
        "image_present": (_FLOAT, ["b"]),
        "text_present": (_FLOAT, ["b"]),
    }
    return _model("fusion_head", nodes, constants, inputs, {"logits": (_FLOAT, ["b", label_count])})


def _model(
    name: str,
    nodes: Sequence[NodeProto],
    constants: Arrays,
    inputs: Ports,
    outputs: Ports,
) -> ModelProto:
    graph = helper.make_graph(
        list(nodes),
        name,
        [helper.make_tensor_value_info(key, kind, shape) for key, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(key, kind, shape) for key, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    checker.check_model(model, full_check=True)
    return model


def _cases(
    graphs: _Graphs, tokenizer: Tokenizer, labels: Sequence[m.Label], image: m.ImageSpec
) -> tuple[m.SelfCheckCase, ...]:
    first = labels[0].name
    chosen = ((3, f"two men {first} at the gate"), (None, f"a {first}"), (None, ""), (5, None), (7, "all quiet"))
    return tuple(
        m.SelfCheckCase(image_seed=seed, text=text, logits=_reference(graphs, tokenizer, image, seed=seed, text=text))
        for seed, text in chosen
    )


def _reference(
    graphs: _Graphs, tokenizer: Tokenizer, image: m.ImageSpec, *, seed: int | None, text: str | None
) -> tuple[float, ...]:
    drawn = self_check_image(seed or 0, image.height, image.width)[None]
    tokens, length = tokenizer.encode_batch([text or ""])
    feed = {
        "image_features": _evaluate(graphs.image_encoder, {"image": drawn}),
        "text_features": _evaluate(graphs.text_encoder, {"tokens": tokens, "length": length}),
        "image_present": np.array([seed is not None], dtype=np.float32),
        "text_present": np.array([text is not None], dtype=np.float32),
    }
    return tuple(float(value) for value in _evaluate(graphs.fusion_head, feed)[0])


def _evaluate(model: ModelProto, feed: Arrays) -> NDArray[Any]:
    outputs: Any = ReferenceEvaluator(model).run(None, dict(feed))
    result: NDArray[Any] = outputs[0]
    return result
