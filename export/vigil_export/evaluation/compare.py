"""Compares runs on the same decisions. In: predictions with their calibrations. Out: differences. No PyTorch.

Text alone and image alone are always among them: runs of one side where there are any, else the first fusion's own
predictions with a side left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from stream_app.bundle.manifest import Presence
from vigil_export.evaluation.calibrated import Calibrated
from vigil_export.evaluation.intervals import (
    RESAMPLES,
    Interval,
    Resampled,
    Resampling,
    doubts_of_groups,
)
from vigil_export.evaluation.metrics import FIGURES
from vigil_export.evaluation.predictions import Predictions, PredictionsError, sides_of
from vigil_export.evaluation.scores import Scored, score

HEADLINE = ("accuracy", "AUROC")
"""Figures in which the gain is told; the first is that of the report's first line."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the comparison.

    Attributes:
        name: As tables show it.
        sides: What it looks at.
        scored: Its decisions, the same ones in the same order for all contenders.
        is_own_run: False where it is a fusion with a side left out.
    """

    name: str
    sides: Presence
    scored: Scored
    is_own_run: bool


@dataclass(frozen=True, slots=True)
class Gain:
    """How much a fusion is better than the better single side, in units of a figure.

    Attributes:
        fusion: Name of the fusion.
        figure: Name in `FIGURES`.
        single: Name of the single side that is better on these decisions.
        interval: Of the gain; the better single side is chosen anew in every draw, so that the choice is paid for.
    """

    fusion: str
    figure: str
    single: str
    interval: Interval

    @property
    def sentence(self) -> str:
        """The sentence that begins the report."""
        value, low, high = (100 * number for number in (self.interval.value, self.interval.low, self.interval.high))
        if math.isnan(value):
            reason = "each label is true of all decisions or of none"
            return f"{self.fusion}: the gain in {self.figure} is unknown, since {reason}."
        text = (
            f"{self.fusion}: fusion gains {value:+.1f} points of {self.figure} over the better single modality "
            f"({self.single}) [{low:+.1f}, {high:+.1f}]"
        )
        if math.isnan(low):
            return f"{text}; there is no interval for one group, or for too few with or without a label."
        if low > 0:
            return f"{text}."
        return f"{text}: a loss." if high < 0 else f"{text}; the interval holds zero, so no gain is shown."


@dataclass(frozen=True, slots=True)
class Pair:
    """Two contenders: the first minus the second in each figure of `HEADLINE`."""

    first: str
    second: str
    differences: dict[str, Interval]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of it.

    Attributes:
        contenders: Text alone, image alone, then fusions in the order of the runs.
        figures: Contender -> figure -> value with interval.
        gains: Of each fusion in each figure of `HEADLINE`, in the order of the runs.
        pairs: Any two contenders.
        notes: What a reader must know, as sentences.
    """

    contenders: tuple[Contender, ...]
    figures: dict[str, dict[str, Interval]]
    gains: tuple[Gain, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]

    @property
    def first_line(self) -> str:
        """The gain of the first fusion, or why there is none."""
        return self.gains[0].sentence if self.gains else "No run is a fusion: there is no gain to report."


Run = tuple[Predictions, Calibrated]


def compare(runs: Sequence[Run], *, resamples: int = RESAMPLES) -> Comparison:
    """Compare runs on the decisions that they share and that have both sides.

    Args:
        runs: At least one; the first fusion among them gives the first line.
        resamples: Of the intervals.

    Raises:
        PredictionsError: They share no decision with both sides, differ in labels, or in what is true of a decision.
    """
    contenders, notes = _contenders(runs)
    contenders, shared = _aligned(contenders)
    contenders.sort(key=lambda contender: ("text", "image", "both").index(contender.sides))
    contenders, grouped = _grouped(contenders)
    notes += [note for note in (shared, grouped) if note]
    # One seed for all contenders: the draws are of the same groups, which makes differences paired.
    drawn = Resampling(resamples)
    figures = {
        contender.name: {figure: drawn(of(contender.scored), contender.scored.groups) for figure, of in FIGURES.items()}
        for contender in contenders
    }
    groups = contenders[0].scored.groups
    notes += doubts_of_groups(groups)
    return Comparison(
        contenders=tuple(contenders),
        figures={
            name: {figure: found.interval for figure, found in of_run.items()} for name, of_run in figures.items()
        },
        gains=tuple(_gains(contenders, figures)),
        pairs=tuple(_pairs(contenders, figures)),
        notes=tuple(notes),
    )


def _contenders(runs: Sequence[Run]) -> tuple[list[Contender], list[str]]:
    names = _apart([predictions.name for predictions, _ in runs])
    sides = [sides_of(predictions) for predictions, _ in runs]
    found = [
        Contender(name, looks_at, _paired(*run), is_own_run=True)
        for name, looks_at, run in zip(names, sides, runs, strict=True)
    ]
    notes: list[str] = []
    if "both" not in sides:
        return found, notes
    first = sides.index("both")
    for side, other in (("text", "image"), ("image", "text")):
        if side not in sides:
            name = f"{names[first]}, {other} left out"
            found.append(Contender(name, side, _paired(*runs[first], side), is_own_run=False))  # type: ignore[arg-type]
            notes.append(
                f'No run uses the {side} alone; "{name}" stands in for it. A model trained on that side alone may be '
                "better, and the gain then smaller."
            )
    return found, notes


def _apart(names: Sequence[str]) -> list[str]:
    """Number names that occur twice."""
    return [
        f"{name} ({names[: at + 1].count(name)})" if names.count(name) > 1 else name for at, name in enumerate(names)
    ]


def _paired(predictions: Predictions, calibrated: Calibrated, presence: Presence = "both") -> Scored:
    """Score the decisions whose rows have both sides: where one is missing, there is nothing to fuse."""
    scored = score(predictions, calibrated.calibration, presence)
    return scored.take((predictions.has_image & predictions.has_text)[scored.first])


def _aligned(contenders: Sequence[Contender]) -> tuple[list[Contender], str]:
    """Reduce all to the decisions that they share, in one order; say how many were left out."""
    ids = [set(contender.scored.ids) for contender in contenders]
    kept = [name for name in contenders[0].scored.ids if all(name in others for others in ids)]
    if not kept:
        raise PredictionsError("expected runs that judged the same rows with both sides, found no row that all judged")
    aligned = []
    for contender in contenders:
        place_of = {name: place for place, name in enumerate(contender.scored.ids)}
        scored = contender.scored.take(np.array([place_of[name] for name in kept], np.int64))
        aligned.append(replace(contender, scored=scored))
    one = aligned[0].scored
    for contender in aligned:
        if contender.scored.labels != one.labels or contender.scored.task != one.task:
            raise PredictionsError(
                f"expected runs with the labels {one.labels} ({one.task}), found {contender.scored.labels} "
                f"({contender.scored.task}) in {contender.name}"
            )
        differs = (contender.scored.truth != one.truth).any(1)
        if differs.any():
            raise PredictionsError(
                f"expected the same truth in all runs, found another in {contender.name}, first at row "
                f"{kept[int(np.argmax(differs))]}: the runs use different data"
            )
    most = max(len(found) for found in ids)
    words = f"{len(kept)} of {most} decisions were judged by all runs and are compared." if most > len(kept) else ""
    return aligned, words


def _grouped(contenders: Sequence[Contender]) -> tuple[list[Contender], str]:
    """Give all the groups of one, since draws of differently numbered groups are not paired; say where runs disagree.

    Of several ways to group, the one with the fewest groups is used: it assumes the least independence.
    """
    found = {contender.name: _numbered(contender.scored.groups) for contender in contenders}
    chosen = min(contenders, key=lambda each: int(found[each.name].max()))
    note = ""
    if any((each != found[chosen.name]).any() for each in found.values()):
        note = f"The runs group rows differently; the groups of {chosen.name} are used, being the fewest."
    groups = chosen.scored.groups  # with its own numbers, so that draws are those of `evaluate`
    return [replace(one, scored=replace(one.scored, groups=groups)) for one in contenders], note


def _numbered(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number groups in the order of their first rows: equal groupings become equal arrays."""
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[place], np.int64)


def _gains(contenders: Sequence[Contender], figures: dict[str, dict[str, Resampled]]) -> Iterator[Gain]:
    singles = [contender for contender in contenders if contender.sides != "both"]
    for fusion in (contender for contender in contenders if contender.sides == "both"):
        for figure in HEADLINE:
            better = max(singles, key=lambda single: figures[single.name][figure].value)
            gain = figures[fusion.name][figure].above([figures[single.name][figure] for single in singles])
            yield Gain(fusion.name, figure, f"{better.sides} alone: {better.name}", gain.interval)


def _pairs(contenders: Sequence[Contender], figures: dict[str, dict[str, Resampled]]) -> Iterator[Pair]:
    for second, first in combinations(contenders, 2):
        differences = {
            figure: figures[first.name][figure].above([figures[second.name][figure]]).interval for figure in HEADLINE
        }
        yield Pair(first.name, second.name, differences)
