"""`vigil-export export`: a run becomes a bundle with its figures, whole or not at all, and every refusal says why."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
pytest.importorskip("timm")

from stream_app.bundle.load import load_bundle  # noqa: E402
from stream_app.bundle.manifest import MODEL_CARD  # noqa: E402
from stream_app.bundle.signature import check_signature, create_key_pair, read_public_key  # noqa: E402
from tests.export import colours  # noqa: E402
from tests.export.folders import full_disk  # noqa: E402
from vigil_export.cli import main  # noqa: E402 - the skips above come first
from vigil_export.data import Split  # noqa: E402
from vigil_export.evaluation.calibrated import load_calibrated  # noqa: E402
from vigil_export.evaluation.predictions import Predictions  # noqa: E402
from vigil_export.evaluation.scores import score  # noqa: E402
from vigil_export.packing.bundle import Order, make_bundle  # noqa: E402
from vigil_export.packing.source import open_source  # noqa: E402
from vigil_export.training.load import LoadedRun, load_run  # noqa: E402
from vigil_export.training.predict import predict_run  # noqa: E402
from vigil_export.training.run import RunError, RunFolder  # noqa: E402

if TYPE_CHECKING:
    pass


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return colours.write_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(tmp_path: Path, whole: RunFolder) -> RunFolder:
    """A copy to write into, or to break."""
    return RunFolder(Path(shutil.copytree(whole.path, tmp_path / "my colours")))


@pytest.fixture(scope="module")
def loaded(whole: RunFolder) -> LoadedRun:
    return load_run(whole)


def _export(capsys: pytest.CaptureFixture[str], run: RunFolder, *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["export", str(run.path), *map(str, arguments)])
    output = capsys.readouterr()
    return ended.value.code if isinstance(ended.value.code, int) else 0, output.out + output.err


@pytest.fixture(scope="module")
def predictions(whole: RunFolder) -> Predictions:
    """What the run says of rows that it calls its test rows."""
    return replace(predict_run(whole, "validation"), name="colours", split="test")


def _save(predictions: Predictions, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    predictions.save(path)


def test_a_run_becomes_a_signed_bundle_with_the_figures_of_its_test_rows(
    run: RunFolder, predictions: Predictions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _save(predictions, run.predictions("test"))
    for path, data in zip((tmp_path / "a.key", tmp_path / "a.pub"), create_key_pair(), strict=True):
        path.write_bytes(data)
    out = tmp_path / "models" / "colours" / "1"
    words = ("--choose-smallest-within", "1", "--sign", tmp_path / "a.key", "--licence", "CC0-1.0")
    told = ("--facet", "hour", "--data-origin", "Drawn squares.")
    status, output = _export(capsys, run, "--out", out, *words, *told)
    assert status == 0, output
    assert "int8: " in output
    assert "signed, verified" in output
    bundle = load_bundle(out)
    check_signature(bundle, read_public_key(tmp_path / "a.pub"))
    assert bundle.manifest.name == "my-colours"
    assert bundle.manifest.training["best_epoch"] == 3
    assert bundle.manifest.training["data_sha256"] == json.loads(run.dataset.read_bytes())["sha256"]
    found = bundle.manifest.metrics["test"]
    value, low, high = found["figures"]["both"]["accuracy"]
    assert low <= value <= high
    assert set(found["figures"]) == {"both", "image", "text"}
    assert "fusion gains" in found["gain"]
    card = (out / MODEL_CARD).read_text("utf-8")
    for words_of_card in (
        "CC0-1.0",
        "## Data\n\nDrawn squares.\n",
        "- Data: yard",
        "- Method: probe",
        "; the figures above are of fp32",
        "fusion gains",
        f"{value:.3f} [{low:.3f}, {high:.3f}]",
        "| ECE |",
        "Accuracy by hour",
        "| label | judged by | recall | precision | false alarms |",
    ):
        assert words_of_card in card, words_of_card
    _require_table_of_thresholds(card, found["labels"], run, predictions)
    assert str(tmp_path) not in card + json.dumps(bundle.manifest.training)
    assert [line["variant"] for line in json.loads((run.path / "variants.json").read_text())] == [
        "fp32",
        "fp16",
        "int8",
    ]


def _require_table_of_thresholds(card: str, labels: Any, run: RunFolder, predictions: Predictions) -> None:  # noqa: ANN401
    """Count again what reaches each threshold, from probabilities."""
    calibrated = load_calibrated(run.calibration)
    for place, label in enumerate(calibrated.labels):
        for presence, words in (("both", "all that a row has"), ("image", "image alone"), ("text", "text alone")):
            scored = score(predictions, calibrated.calibration, presence)  # type: ignore[arg-type]
            opens, happens = scored.probabilities[:, place] >= label.open_at, scored.truth[:, place] > 0.5
            hits = int((opens & happens).sum())
            at = labels[label.name]["at_open"][presence]
            assert at["recall"][0] == pytest.approx(hits / happens.sum(), abs=1e-4)
            assert at["precision"][0] == (pytest.approx(hits / opens.sum(), abs=1e-4) if opens.any() else None)
            assert at["false_alarms"][0] == pytest.approx((opens & ~happens).sum() / (~happens).sum(), abs=1e-4)
            assert at["without"] == (~happens).sum()
            assert f"| {label.name} | {words} | {at['recall'][0]:.3f}" in card


def test_values_of_columns_go_into_a_bundle_only_if_they_are_asked_for(
    run: RunFolder, predictions: Predictions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guards = np.where(np.arange(len(predictions)) % 2, "A. Guard", "B. Watch").astype(np.str_)
    _save(replace(predictions, facets={**predictions.facets, "seen_by": guards}), run.predictions("test"))
    status, output = _export(capsys, run, "--out", tmp_path / "out")
    assert status == 0, output
    assert "values may name people or places: accuracy by hour, seen_by" in output
    for path in (tmp_path / "out").iterdir():
        assert b"A. Guard" not in path.read_bytes()
    assert "Not listed, since it was not asked for at export: accuracy by hour, seen_by." in (
        tmp_path / "out" / MODEL_CARD
    ).read_text("utf-8")
    status, output = _export(capsys, run, "--out", tmp_path / "other", "--facet", "guard")
    assert status == 1
    assert "--facet guard: expected a column with 2 to 15 values" in output
    assert "there are hour, seen_by" in output
    assert not (tmp_path / "other").exists()


def test_what_was_doubtful_about_a_training_stands_on_the_card(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = json.loads(run.state.read_bytes())
    run.state.write_text(json.dumps(state | {"doubts": ["nothing was learned"], "epochs": 9, "epoch": 4}))
    status, output = _export(capsys, run, "--out", tmp_path / "out")
    assert status == 0, output
    card = (tmp_path / "out" / MODEL_CARD).read_text("utf-8")
    assert "- **nothing was learned.**" in card.partition("## Limits")[2]
    assert "- Maximum epochs: 9\n- Epochs trained: 4\n" in card
    assert "judgements of training and validation rows by layers that had not learned from them" in card


def test_figures_of_validation_rows_are_said_to_be_flattering_and_give_way_to_those_of_test_rows(
    run: RunFolder, loaded: LoadedRun, predictions: Predictions
) -> None:
    assert open_source(run, loaded=loaded).metrics == {}
    _save(predictions, run.predictions("validation"))
    assert list(open_source(run, loaded=loaded).metrics) == ["validation"]
    _save(predictions, run.predictions("test"))
    assert list(open_source(run, loaded=loaded).metrics) == ["test"]


def test_a_full_disk_and_an_interruption_leave_nothing(
    run: RunFolder, loaded: LoadedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "models" / "1"
    with full_disk(50_000):
        status, output = _export(capsys, run, "--out", out)
    assert status == 1
    assert f"{out}: File too large; free space there" in output
    assert [*out.parent.iterdir()] == []
    source = replace(open_source(run, loaded=loaded), open_validation=_interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_bundle(source, out, Order(name="colours", version="1", variant="int8"), say=lambda _: None)
    assert [*out.parent.iterdir()] == []


def _interrupt() -> Split:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--variant", "int8", "--choose-smallest-within", "0.1"), 2, "found both"),
        (("--variant", "int4"), 2, "int4"),
        (("--choose-smallest-within", "2"), 2, "choose-smallest-within"),
        (("--name", "my model"), 2, "--name: expected 1-64 of letters"),
        (("--version", ""), 2, "--version: expected"),
        (("--sign", "/nowhere/a.key"), 4, "expected an unencrypted private Ed25519 key"),
    ],
)
def test_wrong_usage_is_refused_before_any_work(
    run: RunFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    status: int,
    words: str,
) -> None:
    found, output = _export(capsys, run, "--out", tmp_path / "out", *arguments)
    assert found == status
    assert words in output
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_taken_and_a_run_that_is_none_are_refused(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    status, output = _export(capsys, run, "--out", tmp_path / "taken")
    assert (status, "expected nothing there" in output) == (1, True)
    run.folds.write_text("{}")
    status, output = _export(capsys, run, "--out", tmp_path / "out")
    assert (status, "found a cross-validation" in output) == (1, True)
    status, output = _export(capsys, RunFolder(tmp_path / "nowhere"), "--out", tmp_path / "out")
    assert (status, "`vigil-export train` makes one" in output) == (1, True)


def _break(run: RunFolder, what: str) -> None:
    if what == "unfinished":
        run.state.write_text(json.dumps({"finished": False}))
    elif what == "uncalibrated":
        run.calibration.unlink()
    elif what == "no state":
        run.state.unlink()
    elif what == "not JSON":
        run.dataset.write_text("{")
    else:
        data: Any = json.loads(run.calibration.read_text())
        data["labels"][0]["name"] = "blue"
        run.calibration.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("unfinished", "resume its training"),
        ("uncalibrated", r"calibration\.json"),
        ("no state", r"state\.json: expected a file of a finished run"),
        ("not JSON", r"dataset\.json: expected a file of a finished run"),
        ("other labels", "expected the labels red, green of the model, found blue, green"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(run: RunFolder, loaded: LoadedRun, what: str, words: str) -> None:
    _break(run, what)
    with pytest.raises(RunError, match=words):
        open_source(run, loaded=loaded)


def test_no_folder_of_the_machine_goes_into_a_bundle(run: RunFolder, loaded: LoadedRun) -> None:
    spec = loaded.model.spec
    image = msgspec.structs.replace(spec.image, weights=str(run.path / "resnet.safetensors"))
    other, _ = colours.model()
    other.spec = msgspec.structs.replace(spec, image=image)
    training = open_source(run, loaded=replace(loaded, model=other)).training
    assert training["image"]["weights"] == "resnet.safetensors"
    assert training["pretrained"] == ["resnet.safetensors"]
    assert str(run.path) not in json.dumps(training)
    assert np.isfinite(training["parameters"])
