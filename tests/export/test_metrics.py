"""Every figure equals scikit-learn's or a count by hand, weighted and not; intervals are right where they are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom
from sklearn import metrics as known

from stream_app.core.score import micro_logit
from tests.export.predicted import draw
from vigil_export.data.rows import Task
from vigil_export.evaluation import metrics
from vigil_export.evaluation.calibrated import fit
from vigil_export.evaluation.calibration import calibrate
from vigil_export.evaluation.evaluate import FACET_VALUES, evaluate
from vigil_export.evaluation.intervals import Interval, Resampling, resample
from vigil_export.evaluation.operating_points import operating_points
from vigil_export.evaluation.predictions import PredictionsError
from vigil_export.evaluation.scores import Scored, score
from vigil_export.evaluation.thresholds import F1

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")


def _scored(task: Task, seed: int = 0, rows: int = 300) -> Scored:
    drawn = draw(task, rows=rows, seed=seed, split="test")
    # Logits of one digit: ties are where such code goes wrong.
    rounded = replace(drawn, logits={key: np.round(values, 1) for key, values in drawn.logits.items()})
    return score(rounded, calibrate(draw(task, rows=200, seed=seed + 100), "none"))


def _sklearn(name: str, scored: Scored, weights: np.ndarray) -> float:
    truth, chances = scored.truth, scored.probabilities
    is_classes = scored.task == "multiclass"
    says = chances.argmax(1) if is_classes else (chances >= 0.5)
    true = truth.argmax(1) if is_classes else truth > 0.5
    labels = range(truth.shape[1])
    if name == "accuracy":
        return float(known.accuracy_score(true, says, sample_weight=weights))
    if name == "balanced accuracy":
        if is_classes:
            return float(known.balanced_accuracy_score(true, says, sample_weight=weights))
        parts = [known.balanced_accuracy_score(true[:, at], says[:, at], sample_weight=weights) for at in labels]
        return float(np.mean(parts))
    if name == "loss":
        if is_classes:
            return float(known.log_loss(true, chances / chances.sum(1, keepdims=True), sample_weight=weights))
        return float(np.mean([known.log_loss(true[:, at], chances[:, at], sample_weight=weights) for at in labels]))
    one = {"AUROC": known.roc_auc_score, "average precision": known.average_precision_score}.get(name)
    one = one or known.brier_score_loss
    return float(np.mean([one(truth[:, at], chances[:, at], sample_weight=weights) for at in labels]))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", [name for name in metrics.FIGURES if name != "ECE"])
def test_a_figure_is_scikit_learns_with_any_weights(task: Task, name: str) -> None:
    scored = _scored(task)
    statistic = metrics.FIGURES[name](scored)
    rng = np.random.default_rng(1)
    for weights in (np.ones(300), rng.integers(0, 4, 300).astype(np.float64)):
        assert statistic(weights) == pytest.approx(_sklearn(name, scored, weights), abs=1e-9)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", metrics.FIGURES)
def test_a_row_that_counts_twice_is_a_row_that_stands_there_twice(task: Task, name: str) -> None:
    scored = _scored(task, seed=2, rows=80)
    count = np.random.default_rng(3).integers(0, 3, 80)
    repeated = scored.take(np.repeat(np.arange(80), count))
    of = metrics.FIGURES[name]
    assert of(scored)(count.astype(np.float64)) == pytest.approx(of(repeated)(np.ones(len(repeated))), abs=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_the_calibration_error_is_the_gap_between_claim_and_truth_bin_by_bin(task: Task) -> None:
    scored = _scored(task)
    chances, truth = scored.probabilities, scored.truth
    if task == "multiclass":
        claims = [(chances[row].max(), truth[row, chances[row].argmax()]) for row in range(len(scored))]
    else:
        claims = list(zip(chances.ravel(), truth.ravel(), strict=True))
    gap = 0.0
    for at in range(metrics.BINS):
        inside = [(p, y) for p, y in claims if at / metrics.BINS <= p < (at + 1) / metrics.BINS]
        gap += abs(sum(p - y for p, y in inside))
    assert metrics.calibration_error(scored)(np.ones(len(scored))) == pytest.approx(gap / len(claims), abs=1e-9)
    bins = metrics.reliability(scored)
    assert sum(found.count for found in bins) == len(claims)
    assert sum(found.count * abs(found.claimed - found.observed) for found in bins) == pytest.approx(gap)


@pytest.mark.parametrize("task", TASKS)
def test_figures_of_a_label_are_scikit_learns(task: Task) -> None:
    scored = _scored(task)
    says, truth = metrics.decided(scored), scored.truth > 0.5
    for at in range(len(scored.labels)):
        found = metrics.of_label(scored, at)
        expected = known.precision_recall_fscore_support(truth[:, at], says[:, at], average="binary")
        assert (found.precision, found.recall, found.f1) == pytest.approx(expected[:3])


def test_a_confusion_of_classes_is_scikit_learns() -> None:
    scored = _scored("multiclass")
    names, cells = metrics.confusion(scored)
    assert names == scored.labels
    truth, says = scored.truth.argmax(1), scored.micro.argmax(1)
    assert cells.tolist() == known.confusion_matrix(truth, says).tolist()


def test_a_confusion_of_labels_has_nothing_as_a_class() -> None:
    scored = _scored("multilabel")
    names, cells = metrics.confusion(scored)
    assert names == ("fight", "fire", metrics.NOTHING)
    expected = np.zeros((3, 3), np.int64)
    for micro, truth in zip(scored.micro.tolist(), scored.truth.tolist(), strict=True):
        wrong = sorted((-score, at) for at, score in enumerate(micro) if score >= 0 and not truth[at])
        for at in [at for at in range(2) if truth[at]] or [2]:
            expected[at, at if at < 2 and micro[at] >= 0 else wrong[0][1] if wrong else 2] += 1
    assert cells.tolist() == expected.tolist()
    assert cells.sum() == len(scored) + int((scored.truth.sum(1) == 2).sum())
    recalls = known.recall_score(scored.truth > 0.5, scored.micro >= 0, average=None)
    np.testing.assert_allclose(np.diag(cells)[:2] / cells[:2].sum(1), recalls)


def test_figures_without_an_answer_are_not_numbers() -> None:
    scored = _scored("binary")
    quiet = scored.take(scored.truth[:, 0] < 0.5)
    ones = np.ones(len(quiet))
    assert math.isnan(metrics.auroc(quiet)(ones))
    assert math.isnan(metrics.average_precision(quiet)(ones))
    assert math.isnan(metrics.of_label(quiet, 0).recall)


def test_an_interval_of_a_mean_is_the_binomial_one() -> None:
    right = np.random.default_rng(0).random(400) < 0.7
    interval = resample(lambda weights: float(weights @ right / weights.sum()), np.arange(400), resamples=4000).interval
    low, high = binom.ppf((0.025, 0.975), 400, right.mean()) / 400
    assert (interval.value, interval.low, interval.high) == pytest.approx((right.mean(), low, high), abs=0.006)


def test_rows_that_are_copies_of_each_other_make_no_interval_narrower() -> None:
    once = np.random.default_rng(0).random(100) < 0.7

    def interval(copies: int) -> tuple[float, float, float]:
        right = np.repeat(once, copies)
        found = resample(lambda w: float(w @ right / w.sum()), np.repeat(np.arange(100), copies)).interval
        return found.value, found.low, found.high

    assert interval(5) == pytest.approx(interval(1))


def test_a_paired_difference_is_far_narrower_than_its_parts() -> None:
    rng = np.random.default_rng(0)
    first = rng.random(500) < 0.6
    second = first.copy()
    second[:10] = ~second[:10]
    groups = np.arange(500)
    one, other = (
        resample(lambda w, right=right: float(w @ right / w.sum()), groups)  # type: ignore[misc]
        for right in (first, second)
    )
    difference = one.above([other]).interval
    assert difference.value == pytest.approx(float(first.mean() - second.mean()))
    assert difference.high - difference.low < 0.03
    assert one.interval.high - one.interval.low > 0.07
    none = one.above([one]).interval
    assert (none.value, none.low, none.high) == (0, 0, 0)


def test_the_better_of_two_is_chosen_in_every_draw() -> None:
    groups = np.arange(300)
    drawn = [np.random.default_rng(seed).random(300) < 0.6 for seed in range(3)]
    one, first, second = (
        resample(lambda w, right=right: float(w @ right / w.sum()), groups)  # type: ignore[misc]
        for right in drawn
    )
    found = one.above([first, second])
    assert found.draws == pytest.approx(one.draws - np.maximum(first.draws, second.draws))
    assert found.interval.high <= min(one.above([first]).interval.high, one.above([second]).interval.high)


def test_one_group_has_no_interval() -> None:
    interval = resample(lambda w: float(w.mean()), np.zeros(50, np.int64)).interval
    assert interval.value == 1.0
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_false_alarms_per_day_are_counted_at_the_threshold_that_reaches_the_recall() -> None:
    drawn = draw("binary", rows=400)
    calibrated = fit(drawn, "platt", F1)
    scored = score(drawn, calibrated.calibration)
    at_open, at_recall = operating_points(
        scored, calibrated.labels, recall=0.9, frames_per_second=0.5, drawn=Resampling(200)
    )
    micro, happens = scored.micro[:, 0], scored.truth[:, 0] > 0.5
    thresholds = sorted(micro[happens].tolist(), reverse=True)
    least = next(t for t in thresholds if (micro[happens] >= t).mean() >= 0.9)
    assert at_recall.recall.value == (micro[happens] >= least).mean()
    assert at_recall.recall.low < at_recall.recall.value < at_recall.recall.high
    assert at_recall.precision.value == pytest.approx(happens[micro >= least].mean())
    assert at_recall.precision.low < at_recall.precision.value < at_recall.precision.high
    assert at_recall.rate.value == pytest.approx((micro[~happens] >= least).mean())
    assert (micro[happens] >= micro_logit(at_recall.threshold)).mean() == at_recall.recall.value
    assert micro_logit(at_recall.threshold + 1e-6) > least
    assert at_recall.per_day is not None
    assert at_recall.per_day.value == pytest.approx(at_recall.rate.value * 86_400 / 2)
    assert at_recall.rate.low <= at_recall.rate.value <= at_recall.rate.high
    assert at_open.threshold == calibrated.labels[0].open_at


def test_a_decision_that_joins_frames_uses_up_as_many_of_a_day() -> None:
    drawn = draw("binary", rows=300, split="test")
    labels = fit(draw("binary", rows=200, seed=1), "none", F1).labels
    days = []
    for frames in (1, 3):
        decisions = np.arange(300) // frames
        truth = drawn.truth[decisions * frames]
        scored = score(replace(drawn, decisions=decisions, truth=truth), calibrate(draw("binary"), "none"))
        line = operating_points(scored, labels, recall=0.9, frames_per_second=0.5, drawn=Resampling(50))[0]
        assert line.per_day is not None
        days.append((line.per_day.value / line.rate.value, line.per_day.high / line.rate.high))
    assert days == [pytest.approx((43_200, 43_200)), pytest.approx((14_400, 14_400))]


def test_no_false_alarm_in_a_sample_is_no_promise_of_none() -> None:
    drawn = draw("binary", rows=400)
    calibrated = fit(drawn, "platt", F1)
    scored = score(drawn, calibrated.calibration)
    sure = replace(scored, micro=np.where(scored.truth > 0.5, 5_000_000, -5_000_000))
    found = operating_points(sure, calibrated.labels, recall=0.9, frames_per_second=None, drawn=Resampling(50))[0]
    assert found.rate.value == 0
    assert found.rate.high == pytest.approx(3 / len(np.unique(scored.groups[scored.truth[:, 0] < 0.5])))
    assert found.rate.high > 3 / found.negatives
    assert found.per_day is None


def test_a_share_at_its_end_claims_no_certainty_and_one_hit_makes_it_no_surer() -> None:
    groups, drawn = np.arange(1000) // 10, Resampling(200)
    for hits in (0, 1, 2, 10):  # in at most two groups
        seen = np.arange(1000) < hits
        share, rest = drawn.share(seen, groups), drawn.share(~seen, groups)
        assert (share.value, share.low) == (hits / 1000, 0.0)
        assert share.high >= 3 / 100
        assert rest.high == 1.0
        assert rest.low <= 1 - 3 / 100
    spread = drawn.share(np.arange(1000) % 100 == 0, groups)  # one in each tenth group: draws tell enough
    assert 0.002 < spread.low < 0.01 < spread.high < 0.02


def test_a_share_of_one_group_has_no_interval_and_one_of_two_is_unknown() -> None:
    assert math.isnan(Resampling(50).share(np.ones(9, np.bool_), np.zeros(9, np.int64)).low)
    assert Resampling(50).share(np.zeros(9, np.bool_), np.arange(9) // 5) == Interval(0.0, 0.0, 1.0)


def test_an_evaluation_has_each_presence_facet_and_the_surest_mistakes() -> None:
    drawn = draw(rows=300, split="test")
    many = np.array([f"yard {row // 6}" for row in range(300)])
    has_image = np.arange(300) % 10 != 0
    drawn = replace(
        drawn, facets={**drawn.facets, "group": many}, has_image=has_image, groups=np.arange(300, dtype=np.int64) // 6
    )
    found = evaluate(drawn, fit(draw(rows=300, seed=1), "platt", F1), resamples=30)
    assert {presence: len(scored) for presence, scored in found.scored.items()} == {
        "both": 300,
        "image": 270,
        "text": 300,
    }
    facets = {facet.name: facet for facet in found.facets}
    assert [line.decisions for line in facets["language"].lines] == [150, 150]
    assert [line.value for line in facets["sides"].lines] == ["both", "text only"]
    assert "image" not in facets["sides"].lines[1].accuracy
    assert (facets["group"].values, len(facets["group"].lines)) == (50, FACET_VALUES)
    scored = found.scored["both"]
    chance = metrics.accuracy(scored.take(scored.facets["language"] == "en"))(np.ones(150))
    english = facets["language"].lines[0].accuracy["both"]
    assert english.value == pytest.approx(chance)
    assert english.low < english.value < english.high
    # A yard is a group: there is nothing to draw.
    assert all(math.isnan(line.accuracy["both"].low) and line.groups == 1 for line in facets["group"].lines)
    rates = [line.accuracy["both"].value for line in facets["group"].lines]
    assert (facets["group"].shown, rates) == ("lowest", sorted(rates))
    wrong = ~metrics.is_right(scored)
    miss = np.abs(scored.probabilities - scored.truth).max(1)
    assert wrong[found.mistakes].all()
    assert miss[found.mistakes[0]] == miss[wrong].max()


def test_a_breakdown_of_values_with_few_decisions_each_shows_those_with_the_most() -> None:
    drawn = draw(rows=60, split="test")
    scenes = np.array([f"scene {min(row // 3, 18):02}" for row in range(60)])
    found = evaluate(replace(drawn, facets={"scene": scenes}), fit(draw(rows=60, seed=1), "platt", F1), resamples=10)
    (facet,) = found.facets
    assert (facet.shown, facet.values, len(facet.lines)) == ("lowest", 19, 1)
    few = replace(drawn, facets={"scene": np.array([f"scene {row // 3:02}" for row in range(60)])})
    (facet,) = evaluate(few, fit(draw(rows=60, seed=1), "platt", F1), resamples=10).facets
    assert (facet.shown, facet.values) == ("most decisions", 20)
    assert [line.value for line in facet.lines] == [f"scene {at:02}" for at in range(FACET_VALUES)]


def test_other_labels_than_those_of_the_calibration_are_refused() -> None:
    with pytest.raises(PredictionsError, match="expected the labels"):
        evaluate(draw("binary", split="test"), fit(draw("multilabel"), "platt", F1))
