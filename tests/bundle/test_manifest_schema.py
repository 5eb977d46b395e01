"""The published schema of manifests: made from the types, true of real bundles, and no looser than it can be."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stream_app.bundle import BundleError
from stream_app.bundle import manifest as m
from stream_app.bundle.demo import demo_bundle_path
from stream_app.bundle.schema import schema_text
from stream_app.cli import main
from tests.bundle.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="module")
def published() -> str:
    return resources.files("stream_app").joinpath("schemas", "manifest.schema.json").read_text("utf-8")


@pytest.fixture(scope="module")
def validator(published: str) -> Draft202012Validator:
    schema = json.loads(published)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_published_schema_is_that_of_the_types(published: str, capsys: pytest.CaptureFixture[str]) -> None:
    hint = "vigil bundle schema > stream_app/schemas/manifest.schema.json"
    assert published == schema_text(), hint
    with pytest.raises(SystemExit):
        main(["bundle", "schema"])
    assert capsys.readouterr().out == published


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "shipped"])
def test_it_accepts_bundles_that_serving_accepts(validator: Draft202012Validator, tmp_path: Path, task: Any) -> None:  # noqa: ANN401
    labels = [m.Label(name=name, alerts=True, open_at=0.8, close_at=0.5) for name in ("a", "b", "c")]
    labels = labels[:1] if task == "binary" else labels
    path = demo_bundle_path() if task == "shipped" else write_tiny_bundle(tmp_path, task=task, labels=labels)
    validator.validate(json.loads((path / m.MANIFEST_NAME).read_bytes()))


def _set(*path: str | int, to: object) -> Callable[[Any], None]:
    def change(manifest: Any) -> None:  # noqa: ANN401 - JSON
        for step in path[:-1]:
            manifest = manifest[step]
        manifest[path[-1]] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("schema", to=2),
        _set("name", to="with space"),
        _set("version", to=""),
        _set("task", to="regression"),
        _set("task", to="binary"),
        _set("labels", to=[]),
        _set("labels", 0, "open_at", to=1.0),
        _set("labels", 0, "close_at", to=0),
        _set("labels", 0, "name", to="x" * 65),
        _set("labels", 0, "colour", to="red"),
        _set("calibration", "image", "scale", 0, to=0),
        _set("calibration", "text", "offset", 1, to=1e7),
        _set("image", "height", to=0),
        _set("image", "resize", to="crop"),
        _set("text", "max_tokens", to=5000),
        _set("features", "image", 0, to=0),
        _set("files", to={}),
        _set("files", "weights.bin", to="0" * 64),
        _set("files", "tokenizer.json", to="0" * 63),
        _set("self_check", "cases", to=[]),
        _set("self_check", "tolerance", to=2.0),
        _set("new_field", to=1),
        lambda manifest: manifest.pop("opset"),
    ],
)
def test_it_refuses_what_serving_refuses(
    validator: Draft202012Validator, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    manifest = json.loads((write_tiny_bundle(tmp_path) / m.MANIFEST_NAME).read_bytes())
    change(manifest)
    with pytest.raises(BundleError):
        m.parse_manifest(json.dumps(manifest).encode())
    assert not validator.is_valid(manifest)
