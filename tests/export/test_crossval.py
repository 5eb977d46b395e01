"""Cross-validation: every row is judged once, by a model that saw none of its group, and reads like one run."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")

from stream_app.bundle.load import load_bundle  # noqa: E402
from stream_app.bundle.manifest import MODEL_CARD, Calibration, Label, Scaling  # noqa: E402
from stream_app.core.score import micro_logit  # noqa: E402
from tests.export.folders import full_disk, imagefolder  # noqa: E402
from vigil_export.cli import main  # noqa: E402 - the skips above come first
from vigil_export.data import open_dataset  # noqa: E402
from vigil_export.data.rows import Task  # noqa: E402
from vigil_export.evaluation.calibrated import Calibrated, load_calibrated  # noqa: E402
from vigil_export.evaluation.metrics import accuracy  # noqa: E402
from vigil_export.evaluation.pool import pool  # noqa: E402
from vigil_export.evaluation.predictions import Predictions, PredictionsError, load_predictions  # noqa: E402
from vigil_export.evaluation.scores import score  # noqa: E402
from vigil_export.evaluation.thresholds import choose, make_label, parse_rule  # noqa: E402
from vigil_export.training.claim import claim  # noqa: E402
from vigil_export.training.config import ConfigError, TrainConfig, make_config, read_config  # noqa: E402
from vigil_export.training.crossval import crossval  # noqa: E402
from vigil_export.training.fit import fit  # noqa: E402
from vigil_export.training.load import load_run  # noqa: E402
from vigil_export.training.rows import open_rows  # noqa: E402
from vigil_export.training.run import RunError, RunFolder  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _rows() -> list[dict[str, object]]:
    return [
        {
            "file_name": f"{number}.jpg" if number % 7 else None,
            "text": ("two men fight", "nobody there")[number % 2],
            "label": ("fight", "normal")[number % 2],
            "scene": f"s{number // 4}",
            "clip": f"c{number // 8}-{number % 2}",
            "part": "abc"[number // 12 % 3],
        }
        for number in range(48)
    ]


def _config(data: Path, **changes: object) -> TrainConfig:
    table = {
        "data": {"path": str(data), "columns": {"group": "scene", "sequence": "clip"}, "fold_column": "part"},
        "image": {"kind": "plain-cnn", "height": 16, "width": 16, "features": 4},
        "text": {"kind": "bag", "embedding": 4, "features": 4, "max_tokens": 8, "vocabulary": 270},
        "fusion": {"kind": "concat", "width": 4},
        "recipe": {"epochs": 2, "batch": 16, "threads": 1},
    }
    return make_config(table, {key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imagefolder(tmp_path_factory.mktemp("data"), _rows())


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder(tmp_path_factory.mktemp("out") / "whole")
    crossval(_config(data), run, say=lambda _: None)
    return run


def test_every_row_is_tested_once_by_a_model_that_saw_none_of_its_group(data: Path, done: RunFolder) -> None:
    dataset = open_dataset(data, _config(data).data)
    pooled = load_predictions(done.predictions("test"))
    assert sorted(pooled.ids) == sorted(row.id for row in dataset.rows)
    tested: list[str] = []
    for fold in sorted(done.path.glob("fold-*")):
        loaded = load_run(RunFolder(fold))
        rows = open_rows(loaded.config).rows
        assert {dict(row.facets)["part"] for row in rows if row.split == "test"} == {"abc"[loaded.config.data.fold]}
        groups = {name: {row.group for row in rows if row.split == name} for name in ("train", "validation", "test")}
        assert not groups["test"] & (groups["train"] | groups["validation"])
        assert not groups["train"] & groups["validation"]
        tested += (row.id for row in rows if row.split == "test")
        assert load_predictions(RunFolder(fold).predictions("test")).ids == tuple(
            row.id for row in rows if row.split == "test"
        )
    assert sorted(tested) == sorted(pooled.ids)


def test_what_comes_out_scores_as_the_parts_do_and_can_be_evaluated(
    done: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("test", "test-sequences"):
        pooled = score(load_predictions(done.predictions(name)), load_calibrated(done.calibration).calibration)
        parts = [
            score(load_predictions(run.predictions(name)), load_calibrated(run.calibration).calibration)
            for run in map(RunFolder, sorted(done.path.glob("fold-*")))
        ]
        expected = np.concatenate([part.micro for part in parts])
        np.testing.assert_allclose(pooled.micro, expected, atol=2)
    page = done.path / "reports" / "test.html"
    for command in (["evaluate", "--json"], ["compare"]):
        with pytest.raises(SystemExit) as ended:
            main([command[0], str(done.path), *command[1:], "--resamples", "100"])
        assert not ended.value.code
    assert "fusion gains" in capsys.readouterr().out
    assert "Each fold was calibrated by its own run" in page.read_text("utf-8")


def test_thresholds_can_be_chosen_on_all_pictures_of_a_text(
    done: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(done.path, copy.path)
    words = ["--mode", "sequences", "--thresholds", "recall=0.9", "--resamples", "100"]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(copy.path), *words])
    assert not ended.value.code, capsys.readouterr().err
    rows, pairs = (load_predictions(copy.predictions(f"validation{mode}")) for mode in ("", "-sequences"))
    chosen = load_calibrated(copy.calibration)
    assert (chosen.mode, chosen.rows, chosen.decisions) == ("sequences", len(rows), len(rows))
    assert len(pairs) > len(rows)
    scored = score(pairs, chosen.calibration)
    assert chosen.labels == choose(scored, parse_rule("recall=0.9"), silent=["normal"])
    parts = [
        score(load_predictions(run.predictions("validation-sequences")), load_calibrated(run.calibration).calibration)
        for run in map(RunFolder, sorted(done.path.glob("fold-*")))
    ]
    np.testing.assert_allclose(scored.micro, np.concatenate([part.micro for part in parts]), atol=2)


def test_mean_and_spread_are_those_of_the_parts(done: RunFolder) -> None:
    found = json.loads((done.path / "folds.json").read_bytes())
    assert set(found) == {"rows", "sequences"}
    accuracy = found["rows"]["accuracy"]
    assert len(accuracy["values"]) == 3
    assert accuracy["mean"] == pytest.approx(np.mean(accuracy["values"]))
    assert accuracy["deviation"] == pytest.approx(np.std(accuracy["values"], ddof=1))


def test_what_is_doubtful_about_a_part_is_kept_with_its_name(data: Path, tmp_path: Path) -> None:
    out = RunFolder(tmp_path / "out")
    crossval(_config(data, data__fold_column="", data__folds=2, recipe__rate=1000), out, say=lambda _: None)
    doubts = json.loads(out.state.read_bytes())["doubts"]
    assert [doubt.partition(": expected")[0] for doubt in doubts] == ["fold-1", "fold-2"]


def test_what_was_cut_short_goes_on_with_the_parts_that_are_left(data: Path, done: RunFolder, tmp_path: Path) -> None:
    cut = RunFolder(tmp_path / "whole")
    shutil.copytree(done.path, cut.path)
    shutil.rmtree(cut.path / "fold-3")
    shutil.rmtree(cut.path / "predictions")
    (cut.path / "fold-2/predictions/test.npz").unlink()
    (cut.path / "fold-2/predictions/.test.npz").write_bytes(b"half")
    said: list[str] = []
    with pytest.raises(RunError, match="expected no"):
        crossval(_config(data), cut, say=said.append)
    with pytest.raises(ConfigError, match="found another"):
        crossval(_config(data, seed=3), cut, say=said.append, resume=True)
    # Its runs name the folder that the pictures lay in, so the copy stands where the first one stood.
    shutil.rmtree(done.path)
    cut.path.rename(done.path)
    table = data / "metadata.jsonl"
    content = table.read_text("utf-8")
    table.write_text(content.replace("nobody there", "nobody is there", 1), "utf-8")
    with pytest.raises(RunError, match="expected the rows of the training"):
        crossval(read_config(done.config), done, say=said.append, resume=True)
    table.write_text(content, "utf-8")
    said.clear()
    crossval(read_config(done.config), done, say=said.append, resume=True)
    assert sum("already finished" in line for line in said) == 2
    assert len(load_predictions(done.predictions("test"))) == 48


def test_equal_parts_are_made_where_the_data_set_numbers_none(data: Path, tmp_path: Path) -> None:
    config = _config(data, data__fold_column="", data__folds=2, recipe__epochs=1)
    crossval(config, RunFolder(tmp_path / "out"), say=lambda _: None)
    assert sorted(path.name for path in (tmp_path / "out").glob("fold-*")) == ["fold-1", "fold-2"]
    with pytest.raises(ConfigError, match=r"data\.folds"):
        crossval(_config(data, data__fold_column=""), RunFolder(tmp_path / "none"), say=lambda _: None)


def _predictions(task: Task, labels: tuple[str, ...], rng: np.random.Generator) -> Predictions:
    n = 6
    logits = {name: rng.normal(size=(n, len(labels))).astype(np.float32) for name in ("both", "image", "text")}
    has_text = np.arange(n) != 2
    logits["text"][2] = np.nan
    return Predictions(
        name="part",
        task=task,
        labels=labels,
        logits=logits,  # type: ignore[arg-type]
        truth=np.eye(len(labels), dtype=np.float32)[np.arange(n) % len(labels)],
        has_image=np.ones(n, np.bool_),
        has_text=has_text,
        decisions=np.arange(n) // 2,
        groups=np.arange(n),
        ids=tuple(f"row {number}" for number in range(n)),
        facets={"night": np.array(["yes"] * n)},
    )


def test_a_full_disk_at_the_beginning_leaves_nothing_and_later_what_can_be_resumed(data: Path, tmp_path: Path) -> None:
    config, out = _config(data, recipe__epochs=1), RunFolder(tmp_path / "out")
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        crossval(config, out, say=lambda _: None)
    assert list(tmp_path.iterdir()) == []
    with full_disk(100_000), pytest.raises(OSError, match="resume"):  # room for pictures, not for a checkpoint
        crossval(config, out, say=lambda _: None)
    assert not json.loads(out.state.read_bytes())["finished"]
    crossval(config, out, say=lambda _: None, resume=True)
    assert json.loads(out.state.read_bytes())["finished"]


def test_a_part_that_was_killed_before_it_was_written_down_what_it_is_begins_again(data: Path, tmp_path: Path) -> None:
    config, out = _config(data, recipe__epochs=1), RunFolder(tmp_path / "out")
    claim(config, out, resume=False)
    (out.path / "fold-1").mkdir()
    (out.path / "fold-1" / ".config.toml.half").write_bytes(b"[da")
    crossval(config, out, say=lambda _: None, resume=True)
    assert json.loads(out.state.read_bytes())["finished"]


def test_a_calibration_that_cannot_be_put_together_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    kinds = ({**row, "label": row["label"] if number % 3 else "fall"} for number, row in enumerate(_rows()))
    config = _config(imagefolder(tmp_path / "data", kinds), recipe__calibration="isotonic")
    with pytest.raises(ConfigError, match=r"recipe\.calibration: expected platt"):
        crossval(config, RunFolder(tmp_path / "out"), say=lambda _: None)
    assert not (tmp_path / "out").exists()


def _calibrated(labels: tuple[str, ...], scale: float, *, has_knots: bool) -> Calibrated:
    def scaling(more: float) -> Scaling:
        knots = ((((-1.0, -2.0), (1.0, 0.5)),) * len(labels)) if has_knots else ()
        return Scaling(scale=(scale + more,) * len(labels), offset=(more,) * len(labels), knots=knots)

    return Calibrated(
        method="isotonic" if has_knots else "platt",
        rule="f=1",
        rows=6,
        decisions=3,
        calibration=Calibration(both=scaling(0.0), image=scaling(0.3), text=scaling(0.7)),
        labels=tuple(Label(name=name, alerts=True, open_at=0.5, close_at=0.4) for name in labels),
    )


@pytest.mark.parametrize(
    ("task", "labels", "has_knots"),
    [
        ("binary", ("a",), False),
        ("binary", ("a",), True),
        ("multilabel", ("a", "b"), True),
        ("multiclass", ("a", "b", "c"), False),
    ],
)
def test_pooled_logits_need_no_calibration_any_more(task: Task, labels: tuple[str, ...], has_knots: bool) -> None:  # noqa: FBT001
    rng = np.random.default_rng(2)
    parts = [(_predictions(task, labels, rng), _calibrated(labels, scale, has_knots=has_knots)) for scale in (0.5, 2.0)]
    # Decisions of several rows must agree about the truth, which these do not: each row is its own.
    parts = [(_alone(one), its) for one, its in parts]
    pooled = pool(parts, name="all", are_ids_unique=False)
    assert pooled.ids[::6] == ("1/row 0", "2/row 0")
    assert pooled.facets["fold"].tolist() == ["1"] * 6 + ["2"] * 6
    ones = (1.0,) * len(labels)
    plain = Scaling(scale=ones, offset=tuple(0.0 for _ in labels))
    for presence in ("both", "image", "text"):
        found = score(pooled, Calibration(both=plain, image=plain, text=plain), presence)
        expected = [score(one, its.calibration, presence).micro for one, its in parts]
        np.testing.assert_allclose(found.micro, np.concatenate(expected), atol=3)


def _alone(predictions: Predictions) -> Predictions:
    return replace(predictions, decisions=np.arange(len(predictions)))


def test_decisions_of_two_parts_stay_apart() -> None:
    rng = np.random.default_rng(2)
    part = _predictions("binary", ("a",), rng), _calibrated(("a",), 1.0, has_knots=False)
    assert pool([part, part], name="all").decisions.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_maps_behind_a_softmax_cannot_be_pooled() -> None:
    labels = ("a", "b", "c")
    part = _predictions("multiclass", labels, np.random.default_rng(2)), _calibrated(labels, 1.0, has_knots=True)
    with pytest.raises(PredictionsError, match="found isotonic"):
        pool([part], name="all")


@pytest.fixture(scope="module")
def parts(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = RunFolder(tmp_path_factory.mktemp("parts") / "three")
    crossval(_config(data), out, say=lambda _: None)
    return out


def _export(capsys: pytest.CaptureFixture[str], run: RunFolder, *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["export", str(run.path), *map(str, words)])
    return int(ended.value.code or 0), capsys.readouterr().err


def test_the_card_of_a_model_that_learned_from_everything_has_the_figures_of_its_cross_validation(
    data: Path, parts: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "whole")
    otherwise: dict[str, object] = {"data__uses_all_rows": True, "data__validation_share": 0.25, "recipe__threads": 2}
    fit(_config(data, **otherwise), run, say=lambda _: None)
    sizes = json.loads(run.dataset.read_bytes())["sizes"]
    assert (sizes["train"] + sizes["validation"], sizes["test"]) == (48, 0)
    judged = load_predictions(parts.predictions("test"))
    pooled = load_calibrated(parts.calibration)
    scored = score(judged, pooled.calibration)
    own = load_calibrated(run.calibration)
    # So that half of those with the label reach it, whatever the cross-validation's own thresholds are.
    halves = [float(np.median(scored.probabilities[scored.truth[:, at] > 0.5, at])) for at in range(len(own.labels))]
    labels = tuple(
        make_label(label.name, half, alerts=label.alerts) for label, half in zip(own.labels, halves, strict=True)
    )
    msgspec.structs.replace(own, labels=labels).save(run.calibration)
    status, said = _export(capsys, run, "--out", tmp_path / "bundle", "--crossval", parts.path)
    assert status == 0, said
    metrics = load_bundle(tmp_path / "bundle").manifest.metrics
    assert {"crossval", "crossval-sequences"} < metrics.keys()
    assert not {"test", "validation"} & metrics.keys()
    found = metrics["crossval"]
    assert (found["rows"], found["folds"]) == (48, 3)
    assert found["figures"]["both"]["accuracy"][0] == pytest.approx(accuracy(scored)(np.ones(48)), abs=1e-4)
    for place, label in enumerate(labels):  # what opens is judged by the thresholds that the bundle has
        having = scored.micro[scored.truth[:, place] > 0.5, place]
        ours, theirs = ((having >= micro_logit(one.open_at)).mean() for one in (label, pooled.labels[place]))
        if label.alerts:
            assert found["labels"][label.name]["at_open"]["both"]["recall"][0] == pytest.approx(ours, abs=1e-4)
            assert 0.3 < ours < 0.7
            assert abs(ours - theirs) > 0.01
    assert any(label.alerts for label in labels)
    card = (tmp_path / "bundle" / MODEL_CARD).read_text()
    assert "## Figures of a cross-validation\n" in card
    assert "## Figures of a cross-validation, by sequences\n" in card
    assert "learned from its fold" in card
    assert "48 rows, 48 decisions, 12 groups, 3 folds" in card
    assert "optimistic" not in card


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ("configuration", "expected the configuration of .*, found another recipe.rate, seed"),
        ("rows", "expected the rows of .*, found others"),
        ("run", "expected a finished cross-validation, found none"),
    ],
)
def test_a_cross_validation_of_something_else_is_refused(
    other: str, says: str, data: Path, parts: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[str, object] = {"data__uses_all_rows": True}
    if other == "configuration":
        changes |= {"recipe__rate": 0.01, "seed": 9}
    if other == "rows":
        imagefolder(tmp_path / "data", [row for row in _rows() if row["scene"] != "s3"])
        changes["data__path"] = str(tmp_path / "data")
    run = RunFolder(tmp_path / "run")
    fit(_config(data, **changes), run, say=lambda _: None)
    found = run if other == "run" else parts
    status, said = _export(capsys, run, "--out", tmp_path / "bundle", "--crossval", found.path)
    assert status == 1
    assert re.search(says, " ".join(said.split()))
    assert not (tmp_path / "bundle").exists()


def test_a_cross_validation_that_would_learn_from_what_it_is_measured_on_is_refused(data: Path, tmp_path: Path) -> None:
    out = RunFolder(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"data\.uses_all_rows: expected false for a cross-validation"):
        crossval(_config(data, data__uses_all_rows=True), out, say=lambda _: None)
    assert not out.path.exists()


def test_rows_without_a_split_can_be_trained_on_all_together(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", str(data), "--epochs", "1", "--set", "image.height=16", "--set", "image.width=16"]

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main([*command, *words])
        return int(ended.value.code or 0)

    assert run("--out", str(tmp_path / "a")) == 1
    assert "`vigil-export data split` makes splits, `train --all-rows` needs none" in capsys.readouterr().err
    assert run("--out", str(tmp_path / "b"), "--all-rows") == 0
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(tmp_path / "b")])
    assert ended.value.code == 1
    assert "expected rows of the split test, found none" in capsys.readouterr().err
