"""What a training says of its own result: that it diverged, or that it knows no more than how often labels are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")

from tests.export.predicted import draw  # noqa: E402
from tests.export.trainings import small_config, write_rows  # noqa: E402
from vigil_export.cli import main  # noqa: E402 - the skips above come first
from vigil_export.data.rows import Task  # noqa: E402
from vigil_export.evaluation.predictions import Predictions  # noqa: E402
from vigil_export.training.config import Recipe  # noqa: E402
from vigil_export.training.doubts import LARGEST_LOGIT, doubts_of_result  # noqa: E402
from vigil_export.training.fit import fit  # noqa: E402
from vigil_export.training.losses import class_weights, row_losses  # noqa: E402
from vigil_export.training.run import RunFolder, TrainingError  # noqa: E402

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_rows(tmp_path_factory.mktemp("data"))


def _said(predictions: Predictions, recipe: Recipe | None = None) -> list[str]:
    learned = draw(predictions.task, rows=2000, seed=50).truth
    return doubts_of_result(predictions, learned, recipe or Recipe())


def _saying(predictions: Predictions, logits: np.ndarray) -> Predictions:
    whole = np.broadcast_to(logits, predictions.truth.shape).astype(np.float32)
    return replace(predictions, logits=dict.fromkeys(predictions.logits, whole))


@pytest.mark.parametrize("task", TASKS)
def test_a_model_that_is_no_better_than_one_answer_for_all_rows_is_doubted(task: Task) -> None:
    drawn = draw(task, rows=2000)
    assert _said(drawn) == []
    constant = np.eye(drawn.truth.shape[1])[0]
    for worse in (_saying(drawn, constant), replace(drawn, truth=np.roll(drawn.truth, 1, 0))):
        (said,) = _said(worse)
        assert "that of the same answer for every row" in said
        assert "another recipe.rate or more recipe.epochs" in said
    assert "other pretrained encoders" in _said(_saying(drawn, constant), Recipe(method="probe"))[0]


@pytest.mark.parametrize("task", TASKS)
def test_losses_are_compared_as_the_training_weighed_them(task: Task) -> None:
    rng = np.random.default_rng(3)
    drawn, learned = draw(task, rows=4000, seed=1), draw(task, rows=4000, seed=2)
    # The first label is rare, and weights make up for it: unweighted, such a model loses to saying "never".
    kept = [np.flatnonzero((one.truth[:, 0] == 0) | (rng.random(4000) < 0.03)) for one in (drawn, learned)]
    rare = replace(
        drawn,
        logits={name: values[kept[0]] for name, values in drawn.logits.items()},
        **{name: getattr(drawn, name)[kept[0]] for name in ("truth", "has_image", "has_text", "decisions", "groups")},
        ids=tuple(drawn.ids[row] for row in kept[0]),
    )
    weighed = doubts_of_result(rare, learned.truth[kept[1]], Recipe(class_weights=True))
    plain = doubts_of_result(rare, learned.truth[kept[1]], Recipe())
    assert (weighed, len(plain)) == ([], 1)


def _rare(task: Task, seed: int) -> Predictions:
    """Rows of which every label but the last of `multiclass` happens in a tenth."""
    rng = np.random.default_rng(seed)
    count = {"binary": 1, "multiclass": 3, "multilabel": 2}[task]
    truth = (rng.random((2000, count)) < 0.1).astype(np.float32)
    if task == "multiclass":
        truth = np.eye(3, dtype=np.float32)[rng.choice(3, 2000, p=(0.1, 0.1, 0.8))]
    return replace(draw(task, rows=2000, seed=seed), truth=truth)


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_a_focal_loss_is_compared_with_the_constant_of_the_least_focal_loss(task: Task, weighed: bool) -> None:  # noqa: FBT001
    recipe = Recipe(loss="focal", class_weights=weighed)
    drawn, learned = _rare(task, 1), _rare(task, 2).truth
    untrained = np.zeros(drawn.truth.shape[1])
    for constant in (untrained, untrained + 0.5, untrained - 1.0):
        constant[0] += 0.3
        (said,) = doubts_of_result(_saying(drawn, constant), learned, recipe)
        assert said.startswith("expected a focal validation loss below 0.")
    # What knows a little: a step from the best constant towards what is true.
    best = _best_constant(learned, task, recipe)
    (said,) = doubts_of_result(_saying(drawn, best + 0.1 * (np.arange(len(best)) == 0)), learned, recipe)
    logits = (best + 0.2 * (drawn.truth - drawn.truth.mean(0))).astype(np.float32)
    assert doubts_of_result(replace(drawn, logits=dict.fromkeys(drawn.logits, logits)), learned, recipe) == []


def _best_constant(truth: np.ndarray, task: Task, recipe: Recipe) -> np.ndarray:
    """Search it without any gradient."""
    weights = class_weights(truth, task).double() if recipe.class_weights else None
    rows = torch.from_numpy(truth).double()

    def loss(logits: np.ndarray) -> float:
        same = torch.from_numpy(logits).expand(len(rows), -1)
        return float(row_losses(same, rows, task=task, weights=weights, gamma=recipe.focal_gamma).mean())

    found: np.ndarray = minimize(loss, np.zeros(truth.shape[1]), method="Nelder-Mead", options={"xatol": 1e-6}).x
    return found


def test_logits_that_no_probability_needs_are_doubted_of_any_side() -> None:
    drawn = draw(rows=200)
    drawn.logits["text"][3, 1] = -LARGEST_LOGIT - 1
    (said,) = _said(drawn)
    assert "found 501, and a validation loss of" in said
    assert "try a lower recipe.rate" in said
    drawn.logits["text"][3, 1] = np.inf
    with pytest.raises(TrainingError, match="expected finite logits of validation rows"):
        _said(drawn)
    without = replace(drawn, has_text=np.arange(200) != 3)
    assert _said(without) == []


def test_a_training_that_diverges_without_reaching_infinity_says_so_and_the_page_of_the_run_too(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    run, sound = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "sound")
    fit(small_config(data, recipe__rate=100), run, say=said.append)
    (doubt,) = json.loads(run.state.read_bytes())["doubts"]
    assert "the model diverged" in doubt
    assert f"WARNING: {doubt}" in said
    fit(small_config(data), sound, say=said.append)
    assert "doubts" not in json.loads(sound.state.read_bytes())
    for one, is_said in ((run, True), (sound, False)):
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", str(one.path), "--resamples", "100"])
        assert not ended.value.code
        assert ("the model diverged" in (one.path / "reports" / "test.html").read_text("utf-8")) == is_said
    capsys.readouterr()


def test_a_training_whose_last_step_leads_to_infinity_ends_with_advice(data: Path, tmp_path: Path) -> None:
    config = small_config(data, recipe__rate=1e30, recipe__epochs=1, recipe__batch=64)
    with pytest.raises(TrainingError, match="expected finite logits of validation rows, found NaN or infinity: try a"):
        fit(config, RunFolder(tmp_path / "run"), say=lambda _: None)
