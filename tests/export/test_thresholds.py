"""Thresholds: each rule does what it says, counted by brute force with serving's own comparison."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from stream_app.core.score import micro_logit
from tests.export.predicted import draw
from vigil_export.evaluation.calibration import calibrate
from vigil_export.evaluation.scores import Scored, score
from vigil_export.evaluation.thresholds import Rule, RuleError, choose, parse_rule

THOUSANDTHS = [step / 1000 for step in range(1, 1000)]


def _scored(seed: int = 0) -> Scored:
    drawn = draw(rows=300, seed=seed)
    return score(drawn, calibrate(drawn))


def _counts(scored: Scored, label: int, open_at: float) -> tuple[int, int]:
    least = micro_logit(open_at)
    opened = scored.truth[scored.micro[:, label] >= least, label].tolist()
    return opened.count(1.0), opened.count(0.0)


@pytest.mark.parametrize("seed", range(3))
def test_recall_is_reached_by_the_highest_threshold_that_does(seed: int) -> None:
    scored = _scored(seed)
    for place, label in enumerate(choose(scored, Rule("recall", 0.9))):
        positives = int(scored.truth[:, place].sum())
        reaching = [at for at in THOUSANDTHS if _counts(scored, place, at)[0] >= 0.9 * positives]
        assert label.open_at == max(reaching)


@pytest.mark.parametrize("seed", range(3))
def test_false_alarms_are_bounded_by_the_lowest_threshold_that_does(seed: int) -> None:
    scored = _scored(seed)
    for place, label in enumerate(choose(scored, Rule("false-alarms", 0.05))):
        negatives = int((scored.truth[:, place] < 0.5).sum())
        quiet = [at for at in THOUSANDTHS if _counts(scored, place, at)[1] <= 0.05 * negatives]
        assert label.open_at == min(quiet)


@pytest.mark.parametrize("cost", [0.2, 1.0, 10.0])
def test_no_threshold_costs_less(cost: float) -> None:
    scored = _scored()

    def paid(place: int, at: float) -> float:
        hits, false_alarms = _counts(scored, place, at)
        return cost * (int(scored.truth[:, place].sum()) - hits) + false_alarms

    for place, label in enumerate(choose(scored, Rule("cost", cost))):
        assert paid(place, label.open_at) == pytest.approx(min(paid(place, at) for at in THOUSANDTHS))


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_no_threshold_has_a_better_f(beta: float) -> None:
    scored = _scored()

    def f_score(place: int, at: float) -> float:
        hits, false_alarms = _counts(scored, place, at)
        positives = int(scored.truth[:, place].sum())
        return (1 + beta**2) * hits / max(1, beta**2 * positives + hits + false_alarms)

    for place, label in enumerate(choose(scored, Rule("f", beta))):
        assert f_score(place, label.open_at) == pytest.approx(max(f_score(place, at) for at in THOUSANDTHS))


def test_a_threshold_stands_in_the_middle_of_what_it_parts() -> None:
    (label,) = choose(_one_label([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]), Rule("f", 1))
    assert label.open_at == pytest.approx(0.5, abs=0.01)
    assert label.close_at == pytest.approx(0.3, abs=0.01)


def _one_label(chances: list[float], truth: list[int]) -> Scored:
    count = len(chances)
    zeros: npt.NDArray[np.int64] = np.zeros(count, np.int64)
    return Scored(
        task="binary",
        labels=("fight",),
        presence="both",
        micro=np.array([[micro_logit(chance)] for chance in chances], np.int64),
        truth=np.array(truth, np.float32)[:, None],
        groups=zeros,
        ids=tuple(map(str, range(count))),
        first=np.arange(count),
        rows=zeros + 1,
        facets={},
    )


@pytest.mark.parametrize("rule", ["f=1", "recall=1", "false-alarms=0.0001", "cost=1e6"])
@pytest.mark.parametrize("scored", [_one_label([0.99999] * 4, [0, 1, 0, 1]), _one_label([0.00001] * 4, [0, 1, 0, 1])])
def test_thresholds_stay_what_a_manifest_allows_at_the_ends(rule: str, scored: Scored) -> None:
    (label,) = choose(scored, parse_rule(rule))
    assert 0 < label.close_at <= label.open_at < 1


def test_a_label_without_a_choice_opens_at_one_half_and_a_silent_one_never_alerts() -> None:
    (label,) = choose(_one_label([0.1, 0.9], [0, 0]), Rule("recall", 0.9), silent=("fight",))
    assert (label.open_at, label.alerts) == (0.5, False)


def test_a_threshold_is_reached_by_a_score_that_equals_it() -> None:
    (label,) = choose(_one_label([0.2, 0.4, 0.4, 0.7], [0, 0, 1, 1]), Rule("recall", 1))
    assert label.open_at == 0.4
    (label,) = choose(_one_label([0.2, 0.4, 0.6, 0.7], [0, 0, 1, 1]), Rule("false-alarms", 0.4))
    assert label.open_at == 0.401


@pytest.mark.parametrize("words", ["f=1", "recall=0.95", "false-alarms=0.01", "cost=10"])
def test_a_rule_is_read_as_it_is_written(words: str) -> None:
    assert str(parse_rule(words)) == words
    assert parse_rule(words).words


@pytest.mark.parametrize(
    "words", ["", "f", "f=", "f=0", "recall=1.5", "recall=nan", "cost=-1", "beauty=1", "f=1e", "f=inf"]
)
def test_any_other_rule_is_refused(words: str) -> None:
    with pytest.raises(RuleError, match="expected f=BETA"):
        parse_rule(words)
