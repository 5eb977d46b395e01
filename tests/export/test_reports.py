"""`vigil-export evaluate` and `compare`: from the predictions of run folders to figures and pages, without PyTorch."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.export.folders import imagefolder
from tests.export.predicted import draw
from tests.export.test_compare import only
from vigil_export.cli import main
from vigil_export.data.preparing.access import TestSplitError
from vigil_export.data.reading.read import open_dataset
from vigil_export.evaluation.calibrated import fit, load_calibrated
from vigil_export.evaluation.compare import compare
from vigil_export.evaluation.evaluate import evaluate, names_of_rows
from vigil_export.evaluation.predictions import Predictions, load_predictions
from vigil_export.evaluation.report import comparison_page, evaluation_page, read_history, read_samples
from vigil_export.evaluation.report.page import PICTURES
from vigil_export.evaluation.report.pictures import progress
from vigil_export.evaluation.scores import score
from vigil_export.evaluation.thresholds import F1, choose, parse_rule
from vigil_export.training.run import RunFolder

REPOSITORY = Path(__file__).resolve().parents[2]


def _run(folder: Path, predictions: Predictions) -> RunFolder:
    """Write a run folder with predictions of both splits and nothing else."""
    run = RunFolder(folder)
    run.predictions("test").parent.mkdir(parents=True)
    replace(predictions, split="test").save(run.predictions("test"))
    validation = draw(predictions.task, rows=300, seed=90, name=predictions.name)
    validation.save(run.predictions("validation"))
    return run


def _call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


class _Reader(HTMLParser):
    """Collects addresses and counts tags that never close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _read(page: str) -> list[str]:
    reader = _Reader()
    reader.feed(page)
    assert reader.open == []
    assert all(address.startswith("data:") for address in reader.addresses)
    return reader.addresses


def test_a_run_with_predictions_is_evaluated_and_calibrated_on_its_validation_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _run(tmp_path / "run", draw("binary", rows=200, name="concat"))
    status, out, err = _call(capsys, "evaluate", str(run.path), "--fps", "0.5", "--resamples", "100")
    assert status == 0, err
    assert "concat: 200 decisions of test" in out
    assert load_calibrated(run.calibration) == fit(draw("binary", rows=300, seed=90), "platt", F1)
    page = (run.path / "reports" / "test.html").read_text("utf-8")
    assert len([a for a in _read(page) if a.startswith("data:image/svg+xml")]) == 3
    assert "per camera and day" in page
    assert re.search(r'<td>\d+\.\d<span class="range">\[\d+\.\d, \d+\.\d\]</span></td></tr>', page)  # alarms per day
    assert "from only" not in page + err
    status, out, _ = _call(capsys, "evaluate", str(run.path), "--resamples", "100", "--json")
    document = json.loads(out)
    assert document["decisions"] == {"both": 200, "image": 200, "text": 200}
    assert 0.5 < document["figures"]["both"]["AUROC"]["value"] < 1
    assert document["operating_points"][0]["per_day"] is None
    assert 0 < document["operating_points"][0]["precision"]["low"] < 1


def test_intervals_of_few_groups_are_said_to_be_narrow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for groups, notes in (
        (20, []),
        (19, ["The decisions come from only 19 groups: intervals from so few are too narrow"]),
    ):
        run = _run(tmp_path / str(groups), replace(draw("binary", rows=60), groups=np.arange(60) % groups))
        status, out, err = _call(capsys, "evaluate", str(run.path), "--resamples", "100", "--json")
        assert status == 0, err
        found = json.loads(out)["notes"]
        assert [note.removesuffix(".") for note in found] == notes
        page = (run.path / "reports" / "test.html").read_text("utf-8")
        assert ("only 19 groups" in err, "only 19 groups" in page) == (bool(notes), bool(notes))


def test_calibration_and_thresholds_can_be_chosen_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run(tmp_path / "run", draw("multiclass", rows=150))
    run.dataset.write_text('{"negative": ["normal"]}')
    arguments = ["evaluate", str(run.path), "--resamples", "100", "--calibration", "isotonic"]
    status, _, err = _call(capsys, *arguments, "--thresholds", "recall=0.9")
    assert status == 0, err
    found = load_calibrated(run.calibration)
    assert (found.method, found.rule) == ("isotonic", "recall=0.9")
    assert [label.name for label in found.labels if not label.alerts] == ["normal"]
    assert _call(capsys, "evaluate", str(run.path), "--resamples", "100", "--calibration", "platt")[0] == 0
    again = load_calibrated(run.calibration)
    assert (again.method, again.rule) == ("platt", "recall=0.9")
    assert [label.alerts for label in again.labels] == [True, True, False]


def test_a_calibration_that_had_too_few_rows_is_not_called_isotonic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _run(tmp_path / "run", draw("binary", rows=60))
    draw("binary", rows=30).save(run.predictions("validation"))
    words = ("evaluate", str(run.path), "--resamples", "100", "--json")
    status, out, err = _call(capsys, *words, "--calibration", "isotonic")
    assert status == 0, err
    for presence in ("both", "image", "text"):
        assert f"WARNING: isotonic calibration of {presence}: expected at least 20 validation rows" in err
    assert json.loads(out)["calibration"] == "platt (too few rows for isotonic)"
    page = (run.path / "reports" / "test.html").read_text("utf-8")
    assert "Calibration: platt (too few rows for isotonic), on 30 other rows" in page
    assert "WARNING" not in _call(capsys, *words)[2]
    draw("binary", rows=300).save(run.predictions("validation"))
    assert _call(capsys, *words, "--thresholds", "f=2")[0] == 0
    assert load_calibrated(run.calibration).words == "isotonic"


def test_thresholds_can_be_chosen_on_texts_with_all_pictures_of_their_sequence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _run(tmp_path / "run", draw("binary", rows=60))
    rows = load_predictions(run.predictions("validation"))
    decisions = np.arange(300) // 3
    sequences = replace(rows, decisions=decisions, truth=rows.truth[decisions * 3])
    sequences.save(run.predictions("validation-sequences"))
    replace(draw("binary", rows=60), split="test").save(run.predictions("test-sequences"))
    words = ("--resamples", "100", "--thresholds", "recall=0.9")
    found = []
    for more in (("--mode", "sequences", *words), ("--calibration", "temperature"), words):
        status, _, err = _call(capsys, "evaluate", str(run.path), *more)
        assert status == 0, err
        found.append(load_calibrated(run.calibration))
    assert [(one.mode, one.rows, one.decisions) for one in found] == [
        ("sequences", 300, 100),
        ("sequences", 300, 100),
        ("rows", 300, 300),
    ]
    assert found[0].labels == choose(score(sequences, found[0].calibration), parse_rule("recall=0.9"))
    assert found[2].labels == choose(score(rows, found[2].calibration), parse_rule("recall=0.9"))
    assert found[1].labels != found[2].labels
    with pytest.raises(TestSplitError, match="choose thresholds on"):
        fit(rows, "platt", F1, sequences=replace(sequences, split="test"))


def test_a_cross_validation_is_told_apart_from_a_run_without_predictions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _run(tmp_path / "run", draw("binary", rows=60))
    run.folds.write_text("{}")
    status, _, err = _call(capsys, "evaluate", str(run.path), "--mode", "sequences")
    assert status == 1
    assert "a cross-validation has no model" in err


def test_what_is_fitted_does_not_depend_on_the_test_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for name, seed in (("one", 1), ("two", 2)):
        run = _run(tmp_path / name, draw("binary", rows=150, seed=seed))
        assert _call(capsys, "evaluate", str(run.path), "--resamples", "100", "--calibration", "isotonic")[0] == 0
        found.append(run.calibration.read_bytes())
    assert found[0] == found[1]


def test_test_predictions_in_the_place_of_validation_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _run(tmp_path / "run", draw("binary", rows=150))
    run.predictions("validation").write_bytes(run.predictions("test").read_bytes())
    status, _, err = _call(capsys, "evaluate", str(run.path))
    assert status == 1
    assert "expected predictions of validation, found those of test" in err
    assert not run.calibration.exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--split", "train"], 2, "--split: expected test or validation"),
        (["--mode", "all"], 2, "--mode: expected rows or sequences"),
        (["--calibration", "magic"], 2, "--calibration: expected platt"),
        (["--thresholds", "best"], 2, "--thresholds: rule for thresholds: expected f=BETA"),
        (["--data", "nowhere"], 1, "nowhere"),
    ],
)
def test_wrong_usage_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    run = _run(tmp_path / "run", draw("binary", rows=60))
    found, _, err = _call(capsys, "evaluate", str(run.path), "--resamples", "100", *arguments)
    assert found == status
    assert message in " ".join(err.split())


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_a_folder_that_is_no_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    status, _, err = _call(capsys, command, str(tmp_path))
    assert status == 1
    assert "expected the folder of a run" in err


def test_a_broken_file_of_predictions_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run(tmp_path / "run", draw("binary", rows=60))
    run.predictions("test").write_bytes(b"PK half a file")
    status, _, err = _call(capsys, "evaluate", str(run.path))
    assert status == 1
    assert "expected a file of predictions" in err


def test_the_gain_is_the_first_line_of_what_compare_says_and_of_its_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = draw("binary", rows=300, name="concat")
    runs = [
        _run(tmp_path / name, one)
        for name, one in (("a", drawn), ("b", only(drawn, "text", "lstm")), ("c", only(drawn, "image", "resnet")))
    ]
    page = tmp_path / "gain.html"
    paths = [str(run.path) for run in runs]
    status, out, err = _call(capsys, "compare", *paths, "--out", str(page), "--resamples", "100")
    assert status == 0, err
    first = out.splitlines()[0]
    assert re.fullmatch(
        r"concat: fusion gains [+-]\d+\.\d points of accuracy over the better single modality .*", first
    )
    text = page.read_text("utf-8")
    _read(text)
    assert text.index(first) == text.index("concat: fusion gains")
    body = re.sub(r"<[^>]+>", "", text[text.index("<body>") :]).strip()
    assert body.startswith(first)
    status, out, _ = _call(capsys, "compare", *paths, "--json", "--resamples", "100")
    assert json.loads(out)["first_line"] == first
    assert len(json.loads(out)["pairs"]) == 3


def test_names_and_texts_are_shown_as_they_are_and_never_as_html(tmp_path: Path) -> None:
    label, text = "<b>火灾</b>", "smoke & <script>alert(1)</script> 大门口"
    drawn = replace(draw("binary", rows=100, split="test"), labels=(label,), name="<i>run</i>")
    calibrated = fit(replace(draw("binary", rows=100), labels=(label,)), "platt", F1)
    rows = [{"file_name": f"{at}.jpg", "text": text, "label": ("fire", "normal")[at % 2]} for at in range(100)]
    dataset = open_dataset(imagefolder(tmp_path / "data", rows))
    drawn = replace(drawn, ids=tuple(row.id for row in dataset.rows))
    found = evaluate(drawn, calibrated, resamples=20)
    names = [drawn.ids[place] for place in found.mistakes]
    (tmp_path / "data" / "0.jpg").write_bytes(b"no picture")
    samples = read_samples(dataset, [*names, drawn.ids[0], "not there"])
    assert samples[drawn.ids[0]].picture is None
    assert "not there" not in samples
    page = evaluation_page(found, samples)
    pictures = [address for address in _read(page) if address.startswith("data:image/jpeg")]
    assert len(pictures) == len([name for name in names if name != drawn.ids[0]])
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;火灾" in page
    assert "大门口" in page
    _read(comparison_page(compare([(drawn, calibrated)], resamples=20)))


def test_a_run_shows_its_pictures_and_how_it_was_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"file_name": f"{at}.jpg", "text": f"report {at}", "label": ("fight", "normal")[at % 2]} for at in range(60)
    ]
    dataset = open_dataset(imagefolder(tmp_path / "data", rows))
    drawn = replace(draw("binary", rows=60), ids=tuple(row.id for row in dataset.rows))
    run = _run(tmp_path / "run", drawn)
    run.config.write_text(f'[data]\npath = "{tmp_path / "data"}"\ntask = "binary"\nbatch = 3\n')
    run.logs.mkdir()
    (run.logs / "metrics.csv").write_text("epoch,train_loss,validation_AUROC\n0,0.7,0.6\n1,0.5,0.8\n")
    status, _, err = _call(capsys, "evaluate", str(run.path), "--resamples", "100", "--worst", "5")
    assert status == 0, err
    page = (run.path / "reports" / "test.html").read_text("utf-8")
    kinds = [address.partition(";")[0] for address in _read(page)]
    assert kinds.count("data:image/jpeg") == 5
    assert kinds.count("data:image/svg+xml") == 4
    assert read_history(run.logs / "metrics.csv") == {
        "train_loss": ((1.0, 2.0), (0.7, 0.5)),
        "validation_AUROC": ((1.0, 2.0), (0.6, 0.8)),
    }


@pytest.mark.parametrize("epochs", [2, 4, 30])
def test_the_curves_of_a_training_are_over_whole_epochs(epochs: int) -> None:
    line = tuple(float(epoch) for epoch in range(1, epochs + 1)), (0.5,) * epochs
    picture = progress({"val_loss": line, "val_accuracy": line})
    assert picture is not None
    drawn = base64.b64decode(picture.partition(",")[2]).decode()
    ticks = re.findall(r'id="xtick_\d+">.*?<text[^>]*>([^<]+)</text>', drawn, re.DOTALL)
    assert len(ticks) >= 4
    assert [tick for tick in ticks if not tick.isdigit()] == []


def test_mistakes_of_sequences_are_shown_as_their_text_with_the_pictures_that_it_was_judged_by(tmp_path: Path) -> None:
    rows = [
        {"file_name": f"{at}.jpg", "text": f"report {at}", "label": ("fight", "normal")[at % 2]} for at in range(12)
    ]
    dataset = open_dataset(imagefolder(tmp_path / "data", rows))
    dataset = replace(dataset, rows=tuple(replace(row, id=f"row {at}") for at, row in enumerate(dataset.rows)))
    # Two texts, the first with five pictures of other rows, the second with its own and one more; all are wrong.
    ids = (*(f"row 0 row {at}" for at in range(1, 6)), "row 6", "row 6 row 7")
    drawn = replace(
        draw("binary", rows=7, split="test"),
        ids=ids,
        decisions=np.array([0, 0, 0, 0, 0, 6, 6]),
        truth=np.ones((7, 1), np.float32),
        logits={key: np.full((7, 1), -3, np.float32) for key in ("both", "image", "text")},
    )
    found = evaluate(drawn, fit(draw("binary", rows=100), "none", F1), resamples=20)
    names = [name for place in found.mistakes for name in names_of_rows(found, int(place), PICTURES)]
    samples = read_samples(dataset, names)
    assert {name: sample.text for name, sample in samples.items()} == {
        name: "report 0" if name.startswith("row 0") else "report 6" for name in names
    }
    assert samples["row 6"].picture != samples["row 6 row 7"].picture
    page = evaluation_page(found, samples)
    assert len([address for address in _read(page) if address.startswith("data:image/jpeg")]) == PICTURES + 2
    assert "4 of 5 pictures" in page
    assert "picture not available" not in page


def test_a_report_shows_what_the_variants_of_an_exported_run_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _run(tmp_path / "run", draw("binary", rows=60))
    figures = {"size_bytes": 2_000_000, "rows": 40, "accuracy": 0.9, "ece": 0.05, "logit_difference": 0.0}
    figures["balanced_accuracy"] = 0.8
    lines = [
        {**figures, "variant": "fp32", "pairs_per_s": 100.0},
        {**figures, "variant": "int8", "accuracy": 0.875, "balanced_accuracy": 0.7, "ece": 0.08, "pairs_per_s": 250.0},
    ]
    page = run.path / "reports" / "test.html"
    for content, is_shown in ((json.dumps(lines), True), (json.dumps(lines[1:]), False), ("[{", False)):
        (run.path / "variants.json").write_text(content)
        status, _, err = _call(capsys, "evaluate", str(run.path), "--resamples", "100")
        assert status == 0, err
        text = page.read_text("utf-8")
        assert "<th>AUROC</th><th>ECE</th>" in text or not is_shown
        for words in ("0.8750 (-0.0250)", "0.7000 (-0.1000)", "0.0800 (+0.0300)", "250 (x 2.50)"):
            assert (words in text) == is_shown, words


def test_a_report_shows_what_a_variant_loses_in_auroc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run(tmp_path / "run", draw("binary", rows=60))
    figures = {"size_bytes": 2_000_000, "rows": 40, "accuracy": 0.9, "ece": 0.05, "logit_difference": 0.0}
    figures |= {"balanced_accuracy": 0.8, "pairs_per_s": 100.0}
    lines = [
        {**figures, "variant": "fp32", "auroc": 0.7, "auroc_loss": 0.0},
        {**figures, "variant": "int8", "auroc": 0.69, "auroc_loss": 0.2},
    ]
    (run.path / "variants.json").write_text(json.dumps(lines))
    status, _, err = _call(capsys, "evaluate", str(run.path), "--resamples", "100")
    assert status == 0, err
    text = (run.path / "reports" / "test.html").read_text("utf-8")
    assert "<td>0.7000</td>" in text
    assert "<td>0.6900 (-0.2000)</td>" in text


def test_figures_of_validation_rows_are_said_to_be_flattering(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _run(tmp_path / "run", draw("binary", rows=60))
    for split, is_said in (("validation", True), ("test", False)):
        page = tmp_path / f"{split}.html"
        words = ("--split", split, "--resamples", "100", "--out", str(page))
        for command in ("evaluate", "compare"):
            status, _, err = _call(capsys, command, str(run.path), *words)
            assert status == 0, err
            assert ("the figures are optimistic" in page.read_text("utf-8")) == is_said


def test_no_name_is_cut_in_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = draw("binary", rows=60)
    names = ("resnet50_with_lstm_and_concatenation_seed_1", "resnet50_with_lstm_and_concatenation_seed_2")
    paths = [str(_run(tmp_path / name, replace(drawn, name=name)).path) for name in names]
    _, out, _ = _call(capsys, "compare", *paths, "--resamples", "100")
    assert "\u2026" not in out
    _, out, _ = _call(capsys, "evaluate", paths[0], "--resamples", "100", "--fps", "1", "--recall", "0.8")
    assert "\u2026" not in out
    assert "recall 80%" in out


def test_predictions_that_are_missing_are_computed_once_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="the training side needs the extra `export`")
    from tests.export import colours  # noqa: PLC0415 - it needs PyTorch

    run = colours.write_run(tmp_path)
    run.calibration.unlink()
    words = ("evaluate", str(run.path), "--split", "validation", "--mode", "sequences", "--resamples", "100")
    status, _, err = _call(capsys, *words)
    assert status == 0, err
    assert err.count("computing the predictions") == 2
    kept = sorted(path.name for path in run.predictions("validation").parent.iterdir())
    assert kept == ["validation-sequences.npz", "validation.npz"]
    assert load_predictions(run.predictions("validation")).split == "validation"
    run.weights.unlink()
    status, _, err = _call(capsys, *words)
    assert (status, "computing" in err) == (0, False)


def test_equal_figures_make_equal_pages() -> None:
    drawn, calibrated = draw(rows=60, split="test"), fit(draw(rows=60), "platt", F1)
    one, again = (evaluation_page(evaluate(drawn, calibrated, resamples=20)) for _ in range(2))
    assert one == again


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_a_page_can_be_made_of_little(task: str) -> None:
    drawn = draw(task, rows=6, split="test")  # type: ignore[arg-type]
    calibrated = fit(draw(task, rows=6), "isotonic", F1)  # type: ignore[arg-type]
    silent = replace(drawn, truth=np.tile(drawn.truth[:1], (6, 1)), groups=np.zeros(6, np.int64))
    _read(evaluation_page(evaluate(silent, calibrated, resamples=20)))
    _read(comparison_page(compare([(silent, calibrated)], resamples=20)))


def test_neither_command_imports_pytorch_for_a_run_that_has_predictions(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", draw("binary", rows=60))
    code = f"""
import sys
from vigil_export.cli import main
for command in ("evaluate", "compare"):
    try:
        main([command, {str(run.path)!r}, "--resamples", "100"])
    except SystemExit as ended:
        assert not ended.code, ended.code
assert not {{"torch", "transformers", "timm"}} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
