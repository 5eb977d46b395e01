"""Writes the model card of a run's bundle. In: its manifest, what the user says about it. Out: MODEL_CARD.md.

The words are in `card.md.j2`; this fills them in. What nobody stated, the card says nobody stated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from stream_app.bundle.manifest import PRESENCES, Manifest, Presence

_WORDS: dict[Presence, str] = {"both": "all that a row has", "image": "image alone", "text": "text alone"}
_TASKS = {
    "binary": "one label, a sigmoid",
    "multiclass": "one of the labels, a softmax",
    "multilabel": "any number of the labels, a sigmoid each",
}
_SPLITS = {
    "test": "Measured on test rows, which neither training, calibration nor thresholds saw.",
    "test-sequences": "The same rows, each text judged by all pictures of its sequence, as serving combines them.",
    "crossval": "Measured by cross-validation: each row was judged by a model of the same configuration that had not "
    "learned from its fold. The model of this bundle may have learned from all rows, and its thresholds were chosen on "
    "some of them.",
    "crossval-sequences": "The same rows, each text judged by all pictures of its sequence, as serving combines them.",
    "validation": "**Measured on validation rows, which calibration and thresholds were fitted to: the figures are "
    "optimistic.** `vigil-export evaluate` measures the test rows.",
}
_FITTED_ON = {"probe": "judgements of training and validation rows by layers that had not learned from them"}
_TITLES = {"epochs": "Maximum epochs", "epoch": "Epochs trained"}
#: A label with fewer examples is named under the limits.
FEW = 50


@dataclass(frozen=True, slots=True)
class About:
    """What only a person can say. Empty: the card says that nobody did. `notes` is Markdown with its own headings."""

    intended_use: str = ""
    data_origin: str = ""
    limits: str = ""
    licence: str = ""
    notes: str = ""


def write_card(manifest: Manifest, about: About) -> str:
    """Return the card as Markdown.

    Args:
        manifest: Its `training` and `metrics` are those of `vigil_export.packing.source` and `run_metrics`; any part of
            them may be missing.
        about: What the user says.
    """
    measured = {name: manifest.metrics[name] for name in _SPLITS if name in manifest.metrics}
    variants: Mapping[str, Any] = manifest.metrics.get("variants", {})
    first: Mapping[str, Any] = next(iter(measured.values()), {"labels": {}})
    training: Mapping[str, Any] = defaultdict(lambda: None, manifest.training)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701 - Markdown, from values of a manifest that is checked
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("card.md.j2").render(
        manifest=manifest,
        about=about,
        training=training,
        measured=measured,
        variants=variants,
        tasks=_TASKS,
        splits=_SPLITS,
        few=FEW,
        title=_title,
        value=_value,
        alerting=[label.name for label in manifest.labels if label.alerts],
        fitted_on=_FITTED_ON.get(str(training["method"]), "validation rows"),
        pretrained=[str(name) for name in training["pretrained"] or () if name],
        rare=[f"{name} ({of['decisions']})" for name, of in first["labels"].items() if of["decisions"] < FEW],
        words_of=lambda present: [_WORDS[presence] for presence in present],
        rows_of_figures=_rows_of_figures,
        rows_of_labels=_rows_of_labels,
        rows_at_open=_rows_at_open,
        rows_of_facet=_rows_of_facet,
        rows_of_thresholds=[
            [label.name, "yes" if label.alerts else "no", f"{label.open_at:.3f}", f"{label.close_at:.3f}"]
            for label in manifest.labels
        ],
        rows_of_variants=[_variant(name, found) for name, found in variants.items()],
    )
    return text.strip() + "\n"


_Rows = Iterable[list[str]]


def _rows_of_figures(figures: Mapping[Presence, Mapping[str, Any]]) -> _Rows:
    present = [presence for presence in PRESENCES if presence in figures]
    return [[name, *(_span(figures[one][name]) for one in present)] for name in figures[present[0]]]


def _rows_of_labels(labels: Mapping[str, Any]) -> _Rows:
    return [
        [name, str(label["decisions"]), _span(label["auroc"]), _span(label["average_precision"])]
        for name, label in labels.items()
    ]


def _rows_at_open(labels: Mapping[str, Any]) -> _Rows:
    return [
        [name, _WORDS[presence], _span(at["recall"]), _span(at["precision"]), _span(at["false_alarms"], 4)]
        for name, label in labels.items()
        for presence, at in label["at_open"].items()
    ]


def _rows_of_facet(values: Mapping[str, Any], present: Sequence[Presence]) -> _Rows:
    return [
        [
            value,
            str(line["decisions"]),
            *(_span(line["accuracy"][p]) if p in line["accuracy"] else "-" for p in present),
        ]
        for value, line in values.items()
    ]


def _variant(name: str, found: Mapping[str, Any]) -> list[str]:
    balanced, lost = found["balanced_accuracy"], found["auroc_loss"]
    return [
        name,
        f"{found['size_bytes'] / 1e6:.2f}",
        f"{found['accuracy']:.4f}",
        "-" if balanced is None else f"{balanced:.4f}",
        "-" if lost is None else f"{lost:.4f}",
        f"{found['ece']:.4f}",
        f"{found['logit_difference']:.3g}",
    ]


def _span(value: Sequence[float | None], digits: int = 3) -> str:
    middle, low, high = value
    if middle is None:
        return "-"
    return f"{middle:.{digits}f}" + ("" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]")


def _title(name: str) -> str:
    return _TITLES.get(name) or name[0].upper() + name[1:].replace("_", " ")


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(part)}" for name, part in value.items() if part not in (None, "", (), []))
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return (
        f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000 else str(value)
    )
