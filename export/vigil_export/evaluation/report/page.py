"""Lays the pages out. In: an evaluation or a comparison. Out: HTML without anything outside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from vigil_export.evaluation.compare import HEADLINE, Comparison
from vigil_export.evaluation.evaluate import MISSING_WORDS, Evaluation, names_of_rows
from vigil_export.evaluation.intervals import Interval, doubts_of_groups
from vigil_export.evaluation.metrics import FIGURES, LESS_IS_BETTER, decided
from vigil_export.evaluation.operating_points import ASSUMPTION
from vigil_export.evaluation.report.history import History
from vigil_export.evaluation.report.pictures import confusions, curves, forest, progress, reliabilities
from vigil_export.evaluation.report.samples import Sample
from vigil_export.evaluation.thresholds import parse_rule
from vigil_export.evaluation.variants import VariantFigures

PICTURES = 4
"""Pictures of a mistake; of a decision with more, the first are shown."""


def evaluation_page(
    evaluation: Evaluation,
    samples: Mapping[str, Sample] | None = None,
    history: History | None = None,
    variants: Sequence[VariantFigures] = (),
    doubts: Sequence[str] = (),
    *,
    is_crossval: bool = False,
) -> str:
    """Return the report of one run.

    Args:
        evaluation: Its figures.
        samples: Name of a row -> how it looks; the mistakes are shown with them.
        history: How the training went.
        variants: What smaller variants of the model cost, fp32 first.
        doubts: What was doubtful about how the training ended.
        is_crossval: Whether the rows were judged by the parts of a cross-validation.
    """
    both = evaluation.scored["both"]
    return template("evaluation.html.j2").render(
        evaluation=evaluation,
        rule=parse_rule(evaluation.calibrated.rule).words,
        groups=len(np.unique(both.groups)),
        combined=int(both.rows.max()),
        assumption=ASSUMPTION,
        has_days=any(line.per_day for line in evaluation.operating_points),
        progress=progress(history or {}),
        curves=curves(evaluation.scored, [label.auroc.value for label in evaluation.labels]),
        confusion=confusions(both),
        reliability=reliabilities(evaluation.scored),
        variants=variants,
        doubts=doubts,
        is_crossval=is_crossval,
        notes=doubts_of_groups(both.groups),
        mistakes=[_mistake(evaluation, int(place), samples or {}) for place in evaluation.mistakes],
        **_COMMON,
    )


def comparison_page(comparison: Comparison) -> str:
    """Return the report of a comparison; the sentence about the gain comes first."""
    scored = comparison.contenders[0].scored
    gains = {
        figure: [(f"{gain.fusion}", gain.interval) for gain in comparison.gains if gain.figure == figure]
        for figure in HEADLINE
    }
    pictures = [
        forest(
            [(contender.name, comparison.figures[contender.name][figure]) for contender in comparison.contenders],
            figure,
            unit="with 95 % intervals",
            zero=False,
        )
        for figure in HEADLINE
    ]
    pictures += [
        forest(
            [(name, _times(interval, 100)) for name, interval in lines],
            f"Gain in {figure} over the better single modality",
            unit="points",
            zero=True,
        )
        for figure, lines in gains.items()
        if lines
    ]
    return template("comparison.html.j2").render(
        comparison=comparison,
        decisions=len(scored),
        groups=len(np.unique(scored.groups)),
        combined=int(scored.rows.max()),
        task=scored.task,
        labels=scored.labels,
        pictures=pictures,
        headline=HEADLINE,
        **_COMMON,
    )


def _mistake(evaluation: Evaluation, place: int, samples: Mapping[str, Sample]) -> dict[str, Any]:
    both = evaluation.scored["both"]
    name = both.ids[place]
    scores = {}
    for presence, found in evaluation.scored.items():
        at = found.ids.index(name) if name in found.ids else None
        scores[presence] = None if at is None else found.probabilities[at]
    says = decided(both)[place]
    true = both.truth[place] > 0.5
    shown = sorted(np.flatnonzero(says | true).tolist(), key=lambda label: -float(both.probabilities[place, label]))
    return {
        "id": name,
        "sample": samples.get(name),
        "pictures": [
            sample.picture
            for row in names_of_rows(evaluation, place, PICTURES)
            if (sample := samples.get(row)) is not None and sample.picture
        ],
        "rows": int(both.rows[place]),
        "true": [both.labels[label] for label in np.flatnonzero(true)],
        "said": [both.labels[label] for label in np.flatnonzero(says)],
        "scores": [
            (both.labels[label], {p: None if values is None else float(values[label]) for p, values in scores.items()})
            for label in shown
        ],
    }


def _times(interval: Interval, factor: float) -> Interval:
    return Interval(interval.value * factor, interval.low * factor, interval.high * factor)


def span(interval: Interval, digits: int = 3, *, signed: bool = False) -> str:
    """Return `0.812 [0.780, 0.841]`; a dash for what is not known."""
    sign = "+" if signed else ""
    if math.isnan(interval.value):
        return "-"
    if math.isnan(interval.low):
        return f"{interval.value:{sign}.{digits}f}"
    return f"{interval.value:{sign}.{digits}f} [{interval.low:{sign}.{digits}f}, {interval.high:{sign}.{digits}f}]"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number, or a dash for what is not known."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


_COMMON: dict[str, Any] = {
    "figures": tuple(FIGURES),
    "less_is_better": LESS_IS_BETTER,
    "words": MISSING_WORDS,
    "span": span,
    "number": number,
}


def template(name: str) -> Template:
    """Return a page of this folder, to be filled in."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
