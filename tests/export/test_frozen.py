"""What frozen encoders give is worked out once, kept, and the same to the last bit whatever was asked for before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch")

import timm
import torch
from safetensors.torch import load_file, save_file

from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import Tokenizer
from tests.export.folders import fights, imagefolder
from vigil_export.data import Split
from vigil_export.models.encoders import make_tokenizer
from vigil_export.models.encoders.timm_backbone import TimmEncoder
from vigil_export.models.model import FusionModel, FusionSpec, ImageEncoderSpec, ModelSpec, TextEncoderSpec, build_model
from vigil_export.training.batches import Batches
from vigil_export.training.config import TrainConfig, make_config
from vigil_export.training.fit import fit
from vigil_export.training.frozen import Keep, keep_images, keep_texts
from vigil_export.training.guide import teach_guide
from vigil_export.training.load import load_run
from vigil_export.training.predict import predict, predict_run
from vigil_export.training.run import RunFolder

transformers: Any = pytest.importorskip("transformers")

_TEXTS = ("a man falls", "", "all is quiet now", "a man falls", "有人 falls")
_ROOM = 1 << 30


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "man", "falls", "all", "is", "quiet", "now"]
    (folder / "vocab.txt").write_text("\n".join(words), "utf-8")
    torch.manual_seed(2)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def _split() -> Split:
    count = len(_TEXTS)
    return Split(
        images=np.random.default_rng(3).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8),
        image_of=np.array([2, 0, -1, 2, 1]),
        texts=_TEXTS,
        truth=np.eye(count, 1, dtype=np.float32),
        groups=np.arange(count),
        sequences=np.full(count, -1),
        ids=tuple(map(str, range(count))),
        facets={},
    )


def _model(weights: Path, bert: Path, **changes: Any) -> tuple[FusionModel, bytes, TextSpec]:  # noqa: ANN401
    text = TextEncoderSpec(kind="bert", pretrained=str(bert), trainable="frozen", max_tokens=8, features=0)
    tokenizer, bounds = make_tokenizer(text, ["-"])
    image: dict[str, object] = {
        "kind": "timm",
        "backbone": "test_resnet",
        "weights": str(weights),
        "trainable": "frozen",
        "height": 64,
        "width": 64,
        "features": 5,
    }
    spec = ModelSpec(
        task="binary",
        labels=("fall",),
        image=msgspec.convert({**image, **changes.get("image", {})}, ImageEncoderSpec),
        text=text,
        fusion=FusionSpec(kind=changes.get("fusion", "concat"), width=8),
    )
    torch.manual_seed(4)
    return build_model(spec, tokenizer=tokenizer), tokenizer, bounds


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image": {"stage": -2}},
        {"image": {"pooling": "guided"}},
        {"fusion": "attention"},
    ],
    ids=["own", "stage", "guided", "tokens"],
)
def test_predictions_over_what_is_kept_are_those_over_pictures_and_texts(
    weights: Path, bert: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    model, tokenizer, text = _model(weights, bert, **changes)
    plain = predict(model, _split(), tokenizer, text=text, name="a", split_name="validation")
    kept = predict(model, _split(), tokenizer, text=text, name="a", split_name="validation", keep=Keep(tmp_path, _ROOM))
    for presence, logits in plain.logits.items():
        np.testing.assert_allclose(kept.logits[presence], logits, atol=1e-5)
    assert len(list(tmp_path.glob("*/arrays"))) == 2


def test_what_is_kept_does_not_depend_on_what_was_asked_for_before(weights: Path, bert: Path, tmp_path: Path) -> None:
    model, tokenizer, text = _model(weights, bert)
    split, one, other = _split(), Keep(tmp_path / "one", _ROOM), Keep(tmp_path / "other", _ROOM)
    keep_images(model, split.take(np.array([4])), one)
    first, second = keep_images(model, split, one), keep_images(model, split, other)
    assert first is not None
    assert second is not None
    assert first.place_of.tolist() != second.place_of.tolist()
    np.testing.assert_array_equal(first.take(np.array([0, 1, 2])), second.take(np.array([0, 1, 2])))
    assert first.place_of[3] == -1  # no row has it
    ids = [Tokenizer(tokenizer, text).encode(words) for words in _TEXTS if words]
    keep_texts(model, ids[2:], one, max_tokens=8)
    found, again = (keep_texts(model, ids, where, max_tokens=8) for where in (one, other))
    assert found is not None
    assert again is not None
    np.testing.assert_array_equal(found.take(np.arange(4)), again.take(np.arange(4)))


def test_building_an_encoder_says_nothing(weights: Path, bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _model(weights, bert)
    assert capfd.readouterr() == ("", "")


def test_other_weights_other_maps_and_other_forms_have_stores_of_their_own(
    weights: Path, bert: Path, tmp_path: Path
) -> None:
    turned = tmp_path / "turned.safetensors"
    save_file({name: value + 1 for name, value in load_file(weights).items()}, turned)
    keep, split = Keep(tmp_path / "cache", _ROOM), _split()
    variants: tuple[dict[str, Any], ...] = (
        {},
        {"image": {"weights": str(turned)}},
        {"image": {"stage": -1}},
        {"image": {"stage": -2}},
        {"fusion": "attention"},
    )
    for changes in variants:
        assert keep_images(_model(weights, bert, **changes)[0], split, keep) is not None
    assert len(list(keep.cache.iterdir())) == len(variants)
    assert keep_images(_model(weights, bert, image={"features": 7})[0], split, keep) is not None
    assert len(list(keep.cache.iterdir())) == len(variants)  # what learns has no part in it


def test_an_encoder_that_learns_and_one_that_gives_too_much_run_every_time(
    weights: Path, bert: Path, tmp_path: Path
) -> None:
    learns = _model(weights, bert, image={"trainable": "fine-tuned"})[0]
    staged = _model(weights, bert, image={"trainable": "staged"})[0]
    frozen, tokenizer, text = _model(weights, bert)
    split = _split()
    assert keep_images(learns, split, Keep(tmp_path, _ROOM)) is None
    staged.image.thaw(1)
    assert keep_images(staged, split, Keep(tmp_path, _ROOM)) is None
    assert keep_images(frozen, split, Keep(tmp_path, 100)) is None
    assert list(tmp_path.iterdir()) == []
    batches = Batches(split, Tokenizer(tokenizer, text), text, batch=8)
    batches.keep(frozen, Keep(tmp_path, _ROOM), has_changes=True)
    batch = next(batches.in_order())
    assert (batch.images.dtype, batch.tokens.dtype) == (torch.uint8, torch.float32)


def test_frozen_word_vectors_are_looked_up_every_time(weights: Path, tmp_path: Path) -> None:
    data = imagefolder(tmp_path / "data", [{**row, "split": "train", "scene": row["file_name"]} for row in fights(24)])
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("report 0.1 0.2\nguard 0.3 0.4\n", "utf-8")
    run = RunFolder(tmp_path / "run")
    config = _config(data, weights, text__vectors=str(vectors), text__trainable="frozen", recipe__epochs=1)
    fit(config, run, say=lambda _: None)
    model = load_run(run).model
    vectors_of = [weight for name, weight in model.text.named_parameters() if name.startswith("embed.")]
    assert len(vectors_of) == 1
    assert not vectors_of[0].requires_grad
    assert keep_texts(model, [(1, 2)], Keep(tmp_path / "cache", _ROOM), max_tokens=8) is None


def _config(data: Path, weights: Path, **changes: object) -> TrainConfig:
    table: dict[str, dict[str, object]] = {
        "data": {"path": str(data), "columns": {"group": "scene"}, "negative": ["normal"]},
        "image": {"kind": "timm", "backbone": "test_resnet", "weights": str(weights), "trainable": "frozen"},
        "text": {"kind": "bag", "embedding": 8, "features": 8, "vocabulary": 270},
        "fusion": {"width": 8},
        "recipe": {"epochs": 3, "batch": 8, "threads": 1},
    }
    table["image"] |= {"height": 32, "width": 32, "features": 8}
    return make_config(table, {key.replace("__", "."): value for key, value in changes.items()})


def test_training_runs_a_frozen_backbone_once_for_each_picture_and_learns_the_same(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**row, "scene": f"{number // 2}", "split": "train"} for number, row in enumerate(fights(24))]
    data = imagefolder(tmp_path / "data", rows)
    seen: list[int] = []
    maps = TimmEncoder.maps

    def counted(self: TimmEncoder, image: torch.Tensor) -> list[torch.Tensor]:
        seen.append(len(image))
        return maps(self, image)

    monkeypatch.setattr(TimmEncoder, "maps", counted)
    kept, anew = RunFolder(tmp_path / "kept"), RunFolder(tmp_path / "anew")
    fit(_config(data, weights), kept, say=lambda _: None)
    once = sum(seen)
    predict_run(kept, "validation")
    assert sum(seen) == once + 1  # the one that shows the shape
    fit(_config(data, weights, data__kept_gib=0), anew, say=lambda _: None)
    assert sum(seen) > 3 * once
    one, other = load_file(kept.weights), load_file(anew.weights)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-4, rtol=1e-3)


def test_a_training_by_gradient_begins_with_the_guide_of_a_probe_and_keeps_it(weights: Path, tmp_path: Path) -> None:
    rows = [{**row, "scene": f"{at // 6}", "clip": f"{at // 3}", "split": "train"} for at, row in enumerate(fights(24))]
    config = _config(
        imagefolder(tmp_path / "data", rows),
        weights,
        data__columns={"group": "scene", "sequence": "clip"},
        image__pooling="guided",
        recipe__epochs=1,
    )
    run = RunFolder(tmp_path / "run")
    fit(config, run, say=lambda _: None)
    loaded = load_run(run)
    train = loaded.open("train", purpose="training")
    learned = load_file(run.weights)["image.end.guide.weight"].clone()
    assert learned.abs().sum() > 0
    assert teach_guide(loaded.model, train, Keep(tmp_path / "cache", _ROOM))
    torch.testing.assert_close(loaded.model.state_dict()["image.end.guide.weight"], learned)
    assert json.loads(run.state.read_bytes())["is_guided"]
    alone = replace(train, sequences=np.full(len(train), -1))
    assert not teach_guide(loaded.model, alone, Keep(tmp_path / "cache", _ROOM))
    blind = RunFolder(tmp_path / "blind")
    fit(msgspec.structs.replace(config, fusion=FusionSpec(kind="text_only")), blind, say=lambda _: None)
    assert not load_file(blind.weights)["image.end.guide.weight"].any()
    assert "is_guided" not in json.loads(blind.state.read_bytes())


def test_a_row_without_a_side_has_nothing_kept(weights: Path, bert: Path, tmp_path: Path) -> None:
    model, tokenizer, text = _model(weights, bert)
    split = replace(_split(), image_of=np.full(len(_TEXTS), -1))
    found = predict(model, split, tokenizer, text=text, name="a", split_name="test", keep=Keep(tmp_path, _ROOM))
    assert np.isnan(found.logits["image"]).all()
    assert np.isfinite(found.logits["text"][:, 0]).tolist() == [bool(one) for one in _TEXTS]
