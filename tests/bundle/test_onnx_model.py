"""No graph has ONNX Runtime read a file that no hash covers, wherever in it that file is named and however encoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from stream_app.bundle import BundleError
from stream_app.bundle import manifest as m
from stream_app.bundle.graphs import Graphs
from stream_app.bundle.load import load_bundle
from stream_app.bundle.onnx_model import FIELDS, is_recurrent_float16, opset_of, read_model, refuse_outside_data
from stream_app.cli import main
from stream_app.config import load_settings
from stream_app.terminal.outcome import REFUSED
from stream_app.wiring.model import trusted_bundle
from tests.bundle.tiny_bundle import OPSET, write_tiny_bundle

_SIZE, _LABELS = 6, 2
_WEIGHTS_FILE = "weights.bin"


def _outside(name: str = "w", *, shape: tuple[int, ...] = (_SIZE, _LABELS), place: str = _WEIGHTS_FILE) -> TensorProto:
    """A tensor whose numbers lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=place)
    return tensor


def _constant(tensor: TensorProto) -> NodeProto:
    return helper.make_node("Constant", [], ["w"], name="held", value=tensor)


def _inner(*nodes: NodeProto, initializer: tuple[TensorProto, ...] = ()) -> GraphProto:
    """A graph without inputs that gives `w`, as a branch of an If does."""
    given = helper.make_tensor_value_info("branch", TensorProto.FLOAT, [_SIZE, _LABELS])
    return helper.make_graph(
        [*nodes, helper.make_node("Identity", ["w"], ["branch"])], "inner", [], [given], initializer
    )


def _sparse(**sides: TensorProto) -> SparseTensorProto:
    inside = {
        "values": numpy_helper.from_array(np.ones(1, np.float32), "w"),
        "indices": numpy_helper.from_array(np.zeros(1, np.int64), "i"),
    }
    return SparseTensorProto(dims=[_SIZE, _LABELS], **inside | sides)


def _if(branch: GraphProto, name: str = "choice") -> NodeProto:
    return helper.make_node("If", ["yes"], ["w"], name=name, then_branch=branch, else_branch=branch)


def _with_attribute(attribute: AttributeProto) -> NodeProto:
    node = helper.make_node("Anything", [], ["w"], name="odd")
    node.attribute.append(attribute)
    return node


def _with_list(field: str, value: TensorProto | GraphProto | SparseTensorProto) -> NodeProto:
    attribute = AttributeProto(name="many")
    getattr(attribute, field).append(value)
    return _with_attribute(attribute)


def _adds(*nodes: NodeProto) -> Callable[[ModelProto], None]:
    return lambda model: model.graph.node.extend(nodes)


def _function(*, node: NodeProto | None = None, default: AttributeProto | None = None) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        nodes = [] if node is None else [node]
        function = helper.make_function("site", "Given", [], ["w"], nodes, [helper.make_opsetid("", OPSET)])
        function.attribute_proto.extend([] if default is None else [default])
        model.functions.append(function)

    return change


def _training(field: str) -> Callable[[ModelProto], None]:
    return lambda model: getattr(model.training_info.add(), field).CopyFrom(_inner(initializer=(_outside(),)))


_FIELD_ALONE = numpy_helper.from_array(np.ones((_SIZE, _LABELS), np.float32), "w")
_FIELD_ALONE.external_data.add(key="location", value=_WEIGHTS_FILE)
_LOCATION_ALONE = TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
_SPARSE_ATTRIBUTE = AttributeProto(name="one", sparse_tensor=_sparse(values=_outside()))

# How the graph is changed, and how the refusal names the place.
_HIDDEN: dict[str, tuple[Callable[[ModelProto], None], str]] = {
    "weights of the graph": (
        lambda model: model.graph.initializer.append(_outside()),
        "graph 'fusion_head', initializer 'w'",
    ),
    "the field alone, beside numbers": (lambda model: model.graph.initializer.append(_FIELD_ALONE), "initializer 'w'"),
    "the location alone": (lambda model: model.graph.initializer.append(_LOCATION_ALONE), "initializer 'w'"),
    "sparse values": (
        lambda model: model.graph.sparse_initializer.append(_sparse(values=_outside())),
        "sparse_initializer, values 'w'",
    ),
    "sparse indices": (
        lambda model: model.graph.sparse_initializer.append(_sparse(indices=_outside("i", shape=(1,)))),
        "sparse_initializer, indices 'i'",
    ),
    "a constant": (_adds(_constant(_outside())), "node 'held' (Constant), attribute 'value', t 'w'"),
    "tensors of an attribute": (_adds(_with_list("tensors", _outside())), "attribute 'many', tensors 'w'"),
    "a sparse tensor": (_adds(_with_attribute(_SPARSE_ATTRIBUTE)), "attribute 'one', sparse_tensor, values 'w'"),
    "sparse tensors": (
        _adds(_with_list("sparse_tensors", _sparse(indices=_outside("i")))),
        "attribute 'many', sparse_tensors, indices 'i'",
    ),
    "a branch": (_adds(_if(_inner(initializer=(_outside(),)))), "attribute 'else_branch', g 'inner', initializer 'w'"),
    "graphs of an attribute": (
        _adds(_with_list("graphs", _inner(_constant(_outside())))),
        "attribute 'many', graphs 'inner', node 'held' (Constant)",
    ),
    "a branch of a branch": (
        _adds(_if(_inner(_if(_inner(_constant(_outside())), "deeper")))),
        "node 'deeper' (If), attribute 'else_branch', g 'inner', node 'held' (Constant), attribute 'value', t 'w'",
    ),
    "a function": (_function(node=_constant(_outside())), "functions 'Given', node 'held' (Constant)"),
    "a branch within a function": (
        _function(node=_if(_inner(initializer=(_outside(),)))),
        "functions 'Given', node 'choice' (If)",
    ),
    "a default of a function": (
        _function(default=helper.make_attribute("weights", _outside())),
        "functions 'Given', attribute_proto 'weights', t 'w'",
    ),
    "the start of a training": (_training("initialization"), "training_info, initialization 'inner', initializer 'w'"),
    "a step of a training": (_training("algorithm"), "training_info, algorithm 'inner', initializer 'w'"),
    "an address in memory": (
        lambda model: model.graph.initializer.append(_outside(place="*/_ORT_MEM_ADDR_/*")),
        "_ORT_MEM_ADDR_",
    ),
}


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


def _put(bundle: Path, data: bytes, *, name: str = m.FUSION_HEAD) -> None:
    """Exchange a graph, as a maker would who hashes what is in the bundle."""
    (bundle / name).write_bytes(data)
    manifest = m.parse_manifest((bundle / m.MANIFEST_NAME).read_bytes())
    files = {**manifest.files, name: m.sha256_hex(data)}
    (bundle / m.MANIFEST_NAME).write_bytes(m.encode_manifest(msgspec.structs.replace(manifest, files=files)))


def _head(bundle: Path) -> ModelProto:
    return onnx.load_model_from_string((bundle / m.FUSION_HEAD).read_bytes())


@pytest.mark.parametrize("place", _HIDDEN)
def test_external_data_is_refused_wherever_it_hides_and_its_place_is_named(bundle_path: Path, place: str) -> None:
    change, named = _HIDDEN[place]
    model = _head(bundle_path)
    change(model)
    _put(bundle_path, model.SerializeToString())
    with pytest.raises(BundleError) as refusal:
        load_bundle(bundle_path)
    assert str(refusal.value).startswith("fusion_head.onnx: ")
    assert named in str(refusal.value)
    assert "onnx.save(model, path, save_as_external_data=False)" in str(refusal.value)


def test_every_field_that_leads_to_a_tensor_or_a_node_is_known() -> None:
    messages = onnx.ModelProto.DESCRIPTOR.file.message_types_by_name
    leads = {"TensorProto", "NodeProto"}
    while True:  # until no further message is found that holds one of them
        found = {
            name
            for name, message in messages.items()
            if any(field.message_type is not None and field.message_type.name in leads for field in message.fields)
        }
        if found <= leads:
            break
        leads |= found
    assert {"GraphProto", "AttributeProto", "SparseTensorProto", "FunctionProto", "TrainingInfoProto"} <= leads
    for name in leads:
        for field in messages[name].fields:
            if field.message_type is not None and field.message_type.name in leads:
                assert FIELDS[name][field.name][1].rstrip("*") == field.message_type.name
    for name, fields in FIELDS.items():
        for field_name, (number, _) in fields.items():
            assert messages[name].fields_by_name[field_name].number == number, (name, field_name)


def _stolen_head(bundle: Path) -> bytes:
    """The tiny bundle's head with its weights in another file, behind an If."""
    model = _head(bundle)
    (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == "weights")
    shape = tuple(weights.dims)
    inner = _inner(initializer=(_outside(shape=shape),))
    del inner.output[0].type.tensor_type.shape.dim[:]
    for size in shape:
        inner.output[0].type.tensor_type.shape.dim.add(dim_value=size)
    choice = helper.make_node("If", ["yes"], ["weights"], then_branch=inner, else_branch=inner)
    model.graph.initializer.remove(weights)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))  # noqa: FBT003 - a tensor's value
    model.graph.node.insert(0, choice)
    data: bytes = model.SerializeToString()
    return data


def test_without_the_check_the_working_directory_would_say_what_a_signed_graph_answers(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _stolen_head(bundle_path)
    whole = load_bundle(bundle_path)
    monkeypatch.chdir(tmp_path)
    bundle = dataclasses.replace(whole, graphs={**whole.graphs, m.FUSION_HEAD: data})
    features, present = np.ones((2, _SIZE), np.float32), np.ones(2, np.float32)
    answers = []
    for weight in (0.0, 1.0):
        np.full((2 * _SIZE, _LABELS), weight, np.float32).tofile(tmp_path / _WEIGHTS_FILE)
        answers.append(Graphs(bundle, intra_op_threads=1).fuse(features, features, present, present)[0].tolist())
    assert answers == [[-2.0, -2.0], [10.0, 10.0]]
    _put(bundle_path, data)
    with pytest.raises(BundleError, match=r"external data at 'weights\.bin'"):
        load_bundle(bundle_path)


def _message(number: int, content: bytes) -> bytes:
    """Encode a submessage of fewer than 128 bytes."""
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


# A tensor's data_location = 1 in unusual encodings; ONNX's own reader takes each for EXTERNAL.
_ENCODINGS = {
    "as usual": b"\x70\x01",
    "a tag that is longer than need be": b"\xf0\x00\x01",
    "a number that is longer than need be": b"\x70\x81\x80\x00",
    "a number whose upper half is lost": b"\x70\x81\x80\x80\x80\x10",
    "twice, the last counts": b"\x70\x00\x70\x01",
    "behind a group": b"\xa3\x06\x70\x00\xa4\x06\x70\x01",
}


@pytest.mark.parametrize("encoding", _ENCODINGS)
def test_another_encoding_of_the_same_message_is_refused_too(encoding: str) -> None:
    data = _message(7, _message(5, _ENCODINGS[encoding]))
    assert onnx.load_model_from_string(data).graph.initializer[0].data_location == TensorProto.EXTERNAL
    with pytest.raises(BundleError, match="external data"):
        refuse_outside_data(read_model(data, "x"), "x")


def test_parts_of_a_message_that_come_one_by_one_are_seen_as_one() -> None:
    tensor = _message(5, b"\x70\x01") + _message(5, _message(8, b"w"))  # the last does not replace the first
    data = _message(7, _message(1, _message(5, tensor))) + _message(7, _message(2, b"g"))
    held = onnx.load_model_from_string(data).graph.node[0].attribute[0].t
    assert (held.data_location, held.name) == (TensorProto.EXTERNAL, "w")
    with pytest.raises(BundleError, match=r"graph 'g', node \(\), attribute, t 'w'"):
        refuse_outside_data(read_model(data, "x"), "x")


def test_names_of_a_stranger_are_escaped_and_cut() -> None:
    tensor = _outside("\x1b]0;owned\x07" + "n" * 500, place="\x1b[2J")
    model = helper.make_model(helper.make_graph([], "g", [], [], [tensor]))
    with pytest.raises(BundleError) as refusal:
        refuse_outside_data(read_model(model.SerializeToString(), "x"), "x")
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


def test_a_compiled_engine_is_refused_for_it_may_name_a_file() -> None:
    engine = helper.make_node("EPContext", [], [], name="engine", domain="com.microsoft", embed_mode=0)
    model = helper.make_model(helper.make_graph([_if(_inner(engine))], "g", [], []))
    with pytest.raises(BundleError, match=r"node 'engine' \(EPContext\): expected operators of ONNX"):
        refuse_outside_data(read_model(model.SerializeToString(), "x"), "x")


def test_another_format_under_the_name_of_onnx_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "head.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(
        (bundle_path / m.FUSION_HEAD).read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    data = (tmp_path / "head.ort").read_bytes()
    onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])  # it tells the format by the bytes
    _put(bundle_path, data)
    with pytest.raises(
        BundleError, match=r"fusion_head\.onnx: expected an ONNX model, found ONNX Runtime's own format"
    ):
        load_bundle(bundle_path)


def test_bytes_that_are_a_model_in_both_formats_are_refused() -> None:
    data = _message(2, b"xxORTM") + _message(7, b"")
    assert onnx.load_model_from_string(data).producer_name == "xxORTM"
    with pytest.raises(BundleError, match="ONNX Runtime's own format"):
        read_model(data, "x")


def test_the_command_that_checks_refuses_it(bundle_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _put(bundle_path, _stolen_head(bundle_path))
    for command in ("check", "show"):
        with pytest.raises(SystemExit) as ended:
            main(["bundle", command, str(bundle_path)])
        assert ended.value.code == REFUSED
        assert "fusion_head.onnx: graph 'fusion_head', node (If)" in capsys.readouterr().err


def test_a_worker_refuses_it_even_where_unsigned_bundles_may_run(bundle_path: Path) -> None:
    _put(bundle_path, _stolen_head(bundle_path))
    assignments = (f"bundle={bundle_path}", "allow_unsigned=true")
    with pytest.raises(BundleError, match="external data"):
        trusted_bundle(load_settings(environ={}, assignments=assignments).operational)


def test_the_opset_is_read() -> None:
    imports = [helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("", OPSET)]
    model = helper.make_model(helper.make_graph([], "g", [], []), opset_imports=imports)
    assert opset_of(read_model(model.SerializeToString(), "x"), "x") == OPSET


@pytest.mark.parametrize("data", [b"garbage", b"\x80" * 40, b"\x42\xff\xff\xff\xff\x0f", b"\x3a\x02\x0a\x7f"])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=f"x: expected an ONNX model, found {len(data)} bytes that are none"):
        read_model(data, "x")


def test_a_model_without_imports_is_refused() -> None:
    with pytest.raises(BundleError, match="an import of the default operator set"):
        opset_of(read_model(b"", "x"), "x")


def test_nesting_without_end_is_refused() -> None:
    data = b""
    for _ in range(60):  # graph > node > attribute > graph ...
        data = b"".join(bytes([tag, *_varint(len(inner)), *inner]) for tag, inner in ((0x32, data),))
        data = bytes([0x2A, *_varint(len(data)), *data])
        data = bytes([0x0A, *_varint(len(data)), *data])
    with pytest.raises(BundleError, match="expected an ONNX model"):
        read_model(bytes([0x3A, *_varint(len(data)), *data]), "x")


def _varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80, *_varint(value >> 7)]) if value > 0x7F else bytes([value])


def test_a_recurrent_operator_in_float16_is_found_deep_in_a_graph() -> None:
    half = TensorProto(name="w", data_type=TensorProto.FLOAT16)
    exact = TensorProto(name="w", data_type=TensorProto.FLOAT)
    recurrent = helper.make_node("LSTM", [], [])
    cases = [((recurrent, half), True), ((recurrent, exact), False), ((_constant(exact), half), False)]
    for (node, tensor), expected in cases:
        inner = _inner(node, initializer=(tensor,))
        model = helper.make_model(helper.make_graph([_if(inner)], "g", [], []))
        assert is_recurrent_float16(read_model(model.SerializeToString(), "x")) is expected
