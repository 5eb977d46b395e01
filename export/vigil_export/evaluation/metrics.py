"""Figures of decisions. In: scored decisions. Out: numbers, most of them statistics that can be resampled.

A decision by the most probable label (`multiclass`) or by one half (else) is called "decided"; what reaches a label's
open_at "opens". Shapes: `d` decisions, `L` labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_fscore_support

from vigil_export.evaluation.intervals import Statistic, Weights
from vigil_export.evaluation.scores import Scored

BINS = 15
LOSS_FLOOR = 1e-7
"""Least probability in the loss; scores are bounded to +-20, of which the probability is about 2e-9."""

_BOOLS = npt.NDArray[np.bool_]
_Values = npt.NDArray[np.int64] | npt.NDArray[np.float64]


def decided(scored: Scored) -> _BOOLS:
    """Return which labels each decision says, bool [d, L]: the most probable one for `multiclass`, else p >= 1/2."""
    if scored.task != "multiclass":
        return np.asarray(scored.micro >= 0)
    says = np.zeros(scored.micro.shape, np.bool_)
    says[np.arange(len(scored)), scored.micro.argmax(1)] = True
    return says


def is_right(scored: Scored) -> _BOOLS:
    """Return which decisions say exactly what is true, bool [d]; for `multilabel` all labels must be right."""
    return np.asarray((decided(scored) == (scored.truth > 0.5)).all(1))


def accuracy(scored: Scored) -> Statistic:
    """Return the share of right decisions."""
    right = is_right(scored).astype(np.float64)
    return lambda weights: _ratio(float(weights @ right), float(weights.sum()))


def balanced_accuracy(scored: Scored) -> Statistic:
    """Return the mean recall: of the classes, or of each label's yes and no, labels alike.

    A class without any decision is left out.
    """
    says, truth = decided(scored), scored.truth > 0.5
    if scored.task == "multiclass":
        cells = [(truth[:, label], says[:, label]) for label in range(truth.shape[1])]
        return lambda weights: _mean([_recall(weights, *cell) for cell in cells])
    pairs = [(truth[:, at], says[:, at]) for at in range(truth.shape[1])]
    return lambda weights: _mean(
        [(_recall(weights, has, yes) + _recall(weights, ~has, ~yes)) / 2 for has, yes in pairs]
    )


def loss(scored: Scored) -> Statistic:
    """Return the mean negative log-likelihood, nats: of the true class, or of each label, labels alike."""
    chances, truth = scored.probabilities, scored.truth > 0.5
    if scored.task == "multiclass":
        shares = chances / chances.sum(1, keepdims=True)  # with knots they sum to 1 no more
        each = -np.log(np.maximum(shares[truth], LOSS_FLOOR))
    else:
        each = -np.log(np.maximum(np.where(truth, chances, 1 - chances), LOSS_FLOOR)).mean(1)
    return lambda weights: _ratio(float(weights @ each), float(weights.sum()))


def brier(scored: Scored) -> Statistic:
    """Return the mean squared difference of probability and truth, over decisions and labels."""
    each = ((scored.probabilities - scored.truth) ** 2).mean(1)
    return lambda weights: _ratio(float(weights @ each), float(weights.sum()))


def auroc(scored: Scored) -> Statistic:
    """Return the mean over labels of the area under the ROC curve; labels with one class only are left out."""
    return _mean_over_labels(scored, auroc_of)


def average_precision(scored: Scored) -> Statistic:
    """Return the mean over labels of the average precision; labels that never happen are left out."""
    return _mean_over_labels(scored, average_precision_of)


def _mean_over_labels(scored: Scored, of: Callable[[_Values, _BOOLS], Statistic]) -> Statistic:
    parts = [of(scored.micro[:, at], scored.truth[:, at] > 0.5) for at in range(len(scored.labels))]
    return lambda weights: _mean([part(weights) for part in parts])


def auroc_of(values: _Values, happens: _BOOLS) -> Statistic:
    """Return the chance that a decision with the label scores above one without; ties count half.

    Args:
        values: [d], micro-logits or probabilities.
        happens: bool [d].
    """
    levels, place = np.unique(values, return_inverse=True)

    def statistic(weights: Weights) -> float:
        yes = np.bincount(place, weights * happens, len(levels))
        no = np.bincount(place, weights * ~happens, len(levels))
        wins = yes @ (np.cumsum(no) - no / 2)
        return _ratio(float(wins), float(yes.sum() * no.sum()))

    return statistic


def average_precision_of(values: _Values, happens: _BOOLS) -> Statistic:
    """Return the mean precision over recall steps, equal scores taken together; arguments as in `auroc_of`."""
    levels, place = np.unique(-values, return_inverse=True)

    def statistic(weights: Weights) -> float:
        yes = np.bincount(place, weights * happens, len(levels))
        taken = np.cumsum(np.bincount(place, weights, len(levels)))
        precision = np.cumsum(yes) / np.maximum(taken, 1e-12)
        return _ratio(float(yes @ precision), float(yes.sum()))

    return statistic


def calibration_error(scored: Scored) -> Statistic:
    """Return the expected calibration error (Guo et al. 2017) over `BINS` bins of equal width.

    Of `multiclass`: the probability of the decided class against the share that is right. Else: each label's
    probability against the share in which it happens, labels together.
    """
    chances, hits, rows = _claims(scored)
    place = _bin_of(chances)

    def statistic(weights: Weights) -> float:
        spread = weights[rows]
        gap = np.bincount(place, spread * (chances - hits), BINS)
        return _ratio(float(np.abs(gap).sum()), float(spread.sum()))

    return statistic


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram: mean probability, share in which it was so, how many."""

    claimed: float
    observed: float
    count: int


def reliability(scored: Scored) -> tuple[Bin, ...]:
    """Return the bins of `calibration_error` that hold anything."""
    chances, hits, _ = _claims(scored)
    place = _bin_of(chances)
    count = np.bincount(place, minlength=BINS)
    claimed, observed = np.bincount(place, chances, BINS), np.bincount(place, hits, BINS)
    return tuple(
        Bin(float(claimed[at] / count[at]), float(observed[at] / count[at]), int(count[at]))
        for at in np.flatnonzero(count)
    )


def _claims(scored: Scored) -> tuple[Weights, Weights, npt.NDArray[np.int64]]:
    """Return probabilities, whether each came true, and the decision of each."""
    chances, rows = scored.probabilities, np.arange(len(scored))
    if scored.task == "multiclass":
        best = scored.micro.argmax(1)
        return chances[rows, best], scored.truth[rows, best].astype(np.float64), rows
    return chances.ravel(), scored.truth.ravel().astype(np.float64), np.repeat(rows, len(scored.labels))


def _bin_of(chances: Weights) -> npt.NDArray[np.int64]:
    return np.minimum((chances * BINS).astype(np.int64), BINS - 1)


FIGURES: dict[str, Callable[[Scored], Statistic]] = {
    "accuracy": accuracy,
    "balanced accuracy": balanced_accuracy,
    "AUROC": auroc,
    "average precision": average_precision,
    "loss": loss,
    "Brier": brier,
    "ECE": calibration_error,
}
"""The figures of every table, in its order; of the last three, less is better."""

LESS_IS_BETTER = frozenset({"loss", "Brier", "ECE"})


@dataclass(frozen=True, slots=True)
class OfLabel:
    """One label, as decided (see the module); NaN where there is nothing to divide by."""

    precision: float
    recall: float
    f1: float


def of_label(scored: Scored, label: int) -> OfLabel:
    """Return precision, recall and F1 of the label at this place, as decided."""
    says, truth = decided(scored)[:, label], scored.truth[:, label] > 0.5
    found = precision_recall_fscore_support(truth, says, average="binary", zero_division=np.nan)
    return OfLabel(*map(float, found[:3]))


NOTHING = "nothing"


def confusion(scored: Scored) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Return names and counts, truth downwards and decided to the right.

    Without `multiclass`, "nothing" is a class of its own, and a decision that several labels are true of counts in the
    row of each: under this label if it was said, else under the most probable one that was said and is not true, else
    under "nothing".
    """
    count = len(scored.labels)
    if scored.task == "multiclass":
        cells = np.zeros((count, count), np.int64)
        np.add.at(cells, (scored.truth.argmax(1), scored.micro.argmax(1)), 1)
        return scored.labels, cells
    says, truth = decided(scored), scored.truth > 0.5
    wrong = np.where(says & ~truth, scored.micro, np.iinfo(np.int64).min)
    instead = np.where((says & ~truth).any(1), wrong.argmax(1), count)
    cells = np.zeros((count + 1, count + 1), np.int64)
    rows, classes = np.nonzero(np.column_stack((truth, ~truth.any(1))))
    is_said = np.column_stack((says, np.zeros(len(scored), np.bool_)))[rows, classes]
    np.add.at(cells, (classes, np.where(is_said, classes, instead[rows])), 1)
    return (*scored.labels, NOTHING), cells


def _recall(weights: Weights, has: _BOOLS, says: _BOOLS) -> float:
    return _ratio(float(weights @ (has & says)), float(weights @ has))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
