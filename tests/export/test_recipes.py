"""What a recipe asks for is done: early stopping, arithmetic, schedule, losses; the log says what reports say."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")

from safetensors.torch import load_file  # noqa: E402 - the skips above come first

from tests.export.folders import imagefolder  # noqa: E402
from tests.export.trainings import small_config, write_rows  # noqa: E402
from vigil_export.evaluation.calibrated import fit as fit_calibration  # noqa: E402
from vigil_export.evaluation.metrics import accuracy  # noqa: E402
from vigil_export.evaluation.predictions import load_predictions  # noqa: E402
from vigil_export.evaluation.scores import score  # noqa: E402
from vigil_export.evaluation.thresholds import F1  # noqa: E402
from vigil_export.training.fit import fit  # noqa: E402
from vigil_export.training.run import RunFolder, TrainingError  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder(tmp_path_factory.mktemp("runs") / "one")
    fit(small_config(data), run, say=lambda _: None)
    return run


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        ([{"label": "fight"}, {"label": "normal"}], "binary"),
        ([{"label": "fight"}, {"label": "fire"}, {"label": "flood"}], "multiclass"),
        ([{"labels": ["fight", "fire"]}, {"labels": ["fire"]}, {"labels": []}, {"labels": ["fight"]}], "multilabel"),
    ],
)
def test_the_accuracy_that_training_logs_is_that_of_reports(
    labels: list[dict[str, Any]], task: str, tmp_path: Path
) -> None:
    for split, count in (("train", 12), ("validation", 11)):  # of batches that differ in size
        rows = [
            {
                "file_name": f"{at}.jpg",
                "text": "" if at == 4 else f"report {at}",
                "clip": "one",
                **labels[at % len(labels)],
            }
            for at in range(count)
        ]
        imagefolder(tmp_path / "data" / split, rows)
    run = RunFolder(tmp_path / "run")
    changes: dict[str, object] = {"data__negative": ["normal"]} if task == "binary" else {"data__negative": []}
    fit(small_config(tmp_path / "data", recipe__epochs=1, recipe__batch=4, **changes), run, say=lambda _: None)
    predictions = load_predictions(run.predictions("validation"))
    assert predictions.task == task
    scored = score(predictions, fit_calibration(predictions, "none", F1).calibration)
    with (run.logs / "metrics.csv").open() as file:
        (logged,) = [float(line["val_accuracy"]) for line in csv.DictReader(file) if line["val_accuracy"]]
    assert logged == pytest.approx(accuracy(scored)(np.ones(len(scored))))


def test_training_ends_once_the_validation_loss_falls_no_further(data: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    config = small_config(data, recipe__epochs=30, recipe__patience=2, recipe__rate=1.0, recipe__clip=0.1)
    fit(config, run, say=lambda _: None)
    state = json.loads(run.state.read_bytes())
    assert state["epoch"] == state["best_epoch"] + 2 < 30


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe__precision": "bf16-mixed"},
        {"recipe__schedule": "cosine"},
        {"recipe__loss": "focal"},
        {"recipe__class_weights": True},
    ],
    ids=["bf16", "cosine", "focal", "class weights"],
)
def test_another_arithmetic_schedule_or_loss_trains_to_other_weights(
    data: Path, run: RunFolder, tmp_path: Path, changes: dict[str, object]
) -> None:
    other = RunFolder(tmp_path / "run")
    config = small_config(data, **changes)
    if "bf16" in config.recipe.precision and not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # what an LSTM needs
        with pytest.raises(TrainingError, match="use precision 32"):
            fit(config, other, say=lambda _: None)
        return
    fit(config, other, say=lambda _: None)
    before, after = load_file(run.weights), load_file(other.weights)
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("every", "is_learned"), [(1, True), (2, False)])
def test_a_stage_learns_once_its_epochs_have_passed_and_not_before(
    data: Path,
    tmp_path: Path,
    every: int,
    is_learned: bool,  # noqa: FBT001
) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("somebody 0.1 0.2\nnobody 0.3 0.4\n", "utf-8")
    changes: dict[str, object] = {"text__vectors": str(vectors), "text__embedding": 2, "text__trainable": "staged"}
    changes |= {"recipe__augment_text__pieces": 0, "recipe__augment_text__noise": 0, "recipe__epochs": 2}
    run = RunFolder(tmp_path / "run")
    fit(small_config(data, recipe__thaw_every=every, **changes), run, say=lambda _: None)
    ids = json.loads(run.tokenizer.read_bytes())["model"]["vocab"]
    learned = torch.load(run.checkpoints / "last.ckpt", weights_only=True)["model"]["text.embed.weight"]
    assert torch.equal(learned[ids["nobody"]], torch.tensor([0.3, 0.4])) != is_learned
