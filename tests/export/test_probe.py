"""Probes: guides find what moves, linear layers learn from frozen features, joining knows that reports can be wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")

from stream_app.bundle.manifest import TextSpec  # noqa: E402
from stream_app.bundle.text import Tokenizer  # noqa: E402
from tests.export.trainings import small_config, write_rows  # noqa: E402
from vigil_export.data import Split, Task  # noqa: E402 - the skips above come first
from vigil_export.data.preparing.tokens import train_tokenizer  # noqa: E402
from vigil_export.evaluation.predictions import load_predictions  # noqa: E402
from vigil_export.models.encoders.pooling import GuidedEnd  # noqa: E402
from vigil_export.models.encoders.spec import SpecError  # noqa: E402
from vigil_export.models.encoders.timm_backbone import TimmEncoder  # noqa: E402
from vigil_export.models.fusions import DecisionHead, FusionSpec  # noqa: E402
from vigil_export.models.model import FusionModel, ImageEncoderSpec, ModelSpec, TextEncoderSpec, build_model  # noqa: E402
from vigil_export.packing.onnx_export import export_graphs  # noqa: E402
from vigil_export.training import probe  # noqa: E402
from vigil_export.training.batches import Batches  # noqa: E402
from vigil_export.training.config import ConfigError, Recipe, TrainConfig, make_config  # noqa: E402
from vigil_export.training.fit import fit  # noqa: E402
from vigil_export.training.frozen import Keep  # noqa: E402
from vigil_export.training.guide import movements, teach_guide  # noqa: E402
from vigil_export.training.predict import across_sequences, predict, predict_run  # noqa: E402
from vigil_export.training.probe import Inner  # noqa: E402
from vigil_export.training.run import RunError, RunFolder  # noqa: E402

_TEXT = TextSpec(max_tokens=8, pad_id=0)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)


def test_a_guide_that_knows_nothing_takes_all_cells_alike_and_one_that_knows_takes_its_cell() -> None:
    end = GuidedEnd([3, 5], [(4, 6), (2, 3)], 0)
    cells = end.gather([torch.randn(2, 3, 4, 6), torch.randn(2, 5, 2, 3)])
    assert cells.shape == (2, 24, 8)
    torch.testing.assert_close(end.attend(cells, torch.zeros(2, 24))[:, :8], cells.mean(1))
    sure = torch.full((2, 24), -100.0)
    sure[:, 13] = 100.0  # row 2, column 1
    found = end.attend(cells, sure)
    torch.testing.assert_close(found[:, :8], cells[:, 13])
    torch.testing.assert_close(found[:, 16:18], torch.tensor([[2.0, 1.0]] * 2))


def _fitted(model: FusionModel, split: Split, tokenizer: Tokenizer, **changes: object) -> tuple[dict[str, Any], Inner]:
    batches = Batches(split, tokenizer, _TEXT, batch=16)
    return probe.fit_probe(model, split, batches, config=_config(**changes), say=lambda _: None)


def _split(count: int, *, sequence: int = 3, size: int = 64) -> Split:
    """Sequences of pictures of one noisy background, with a bright block that wanders where there is a fight."""
    rng = np.random.default_rng(7)
    backgrounds = rng.integers(0, 60, (-(-count // sequence), size, size, 3), dtype=np.uint8)
    images = backgrounds.repeat(sequence, 0)[:count]
    truth = np.zeros((count, 1), np.float32)
    for row in range(count):
        truth[row] = (row // sequence) % 2
        if truth[row, 0]:
            y, x = rng.integers(0, size - 16, 2)
            images[row, y : y + 16, x : x + 16] = 230
    wrong = rng.random(count) < 0.25
    said = np.where(wrong, 1 - truth[:, 0], truth[:, 0])
    return Split(
        images=images,
        image_of=np.arange(count),
        texts=tuple("they fight" if one else "all quiet" for one in said),
        truth=truth,
        groups=np.arange(count) // sequence,
        sequences=np.arange(count) // sequence,
        ids=tuple(map(str, range(count))),
        facets={},
    )


def test_movement_lies_where_something_moved_and_nowhere_without_a_neighbour() -> None:
    split = _split(6)
    images = np.zeros((6, 64, 64, 3), np.uint8)
    images[4, :16, 16:32] = 200  # there only in the middle of the second sequence
    found = movements(replace(split, images=images), (4, 4))
    assert set(found) == set(range(6))
    assert int(found[4].argmax()) == 1
    assert np.ptp(found[0]) == np.ptp(found[3]) == 0
    assert movements(replace(split, sequences=np.full(6, -1)), (4, 4)) == {}
    assert movements(replace(split, sequences=np.arange(6)), (4, 4)) == {}


def test_a_guide_is_the_ridge_regression_from_cells_to_what_moved(tmp_path: Path) -> None:
    split = _split(18)
    model, _ = _model(split)
    assert teach_guide(model, split, Keep(tmp_path, 0))
    encoder = model.image
    assert isinstance(encoder, TimmEncoder)
    assert isinstance(encoder.end, GuidedEnd)
    moved = movements(split, encoder.end.size)
    with torch.no_grad():
        cells = encoder.eval().gather(torch.from_numpy(split.images)).flatten(0, 1).double()
    rows = torch.cat((cells, torch.ones(len(cells), 1)), 1)
    target = torch.from_numpy(np.concatenate([moved[place] for place in range(18)])).double()
    expected = torch.linalg.solve(rows.T @ rows + 1000 * torch.eye(rows.shape[1]), rows.T @ target).float()
    guide = encoder.end.guide
    torch.testing.assert_close(torch.cat((guide.weight[0], guide.bias)), expected, atol=1e-6, rtol=1e-3)


def _model(split: Split, **fusion: object) -> tuple[FusionModel, Tokenizer]:
    data = train_tokenizer(split.texts, spec=_TEXT, vocabulary=270)
    spec = ModelSpec(
        task="binary",
        labels=("fight",),
        image=ImageEncoderSpec(kind="timm", backbone="test_resnet", pooling="guided", height=64, width=64, features=0),
        text=TextEncoderSpec(kind="bag", embedding=16, features=0, max_tokens=8),
        fusion=FusionSpec(kind="decision", width=0, rule="saturating", **fusion),  # type: ignore[arg-type]
    )
    return build_model(spec, tokenizer=data), Tokenizer(data, _TEXT)


def _config(**changes: object) -> TrainConfig:
    table = {"data": {"path": "-"}, "recipe": {"method": "probe", "threads": 1, "inner_folds": 3}}
    return make_config(table, {key.replace("__", "."): value for key, value in changes.items()})


def test_a_probe_learns_folds_itself_into_the_head_and_its_graphs_say_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(probe, "_check_encoders", lambda _: None)  # random features will do
    split = _split(90)
    model, tokenizer = _model(split)
    assert teach_guide(model, split, Keep(tmp_path, 0))
    # Random features are tiny; with large weights logits go into thousands.
    told, inner = _fitted(model, split, tokenizer, recipe__strengths=[0.03])
    judged = probe.judge_inner(model, inner, split)
    assert told["inner_loss"] < 0.55  # the text alone, right in three of four cases, has 0.562
    with torch.no_grad():
        seen = model.encode_images(torch.from_numpy(split.images))
        tokens, length = tokenizer.encode_batch(split.texts)
        read = model.encode_texts(torch.from_numpy(tokens), torch.from_numpy(length))
        ones = torch.ones(90)
        right = (model.head(seen, read, ones, ones) > 0).numpy() == (split.truth > 0.5)
    assert right.mean() > 0.9
    unseen = (judged["both"] > 0) == (split.truth > 0.5)
    assert 0.8 < unseen.mean() <= right.mean()
    assert max(export_graphs(model.eval()).difference.values()) <= 1e-4


def test_equal_orders_give_equal_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_check_encoders", lambda _: None)
    split, heads = _split(30), []
    model, tokenizer = _model(split)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(2):
        model.load_state_dict(start)
        _fitted(model, split, tokenizer)
        heads.append({name: value.clone() for name, value in model.state_dict().items()})
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in start)
    assert not torch.equal(heads[0]["head.classify_image.weight"], start["head.classify_image.weight"])


def test_what_hardly_ever_changes_gets_no_great_weight() -> None:
    features = torch.randn(50, 4) * torch.tensor([1.0, 1.0, 1e-5, 0.0])
    scales = probe._scales(features)
    assert scales[2:].max() < 60 * scales[:2].max()  # by themselves they would be 100,000 times as great
    even = (features[:, :2] * probe._scales(features[:, :2])).var(0, correction=0).sum()
    assert float(even) == pytest.approx(1.0, rel=1e-4)


def test_no_row_is_judged_by_a_layer_that_saw_its_part() -> None:
    # Features that say only which row it is: who has seen a row knows it, who has not knows nothing.
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, (40, 1)).astype(np.float32)
    recipe, everywhere = Recipe(strengths=(1000.0,)), np.ones(40, np.bool_)
    inner, linear, _ = probe._fit_side(torch.eye(40), everywhere, truth, np.arange(40) % 4, recipe, "binary")
    assert ((linear(torch.eye(40)).numpy() > 0) == (truth > 0.5)).all()
    for part in range(4):
        left = inner[part::4]
        assert float(left.max() - left.min()) < 1e-3


def test_a_row_without_a_side_is_no_row_of_that_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_check_encoders", lambda _: None)
    split = _split(36)
    image_of = np.where(np.arange(36) % 5 == 1, -1, split.image_of)
    lacking = replace(split, image_of=image_of, texts=tuple("" if n % 7 == 2 else t for n, t in enumerate(split.texts)))
    model, tokenizer = _model(split)
    _, inner = _fitted(model, lacking, tokenizer)
    judged = probe.judge_inner(model, inner, lacking)
    for presence, has in {
        "both": lacking.has_image | lacking.has_text,
        "image": lacking.has_image,
        "text": lacking.has_text,
    }.items():
        assert np.isfinite(judged[presence][:, 0]).tolist() == has.tolist()  # type: ignore[index]
    alone = ~lacking.has_image & lacking.has_text
    np.testing.assert_array_equal(judged["both"][alone], judged["text"][alone])
    assert all(torch.isfinite(value).all() for value in model.head.state_dict().values())


def test_texts_with_all_their_pictures_are_judged_by_layers_that_saw_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_check_encoders", lambda _: None)
    split = replace(_split(36), sequences=np.arange(36) // 3, groups=np.arange(36) // 6)
    model, tokenizer = _model(split)
    _, inner = _fitted(model, split, tokenizer)
    rows, pairs = probe.judge_inner(model, inner, split), across_sequences(split)
    assert len(pairs.rows) == 3 * 36
    judged = probe.judge_inner(model, inner, pairs.rows, pictures=pairs.pictures, texts=pairs.texts)
    np.testing.assert_array_equal(judged["image"], rows["image"][pairs.pictures])
    np.testing.assert_array_equal(judged["text"], rows["text"][pairs.texts])
    own = pairs.texts == pairs.pictures
    np.testing.assert_array_equal(judged["both"][own], rows["both"])
    assert (judged["both"][~own] != rows["both"][pairs.texts[~own]]).any()
    data = train_tokenizer(split.texts, spec=_TEXT, vocabulary=270)
    final = predict(model, split, data, text=_TEXT, name="p", split_name="validation", mode="sequences")
    assert np.abs(final.logits["image"] - judged["image"]).max() > 1e-3  # the last layer has seen them all


def test_a_probe_is_never_asked_for_validation_rows_that_its_last_layers_learned_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(probe, "_check_encoders", lambda _: None)
    small: dict[str, object] = {"image__kind": "timm", "image__backbone": "test_resnet", "image__pooling": "guided"}
    small |= {"image__features": 0, "image__height": 32, "image__width": 32, "text__features": 0, "text__kind": "bag"}
    rule = {"fusion__kind": "decision", "fusion__rule": "stack", "fusion__width": 0}
    config = small_config(write_rows(tmp_path), recipe__method="probe", recipe__inner_folds=3, **small, **rule)
    run = RunFolder(tmp_path / "run")
    fit(config, run, say=lambda _: None)
    rows, sequences = (load_predictions(run.predictions(name)) for name in ("validation", "validation-sequences"))
    assert len(np.unique(sequences.decisions)) == len(rows) < len(sequences)
    for mode in ("rows", "sequences"):
        with pytest.raises(RunError, match="final layers have learned"):
            predict_run(run, "validation", mode)
    assert len(predict_run(run, "test", "sequences")) > 9


@pytest.mark.parametrize(("task", "labels"), [("binary", 1), ("multilabel", 2), ("multiclass", 3)])
def test_linear_layers_are_fitted_to_any_task_even_where_a_label_never_occurs(task: Task, labels: int) -> None:
    rng = np.random.default_rng(1)
    features = torch.from_numpy(rng.normal(size=(200, labels)).astype(np.float32)) * 5 + 3
    truth: npt.NDArray[np.float32] = np.eye(labels, dtype=np.float32)[features.numpy().argmax(1)]
    if task != "multiclass":
        truth = (features.numpy() > 3).astype(np.float32)
    fit = probe._fit_linears(features, truth, (100.0,), Recipe(), task)[0]
    says = fit(features).numpy()
    right = says.argmax(1) == truth.argmax(1) if task == "multiclass" else ((says > 0) == (truth > 0.5)).all(1)
    assert right.mean() > 0.97
    truth[:, 0] = 0
    if task == "multiclass":
        truth[:, 1] = 1 - truth[:, 2]
    fit = probe._fit_linears(features, truth, (100.0,), Recipe(), task)[0]
    assert torch.isfinite(fit(features)).all()
    assert (fit(features).argmax(1) > 0).all() if task == "multiclass" else (fit(features)[:, 0] < 0).all()


def test_joining_finds_how_much_a_report_can_be_worth() -> None:
    rng = np.random.default_rng(2)
    happens = rng.random(20_000) < 0.5
    says = np.where(rng.random(20_000) < 0.75, happens, ~happens)
    words = torch.from_numpy(np.where(says, 1, -1) * rng.uniform(2, 12, 20_000)).float()[:, None]  # however violent
    image = torch.from_numpy(np.where(happens, 1, -1) + rng.normal(0, 1.4, 20_000)).float()[:, None]
    truth = torch.from_numpy(happens.astype(np.float32))[:, None]
    head = DecisionHead((1,), (1,), 1, FusionSpec(kind="decision", width=0, rule="saturating"))
    linear = DecisionHead((1,), (1,), 1, FusionSpec(kind="decision", width=0, rule="stack"))
    loss = probe._fit_join(head, image, words, truth, Recipe(), "binary")
    assert loss < probe._fit_join(linear, image, words, truth, Recipe(), "binary") - 0.002
    with torch.no_grad():
        worth = head.join(torch.zeros(1, 1), torch.full((1, 1), 8.0)) - head.join(torch.zeros(1, 1), torch.zeros(1, 1))
    assert float(worth) == pytest.approx(np.log(3), abs=0.12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fusion": FusionSpec(kind="concat")}, "expected decision with width 0"),
        ({"fusion": FusionSpec(kind="decision", width=8)}, "width 8"),
        ({}, "image: expected a pretrained encoder"),
    ],
)
def test_what_a_probe_cannot_fit_is_refused(change: dict[str, FusionSpec], message: str) -> None:
    spec = ModelSpec(
        task="binary",
        labels=("a",),
        image=ImageEncoderSpec(kind="plain-cnn", features=0, height=16, width=16),
        text=TextEncoderSpec(kind="bag", features=0),
        fusion=change.get("fusion", FusionSpec(kind="decision", width=0)),
    )
    split = _split(6)
    with pytest.raises(ConfigError, match=message):
        _fitted(build_model(spec), split, _model(split)[1])


def test_guided_pooling_is_refused_where_there_is_no_map_to_guide() -> None:
    for image in (ImageEncoderSpec(pooling="guided"), ImageEncoderSpec(kind="plain-cnn", pooling="guided")):
        with pytest.raises(SpecError, match="pooling"):
            build_model(ModelSpec(task="binary", labels=("a",), image=image))
    image = ImageEncoderSpec(kind="timm", backbone="test_resnet", pooling="guided")
    with pytest.raises(SpecError, match="pooling"):
        build_model(ModelSpec(task="binary", labels=("a",), image=image, fusion=FusionSpec(kind="attention")))
