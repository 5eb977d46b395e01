"""Calibrated scores as serving computes them: from rows to decisions. In: raw logits, a calibration. No PyTorch.

A decision is what the live system judges: one text with all its pictures (the mean of the micro-logits of its rows,
floored, as `stream_app.core` takes it), or one row. Shapes: `n` rows, `d` decisions, `L` labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream_app.bundle.calibration import micro_logits
from stream_app.bundle.manifest import PRESENCES, Calibration, Presence
from stream_app.core.score import MICRO
from vigil_export.data.rows import Task
from vigil_export.evaluation.calibration import rows_of, sigmoid
from vigil_export.evaluation.predictions import Predictions, PredictionsError


@dataclass(frozen=True, slots=True)
class Scored:
    """Decisions with their scores and their truth.

    Attributes:
        task: Of the model.
        labels: L names.
        presence: `both`: judged with whatever a row has; `image`, `text`: with the other side left out.
        micro: int64 [d, L], calibrated micro-logits.
        truth: float32 [d, L], 0 or 1.
        groups: int64 [d].
        ids: d names: of each decision's first row.
        first: int64 [d], place of each decision's first row among the n rows, for its text and its picture.
        rows: int64 [d], how many rows were combined.
        facets: Name -> d values, of each decision's first row.
    """

    task: Task
    labels: tuple[str, ...]
    presence: Presence
    micro: npt.NDArray[np.int64]
    truth: npt.NDArray[np.float32]
    groups: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    first: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    facets: dict[str, npt.NDArray[np.str_]]

    def __len__(self) -> int:
        """Return d."""
        return len(self.ids)

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Sigmoids of the scores, float64 [d, L]; the shares of `multiclass` sum to 1 but for knots."""
        return sigmoid(self.micro / MICRO)

    def take(self, places: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Scored:
        """Return some of the decisions, in this order."""
        chosen = np.flatnonzero(places) if places.dtype == np.bool_ else places
        return Scored(
            task=self.task,
            labels=self.labels,
            presence=self.presence,
            micro=self.micro[chosen],
            truth=self.truth[chosen],
            groups=self.groups[chosen],
            ids=tuple(self.ids[place] for place in chosen),
            first=self.first[chosen],
            rows=self.rows[chosen],
            facets={name: values[chosen] for name, values in self.facets.items()},
        )


def score(predictions: Predictions, calibration: Calibration, presence: Presence = "both") -> Scored:
    """Score the decisions of a split.

    Args:
        predictions: Raw logits.
        calibration: Of the bundle or the run.
        presence: `both` judges each row with what it has, and calibrates it accordingly; `image` and `text` leave the
            other side out, and with it the rows that have nothing else.

    Raises:
        PredictionsError: The rows of one decision have different truths, or a logit is not finite.
    """
    micro, is_judged = _rows(predictions, calibration, presence)
    kept = np.flatnonzero(is_judged)
    _, first, place = np.unique(predictions.decisions[kept], return_index=True, return_inverse=True)
    # Decisions in the order of their first rows, not of their numbers: those of two runs then pair by position.
    rank = np.argsort(np.argsort(first, kind="stable"), kind="stable")
    place, first = rank[place], np.sort(first)
    heads, count = kept[first], np.bincount(place, minlength=len(first))
    truth = predictions.truth[heads]
    if (predictions.truth[kept] != truth[place]).any():
        wrong = predictions.ids[kept[int(np.argmax((predictions.truth[kept] != truth[place]).any(1)))]]
        raise PredictionsError(f"{predictions.name}: expected one truth per decision, found two at row {wrong}")
    total = np.zeros((len(first), len(predictions.labels)), np.int64)
    np.add.at(total, place, micro[kept])
    return Scored(
        task=predictions.task,
        labels=predictions.labels,
        presence=presence,
        micro=total // np.maximum(count, 1)[:, None],
        truth=truth,
        groups=predictions.groups[heads],
        ids=tuple(predictions.ids[head] for head in heads),
        first=heads,
        rows=count.astype(np.int64),
        facets={name: values[heads] for name, values in predictions.facets.items()},
    )


def _rows(
    predictions: Predictions, calibration: Calibration, presence: Presence
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return int64 [n, L] micro-logits, and which rows have any."""
    micro = np.zeros((len(predictions), len(predictions.labels)), np.int64)
    is_judged = np.zeros(len(predictions), np.bool_)
    for sides in PRESENCES if presence == "both" else (presence,):
        at = rows_of(predictions, sides)
        if presence == "both" and sides != "both":
            at = at & ~rows_of(predictions, "both")
        if not at.any():
            continue
        try:
            micro[at] = micro_logits(
                predictions.logits[presence][at], task=predictions.task, calibration=calibration, presence=sides
            )
        except ValueError as error:
            raise PredictionsError(f"{predictions.name}, rows judged by {sides}: {error}") from error
        is_judged |= at
    return micro, is_judged
