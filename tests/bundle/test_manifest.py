"""Manifests: what comes back as it was written, and what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_app.bundle import BundleError
from stream_app.bundle.manifest import Manifest, check_manifest, encode_manifest, parse_manifest
from tests.bundle.tiny_bundle import DEFAULT_LABELS, write_tiny_bundle


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path: Path = write_tiny_bundle(tmp_path_factory.mktemp("bundles")) / "manifest.json"
    return path.read_bytes()


def test_parsing_what_was_written_gives_the_same_manifest(data: bytes) -> None:
    manifest = parse_manifest(data)
    assert encode_manifest(manifest) == data
    assert manifest.label_names == ("fight", "fire")


_REFUSED: list[tuple[str, Any, str]] = [
    ("schema", 2, "schema: expected 1, found 2"),
    ("schema", "1", "integer"),
    ("colour", "blue", "unknown field"),
    ("name", "../etc", "name: expected"),
    ("labels", [], "labels: expected at least one"),
    ("task", "binary", "1 label for task binary, found 2"),
    ("task", "regression", "task"),
    ("files", {}, "files: expected"),
    ("opset", "20", "opset"),
    ("self_check", {"tolerance": 1e-4, "cases": []}, "at least one case"),
    ("self_check", {"tolerance": 1e-4, "cases": [{"image_seed": 1, "text": None, "logits": [1.0]}]}, "2 finite logits"),
    (
        "self_check",
        {"tolerance": 1e-4, "cases": [{"image_seed": None, "text": None, "logits": [1.0, 1.0]}]},
        "an image seed or a text",
    ),
    ("self_check", {"tolerance": 1.5, "cases": []}, "tolerance: expected above 0 and at most 1, found 1.5"),
    ("text", {"max_tokens": 9, "pad_id": 2**70}, "text.pad_id"),
    ("image", {"height": 0, "width": 9, "color": "rgb", "resize": "area-stretch"}, "image.height"),
    ("image", {"height": 9, "width": 9, "color": "rgb", "resize": "crop"}, "image.resize"),
]


@pytest.mark.parametrize(("field", "value", "message"), _REFUSED)
def test_a_manifest_outside_the_contract_is_refused(data: bytes, field: str, value: object, message: str) -> None:
    document = json.loads(data)
    document[field] = value
    with pytest.raises(BundleError, match=message):
        parse_manifest(json.dumps(document).encode())


_DEEP = b"[" * 100_000


@pytest.mark.parametrize("broken", [b"", b"[]", b"{", b"{}", b"\xff\xfe", _DEEP, b'{"schema": 1, "training": ' + _DEEP])
def test_what_is_no_manifest_at_all_is_refused(broken: bytes) -> None:
    with pytest.raises(BundleError):
        parse_manifest(broken)


def _refuses(manifest: Manifest, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        check_manifest(manifest)


@pytest.mark.parametrize("name", ["x" * 65, "two\nlines", " fight", "\x1b[31m"])
def test_a_label_that_is_no_plain_name_is_refused(data: bytes, name: str) -> None:
    labels = (msgspec.structs.replace(DEFAULT_LABELS[0], name=name), DEFAULT_LABELS[1])
    _refuses(msgspec.structs.replace(parse_manifest(data), labels=labels), "names of at most 64 printable characters")


@pytest.mark.parametrize("value", [math.nan, math.inf, 2e6])
@pytest.mark.parametrize("what", ["scale", "offset"])
def test_a_calibration_that_could_turn_a_logit_into_no_number_is_refused(data: bytes, what: str, value: float) -> None:
    manifest = parse_manifest(data)
    scaling = msgspec.structs.replace(manifest.calibration.both, **{what: (1.0, value)})
    calibration = msgspec.structs.replace(manifest.calibration, both=scaling)
    _refuses(
        msgspec.structs.replace(manifest, calibration=calibration), f"calibration.both.{what}: expected values within"
    )


def test_thresholds_and_calibration_must_make_sense(data: bytes) -> None:
    manifest = parse_manifest(data)
    replace = msgspec.structs.replace
    upside_down = replace(DEFAULT_LABELS[0], open_at=0.4)
    _refuses(replace(manifest, labels=(upside_down, DEFAULT_LABELS[1])), "close_at <= open_at")
    _refuses(replace(manifest, labels=(DEFAULT_LABELS[0],) * 2), "different names")
    scaling = manifest.calibration.both
    short = replace(manifest.calibration, image=replace(scaling, scale=(1.0,)))
    _refuses(replace(manifest, calibration=short), "calibration.image.scale: expected 2 values")
    reversed_ = replace(manifest.calibration, text=replace(scaling, scale=(1.0, -1.0)))
    _refuses(replace(manifest, calibration=reversed_), "positive")
    endless = replace(manifest.calibration, text=replace(scaling, offset=(1.0, float("inf"))))
    _refuses(replace(manifest, calibration=endless), "values within")


def test_knots_are_optional_and_come_back(data: bytes) -> None:
    assert b"knots" not in data
    manifest = parse_manifest(data)
    assert manifest.calibration.both.knots == ()
    mapped = _with_knots(manifest, (((-2.0, -1.0), (0.0, -1.0), (3.0, 2.5)), ()))
    assert parse_manifest(encode_manifest(mapped)) == mapped


def _with_knots(manifest: Manifest, knots: Any) -> Manifest:  # noqa: ANN401 - wrong ones too
    replace = msgspec.structs.replace
    scaling = replace(manifest.calibration.both, knots=knots)
    return replace(manifest, calibration=replace(manifest.calibration, both=scaling))


@pytest.mark.parametrize(
    ("knots", "message"),
    [
        (((),), "none, or 2 maps, found 1"),
        ((((0.0, 1.0), (1.0, 0.9)), ()), "calibration.both.knots of fight: expected x that rises"),
        (((), ((1.0, 0.0), (1.0, 1.0))), "knots of fire: expected x that rises"),
        ((((1.0, 0.0), (0.0, 1.0)), ()), "x that rises"),
        ((((0.0, float("nan")),), ()), "finite"),
        ((((float("inf"), 0.0),), ()), "finite"),
        ((((0.0, -1e7),), ()), "finite"),
    ],
)
def test_a_map_that_could_turn_an_order_round_or_has_no_value_is_refused(
    data: bytes,
    knots: Any,  # noqa: ANN401 - wrong ones too
    message: str,
) -> None:
    with pytest.raises(BundleError, match=message):
        check_manifest(_with_knots(parse_manifest(data), knots))
