"""What a training says of its own result: that it diverged, or that it knows no more than how often labels are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
pytest.importorskip("pytorch_lightning")

from export.cli import main  # noqa: E402 - the skips above come first
from export.data.rows import Task  # noqa: E402
from export.evaluation.predictions import Predictions  # noqa: E402
from export.training.config import Recipe  # noqa: E402
from export.training.doubts import LARGEST_LOGIT, doubts_of_result  # noqa: E402
from export.training.fit import fit  # noqa: E402
from export.training.module import TrainingError  # noqa: E402
from export.training.run import RunFolder  # noqa: E402
from tests.export.predicted import draw  # noqa: E402
from tests.export.trainings import small_config, write_rows  # noqa: E402

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
        assert "that of an answer that is the same for every row" in said
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
