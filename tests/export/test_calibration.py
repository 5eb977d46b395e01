"""Calibration: helps, keeps the order of rows, is serving's own to the bit, and never sees the test split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from stream_app.bundle.calibration import micro_logits
from stream_app.bundle.manifest import PRESENCES, Calibration, Manifest, check_manifest, parse_manifest
from stream_app.core.outcome import Outcome
from stream_app.core.score import mean
from stream_app.core.types import Scored
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.export.predicted import draw
from vigil_export.data.preparing.access import TestSplitError
from vigil_export.data.rows import Task
from vigil_export.evaluation.calibrated import CalibratedError, fit, load_calibrated, shortages
from vigil_export.evaluation.calibration import METHODS, Method, calibrate, fit_scaling
from vigil_export.evaluation.predictions import Predictions, PredictionsError
from vigil_export.evaluation.scores import score
from vigil_export.evaluation.thresholds import F1

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")
HELPING: tuple[Method, ...] = ("platt", "temperature", "isotonic")


def _losses(predictions: Predictions, calibration: Calibration) -> tuple[float, float]:
    scored = score(predictions, calibration)
    truth, chances = scored.truth.ravel(), scored.probabilities.ravel()
    return float(log_loss(truth, chances)), float(brier_score_loss(truth, chances))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", HELPING)
def test_it_improves_loss_and_brier_on_rows_that_it_has_not_seen(task: Task, method: Method) -> None:
    seen = draw(task, rows=1500, seed=1, stretch=4)
    fresh = draw(task, rows=1500, seed=2, stretch=4, split="test")
    before, after = (_losses(fresh, calibrate(seen, kind)) for kind in ("none", method))
    assert after[0] < before[0] - 0.05
    assert after[1] < before[1]


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_shifted_logit_is_shifted_back(method: Method) -> None:
    seen, fresh = (draw("multilabel", rows=4000, seed=seed, shift=3) for seed in (1, 2))
    scored = score(fresh, calibrate(seen, method))
    assert scored.probabilities.mean(0) == pytest.approx(fresh.truth.mean(0), abs=0.03)


def test_platt_finds_scale_and_offset() -> None:
    rng = np.random.default_rng(5)
    logit = rng.normal(-1, 2, (4000, 2))
    truth = (rng.random((4000, 2)) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    raw = (logit * 3 + 2).astype(np.float32)
    drawn = draw(rows=4000)
    found = calibrate(replace(drawn, truth=truth, logits=dict.fromkeys(PRESENCES, raw)))
    assert np.allclose(found.both.scale, 1 / 3, atol=0.05)
    assert np.allclose(found.both.offset, -2 / 3, atol=0.25)
    assert found.image == found.both


def test_temperature_is_one_scale_for_all_labels() -> None:
    found = calibrate(draw("multiclass", rows=3000, stretch=5), "temperature")
    assert len(set(found.both.scale)) == 1
    assert found.both.scale[0] == pytest.approx(
        calibrate(draw("multiclass", rows=3000), "temperature").both.scale[0] / 5, abs=1e-5
    )
    assert set(found.both.offset) == {0.0}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_no_score_falls_when_its_logit_rises(task: Task, method: Method) -> None:
    drawn = draw(task, rows=600, seed=3, stretch=2)
    calibration = calibrate(drawn, method)
    places = np.linspace(-12, 12, 4001, dtype=np.float32)
    for label in range(len(drawn.labels)):
        logits = np.zeros((len(places), len(drawn.labels)), np.float32)
        logits[:, label] = places
        rows = micro_logits(logits, task=task, calibration=calibration, presence="both")
        assert (np.diff([row[label] for row in rows]) >= 0).all()


@pytest.mark.parametrize("task", TASKS)
def test_an_isotonic_calibration_is_one_that_a_manifest_accepts(task: Task, tmp_path: Path) -> None:
    drawn = draw(task, rows=600)
    found = fit(drawn, "isotonic", F1)
    assert all(len(knots) > 2 for knots in found.calibration.both.knots)
    manifest = parse_manifest((write_tiny_bundle(tmp_path) / "manifest.json").read_bytes())
    check_manifest(_with(manifest, task=task, labels=found.labels, calibration=found.calibration))


def _with(manifest: Manifest, **fields: Any) -> Manifest:  # noqa: ANN401 - fields of any type
    count = len(fields["labels"])
    cases = tuple(msgspec.structs.replace(case, logits=(0.0,) * count) for case in manifest.self_check.cases)
    check = msgspec.structs.replace(manifest.self_check, cases=cases)
    return msgspec.structs.replace(manifest, self_check=check, **fields)


def test_isotonic_keeps_to_platt_where_a_label_is_too_rare() -> None:
    drawn = draw(rows=300)
    truth = drawn.truth.copy()
    truth[:, 1] = 0
    truth[:19, 1] = 1
    found = calibrate(replace(drawn, truth=truth), "isotonic").both
    assert found.knots[0]
    assert found.knots[1] == ()
    assert found.scale == calibrate(replace(drawn, truth=truth)).both.scale


def test_what_is_isotonic_only_in_part_is_said_with_its_rows() -> None:
    drawn = draw(rows=300)
    truth = drawn.truth.copy()
    truth[:, 1] = 0
    truth[:19, 1] = 1
    has_text = np.arange(300) >= 290
    partial = replace(drawn, truth=truth, has_text=has_text)
    found = fit(partial, "isotonic", F1)
    assert found.method == "isotonic"
    assert found.words == "isotonic, platt where rows were too few (both; image: fire; text)"
    both, image, text = shortages(partial, found)
    assert "of image: expected at least 20 validation rows with a label and 20 without it" in image
    assert "found 19 with fire and 281 without: Platt scaling is used there" in image
    fights = int(truth[290:, 0].sum())
    for line in (both, text):
        assert f"found {fights} with fight and {10 - fights} without, 0 with fire and 10 without" in line


def test_of_a_presence_that_no_row_has_isotonic_says_nothing() -> None:
    pictures = replace(draw(rows=600), has_text=np.zeros(600, np.bool_))
    found = fit(pictures, "isotonic", F1)
    assert (found.words, shortages(pictures, found)) == ("isotonic", [])
    few = replace(draw(rows=30), has_text=np.zeros(30, np.bool_))
    found = fit(few, "isotonic", F1)
    assert found.words == "platt (too few rows for isotonic)"
    (said,) = shortages(few, found)
    assert said.startswith("isotonic calibration of image:")


def test_what_is_isotonic_wholly_or_nowhere_is_called_so() -> None:
    many, few = draw("multiclass", rows=600), draw("multiclass", rows=30)
    found = fit(many, "isotonic", F1)
    assert (found.words, shortages(many, found)) == ("isotonic", [])
    assert fit(few, "isotonic", F1).words == "platt (too few rows for isotonic)"
    platt = fit(few, "platt", F1)
    assert (platt.words, shortages(few, platt)) == ("platt", [])


@pytest.mark.parametrize("method", METHODS)
def test_a_label_that_always_or_never_happens_gets_finite_numbers(method: Method) -> None:
    drawn = draw(rows=50)
    truth = np.tile(np.array([1.0, 0.0], np.float32), (50, 1))
    found = calibrate(replace(drawn, truth=truth), method).both
    assert np.isfinite((*found.scale, *found.offset)).all()
    assert min(found.scale) > 0


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_servings_to_the_bit_whatever_rows_stand_beside(task: Task, method: Method) -> None:
    drawn = draw(task, rows=120, seed=4, stretch=3)
    calibration = calibrate(drawn, method)
    for presence in PRESENCES:
        scored = score(drawn, calibration, presence)
        for row in range(0, 120, 7):
            one = drawn.logits[presence][row : row + 1]
            alone = micro_logits(one, task=task, calibration=calibration, presence=presence)
            assert tuple(scored.micro[row].tolist()) == alone[0]


def test_a_row_without_a_side_is_calibrated_as_what_it_is() -> None:
    drawn = draw(rows=90, seed=6, stretch=2)
    has_image, has_text = np.arange(90) % 3 != 1, np.arange(90) % 3 != 2
    partial = replace(drawn, has_image=has_image, has_text=has_text)
    calibration = calibrate(draw(rows=400, seed=7, text=0.2, shift=1))
    scored = score(partial, calibration)
    for row in range(90):
        presence = "both" if has_image[row] and has_text[row] else "image" if has_image[row] else "text"
        one = drawn.logits["both"][row : row + 1]
        expected = micro_logits(one, task="multilabel", calibration=calibration, presence=presence)  # type: ignore[arg-type]
        assert tuple(scored.micro[row].tolist()) == expected[0]
    assert len(score(partial, calibration, "image")) == 60


def test_calibration_learns_from_rows_with_exactly_these_sides() -> None:
    drawn = draw(rows=300, seed=8)
    has_text = np.arange(300) < 200
    spoiled = {key: values.copy() for key, values in drawn.logits.items()}
    spoiled["both"][200:] = 99
    spoiled["text"][200:] = np.nan
    found = calibrate(replace(drawn, has_text=has_text, logits=spoiled))
    assert found.both == calibrate(_first(drawn, 200)).both
    assert found.text == calibrate(_first(drawn, 200)).text
    assert found.image == calibrate(drawn).image


def _first(drawn: Predictions, rows: int) -> Predictions:
    return replace(
        drawn,
        logits={key: values[:rows] for key, values in drawn.logits.items()},
        truth=drawn.truth[:rows],
        has_image=drawn.has_image[:rows],
        has_text=drawn.has_text[:rows],
    )


def test_a_decision_is_the_floored_mean_of_its_rows_as_in_the_core() -> None:
    drawn = draw(rows=60, seed=9)
    decisions = np.random.default_rng(1).permutation(np.arange(60) // 3)
    truth = np.random.default_rng(2).integers(0, 2, (20, 2)).astype(np.float32)[decisions]
    several = replace(drawn, decisions=decisions, truth=truth)
    calibration = calibrate(drawn)
    rows = micro_logits(drawn.logits["both"], task="multilabel", calibration=calibration, presence="both")
    scored = score(several, calibration)
    assert len(scored) == 20
    assert scored.first.tolist() == sorted(scored.first.tolist())
    for place, first in enumerate(scored.first):
        members = np.flatnonzero(decisions == decisions[first])
        assert first == members[0]
        expected = [mean(sum(rows[member][label] for member in members), len(members)) for label in range(2)]
        assert scored.micro[place].tolist() == expected
        assert scored.truth[place].tolist() == truth[first].tolist()


def test_texts_with_several_pictures_score_as_the_outcomes_of_the_live_system() -> None:
    drawn = draw(rows=30, seed=11)
    decisions = np.arange(30) // 3
    # One text without its pictures: all its results are the same, and count as one in the core.
    has_image, logits = decisions != 3, {presence: values.copy() for presence, values in drawn.logits.items()}
    for values in logits.values():
        values[~has_image] = logits["text"][9]
    several = replace(drawn, decisions=decisions, truth=drawn.truth[decisions * 3], has_image=has_image, logits=logits)
    calibration = calibrate(drawn)
    micro = {
        presence: micro_logits(values, task="multilabel", calibration=calibration, presence=presence)
        for presence, values in several.logits.items()
    }
    scored = {presence: score(several, calibration, presence) for presence in PRESENCES}
    for place, first in enumerate(scored["both"].first):
        outcome, is_alone = Outcome(), not several.has_image[first]
        for row in range(first, first + 3):
            both, image, text = (micro[presence][row] for presence in ("both", "image", "text"))
            full = text if is_alone else both
            told = Scored(0, 0, full, None if is_alone else text, None if is_alone else image)
            outcome.add(full, told, is_image_masked=is_alone)
        for label in range(2):
            assert outcome.score(label) == scored["both"].micro[place, label]
            contribution = outcome.contribution(label)
            assert (contribution is None) == is_alone
            if contribution is not None:
                images = scored["image"].ids.index(scored["both"].ids[place])
                assert contribution.without_text == scored["image"].micro[images, label]
                assert contribution.without_image == scored["text"].micro[place, label]


def test_a_decision_with_two_truths_is_refused() -> None:
    drawn = draw(rows=4)
    truth = np.array([[1, 0], [0, 0], [1, 1], [1, 1]], np.float32)
    with pytest.raises(PredictionsError, match=r"one truth per decision, found two at row metadata.jsonl:2"):
        score(replace(drawn, truth=truth, decisions=np.array([0, 0, 1, 1])), calibrate(drawn))


def test_the_order_of_rows_stays_so_that_ranks_do() -> None:
    drawn = draw(rows=500, seed=10, stretch=3)
    plain = score(drawn, calibrate(drawn, "none"))
    for method in ("platt", "temperature"):
        scored = score(drawn, calibrate(drawn, method))
        for label in range(2):
            happens = drawn.truth[:, label] > 0.5
            assert roc_auc_score(happens, scored.micro[:, label]) == pytest.approx(
                roc_auc_score(happens, plain.micro[:, label]), abs=1e-3
            )


def test_the_test_split_is_refused() -> None:
    drawn = draw(split="test")
    with pytest.raises(TestSplitError, match="found the test split"):
        calibrate(drawn)
    with pytest.raises(TestSplitError):
        fit(drawn, "temperature", F1)


def test_what_was_fitted_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    found = fit(draw(rows=300), "isotonic", F1, silent=("fire",))
    found.save(path)
    assert load_calibrated(path) == found
    assert [label.alerts for label in found.labels] == [True, False]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CalibratedError, match=r"calibration\.json: expected calibration and thresholds"):
        load_calibrated(path)
    path.unlink()
    with pytest.raises(CalibratedError, match=r"calibration\.json"):
        load_calibrated(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scale": (1.0,)}, "2 values"),
        ({"scale": (1.0, -1.0)}, "positive"),
        ({"knots": (((0.0, 1.0), (1.0, 0.0)), ())}, "never"),
    ],
)
def test_a_calibration_that_no_bundle_could_have_is_refused(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    change = msgspec.structs.replace
    found = fit(draw(rows=300), "isotonic", F1)
    both = change(found.calibration.both, **fields)
    path = tmp_path / "calibration.json"
    change(found, calibration=change(found.calibration, both=both)).save(path)
    with pytest.raises(CalibratedError, match=message):
        load_calibrated(path)


def test_a_logit_that_is_not_finite_is_refused_with_the_name_of_the_run() -> None:
    drawn = draw(rows=30)
    drawn.logits["text"][3] = np.nan
    with pytest.raises(ValueError, match="run: expected finite logits of rows with text"):
        calibrate(drawn)


def test_an_isotonic_level_without_any_row_of_the_other_kind_is_no_certainty() -> None:
    truth = np.repeat([[0.0], [1.0]], 30, 0)
    found = fit_scaling((2 * truth - 1).astype(np.float32), truth, task="binary", method="isotonic")
    (never, always) = (y for _, y in found.knots[0])
    assert (never, always) == pytest.approx((np.log(0.5 / 30.5), np.log(30.5 / 0.5)), abs=1e-6)
