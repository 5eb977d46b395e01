"""A model's spec: it can be written and read, it needs no null, and what does not fit is refused."""

from __future__ import annotations

import msgspec
import pytest

pytest.importorskip("torch", reason="the training side needs the extra `export`")
pytest.importorskip("timm")

from vigil_export.models.model import FusionSpec, ImageEncoderSpec, ModelSpec, SpecError, TextEncoderSpec, build_model

FULL = ModelSpec(
    task="multiclass",
    labels=("fight", "normal"),
    image=ImageEncoderSpec(kind="timm", backbone="resnet10t", stage=-2, weights="a.safetensors", trainable="staged"),
    text=TextEncoderSpec(kind="gru", bidirectional=True, vectors="glove.txt"),
    fusion=FusionSpec(kind="decision", rule="weighted"),
)


def test_a_spec_is_the_same_after_it_was_written_and_read() -> None:
    assert msgspec.json.decode(msgspec.json.encode(FULL), type=ModelSpec) == FULL
    assert msgspec.yaml.decode(msgspec.yaml.encode(FULL), type=ModelSpec) == FULL


def test_a_spec_needs_no_null_which_toml_has_not() -> None:
    assert "null" not in msgspec.json.encode(ModelSpec(labels=("fight",))).decode()
    assert msgspec.toml.decode('labels = ["fight"]\n[fusion]\nkind = "gated"\n', type=ModelSpec).fusion.kind == "gated"


@pytest.mark.parametrize(
    "written",
    [
        '{"labels": ["a"], "imag": {}}',
        '{"labels": ["a"], "text": {"kind": "rnn"}}',
        '{"labels": ["a"], "fusion": {"dropout": 1}}',
    ],
)
def test_what_a_spec_does_not_know_is_refused(written: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(written, type=ModelSpec)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (ModelSpec(labels=()), "labels: expected at least 1"),
        (ModelSpec(labels=("a", "a")), "all different"),
        (ModelSpec(task="binary", labels=("a", "b")), "labels: expected one for task binary"),
        (ModelSpec(task="multiclass", labels=("a",)), "at least 2"),
        (ModelSpec(labels=("a",), fusion=FusionSpec(width=0)), "at least 1 for concat, found 0"),
        (ModelSpec(labels=("a",), fusion=FusionSpec(kind="attention", width=30)), "multiple of the 4 heads, found 30"),
    ],
)
def test_parts_that_do_not_fit_are_refused(spec: ModelSpec, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        build_model(spec)
