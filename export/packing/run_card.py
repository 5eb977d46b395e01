"""Writes the model card of a run's bundle. Goes in: its manifest, what a person says of it. Goes out: MODEL_CARD.md.

Figures, data and calibration come from the manifest; what nobody said is said to be unsaid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream_app.bundle.manifest import PRESENCES, Manifest, Presence

_WORDS: dict[Presence, str] = {"both": "all that a row has", "image": "image alone", "text": "text alone"}
_TASKS = {
    "binary": "one label, a sigmoid",
    "multiclass": "one of the labels, a softmax",
    "multilabel": "any number of the labels, a sigmoid each",
}
_SPLITS = {
    "test": "Measured on test rows, which neither training nor calibration nor thresholds saw.",
    "test-sequences": "The same rows, each text judged by all pictures of its sequence, as serving combines them.",
    "crossval": "Measured by cross-validation: each row was judged by a model of the same configuration that had not "
    "learned from its part. The model of this bundle may have learned from all of them, and its thresholds were chosen "
    "on some of them.",
    "crossval-sequences": "The same rows, each text judged by all pictures of its sequence, as serving combines them.",
    "validation": "**Measured on validation rows, which calibration and thresholds were fitted to: too good to be "
    "expected elsewhere.** `vigil-export evaluate` measures the test rows.",
}
_FITTED_ON = {"probe": "judgements of training and validation rows by layers that had not learned from them"}
_TITLES = {"epochs": "Epochs at most", "epoch": "Epochs trained"}
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


def write_run_card(manifest: Manifest, about: About) -> str:
    """Return the card as Markdown.

    Args:
        manifest: Its `training` and `metrics` are those of `export.packing.source` and `run_metrics`; any part of them
            may be missing.
        about: What a person says.
    """
    labels = ", ".join(manifest.label_names)
    blocks = [
        f"# Model card: {manifest.name} {manifest.version}",
        f"An image and text model for Vigil. It scores pictures and texts for: {labels} ({_TASKS[manifest.task]}).",
        _use(manifest, about),
        _data(manifest.training, about),
        _model(manifest),
        *(_figures(name, manifest.metrics[name]) for name in _SPLITS if name in manifest.metrics),
        _calibration(manifest),
        _variant(manifest.metrics),
        about.notes.strip(),
        _limits(manifest, about),
        "## Licence\n\n" + (about.licence or _no_licence(manifest.training)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _use(manifest: Manifest, about: About) -> str:
    default = (
        f"Nobody stated one. It was made to raise {', '.join(_alerting(manifest)) or 'no alert'} for people to look "
        "at, from cameras and texts like those it was trained on."
    )
    return f"""## Intended use

{about.intended_use or default}

Not for decisions about a person, nor for safety without a person in between. It recognises nobody."""


def _alerting(manifest: Manifest) -> list[str]:
    return [label.name for label in manifest.labels if label.alerts]


def _data(training: Mapping[str, Any], about: About) -> str:
    known = [(name, training[name]) for name in ("data", "data_sha256", "rows", "negative") if training.get(name)]
    lines = [f"- {_title(name)}: {_value(value)}" for name, value in known] or ["The run says nothing of its data."]
    origin = about.data_origin or "Nobody stated where the pictures and texts come from, nor on what terms."
    return "\n".join(["## Data", "", origin, "", *lines])


def _model(manifest: Manifest) -> str:
    training, image, text = manifest.training, manifest.image, manifest.text
    lines = [
        "## Model",
        "",
        f"- Pictures: {image.width} x {image.height}, {image.resize}; features {list(manifest.features.image)}.",
        (
            f"- Texts: at most {text.max_chars} characters and {text.max_tokens} tokens, {text.normalization}; "
            f"features {list(manifest.features.text)}."
        ),
    ]
    names = ("method", "image", "text", "fusion", "parameters", "epochs", "epoch", "best_epoch", "seed", "torch")
    lines += [
        f"- {_TITLES.get(name) or _title(name)}: {_value(training[name])}"
        for name in names
        if training.get(name) not in (None, "", {})
    ]
    lines.append(f"- Source: {manifest.source_revision}; ONNX opset {manifest.opset}.")
    return "\n".join(lines)


def _heading(split: str) -> str:
    if split.startswith("crossval"):
        return f"Figures of a cross-validation{', by sequences' if split != 'crossval' else ''}"
    return f"Figures on {split} rows"


def _figures(split: str, found: Mapping[str, Any]) -> str:
    figures: Mapping[str, Any] = found["figures"]
    names = list(next(iter(figures.values())))
    present = [presence for presence in PRESENCES if presence in figures]
    lines = [
        f"## {_heading(split)}",
        "",
        (
            f"{_SPLITS[split]} {found['rows']} rows, {found['decisions']} decisions, {found['groups']} groups"
            f"{', ' + str(found['folds']) + ' parts' if found.get('folds') else ''}; in "
            "brackets 95 % intervals by drawing groups (those of the ECE lean upwards, for the noise of a draw "
            "counts as error)."
        ),
        "",
        *([f"**{found['gain']}**", ""] if found.get("gain") else []),
        *_table(
            ["", *(_WORDS[p] for p in present)], ([name, *(_span(figures[p][name]) for p in present)] for name in names)
        ),
        "",
        *_table(
            ["label", "decisions with it", "AUROC", "average precision"],
            (
                [name, str(label["decisions"]), _span(label["auroc"]), _span(label["average_precision"])]
                for name, label in found["labels"].items()
            ),
        ),
        *_at_open(found["labels"]),
    ]
    for facet, values in found["facets"].items():
        rows = (
            [
                value,
                str(line["decisions"]),
                *(_span(line["accuracy"][p]) if p in line["accuracy"] else "-" for p in present),
            ]
            for value, line in values.items()
        )
        lines += ["", f"Accuracy by {facet}:", "", *_table([facet, "decisions", *(_WORDS[p] for p in present)], rows)]
    if held_back := found["facets_held_back"]:
        lines += ["", f"Not listed, since its maker did not ask for it: accuracy by {', '.join(held_back)}."]
    lines += ["", *found["notes"]] if found.get("notes") else []
    return "\n".join(lines)


def _at_open(labels: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        [name, _WORDS[presence], _span(at["recall"]), _span(at["precision"]), _span(at["false_alarms"], 4)]
        for name, label in labels.items()
        for presence, at in label["at_open"].items()
    ]
    if not rows:
        return
    yield ""
    yield (
        "What reaches the threshold `open_at` of each label that alerts. False alarms are the share of the decisions "
        "without the label that do: of N such decisions a day, N times this share, before the live system joins what "
        "follows one another into one incident. What was seen in next to none of n groups is bounded by 3 / n."
    )
    yield ""
    yield from _table(["label", "judged by", "recall", "precision", "false alarms"], rows)


def _calibration(manifest: Manifest) -> str:
    training = manifest.training
    rule = training.get("threshold_rule")
    lines = [
        "## Calibration and thresholds",
        "",
        (
            f"Fitted on {_FITTED_ON.get(str(training.get('method')), 'validation rows')}"
            f"{_words(training.get('calibration'))}, for each set of sides that can be present"
            f"{'; thresholds by ' + str(rule) if rule else ''}"
            f"{', on texts with all pictures of their sequence' if training.get('threshold_mode') else ''}."
        ),
        "",
        *_table(
            ["label", "alerts", "open_at", "close_at"],
            (
                [label.name, "yes" if label.alerts else "no", f"{label.open_at:.3f}", f"{label.close_at:.3f}"]
                for label in manifest.labels
            ),
        ),
    ]
    return "\n".join(lines)


def _variant(metrics: Mapping[str, Any]) -> str:
    variants: Mapping[str, Any] = metrics.get("variants", {})
    if not variants:
        return ""
    rows = next(iter(variants.values()))["rows"]
    return "\n".join(
        [
            "## Variants",
            "",
            (
                f"This bundle holds **{metrics['variant']}**; the figures above are of fp32. On {rows} validation "
                "rows; of the AUROC, the most that it loses with both sides, the picture alone or the text alone:"
            ),
            "",
            *_table(
                ["", "MB", "accuracy", "balanced accuracy", "loss of AUROC", "ECE", "logits differ by at most"],
                (
                    [
                        name,
                        f"{found['size_bytes'] / 1e6:.2f}",
                        f"{found['accuracy']:.4f}",
                        "-" if found["balanced_accuracy"] is None else f"{found['balanced_accuracy']:.4f}",
                        "-" if found["auroc_loss"] is None else f"{found['auroc_loss']:.4f}",
                        f"{found['ece']:.4f}",
                        f"{found['logit_difference']:.3g}",
                    ]
                    for name, found in variants.items()
                ),
            ),
        ]
    )


def _limits(manifest: Manifest, about: About) -> str:
    lines = [about.limits] if about.limits else []
    lines += [
        (
            "- Cameras, places, wording and languages that the data does not have: its scores there mean nothing until "
            "they are measured."
        ),
        "- A picture is brought to the size above whatever its shape: what is small in it may be gone.",
    ]
    lines += [f"- **{doubt}.**" for doubt in manifest.training.get("doubts", ())]
    split = next((name for name in _SPLITS if name in manifest.metrics), None)
    if split is None:
        return "\n".join(["## Limits", "", *lines, "- **Nothing was measured.** No figure says what it is worth."])
    found = manifest.metrics[split]
    rare = [f"{name} ({label['decisions']})" for name, label in found["labels"].items() if label["decisions"] < FEW]
    if rare:
        lines.append(f"- Fewer than {FEW} decisions with the label were there to measure: {', '.join(rare)}.")
    for side in ("image", "text"):
        if side not in found["figures"]:
            lines.append(f"- No row could be judged by its {side} alone: such results were never measured.")
    return "\n".join(["## Limits", "", *lines])


def _no_licence(training: Mapping[str, Any]) -> str:
    pretrained = [str(name) for name in training.get("pretrained", ()) if name]
    also = f" and of the pretrained weights it began with ({', '.join(pretrained)})" if pretrained else ""
    return f"Nobody stated one. The terms of the data{also} may bind these weights."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _span(value: Sequence[float | None], digits: int = 3) -> str:
    middle, low, high = value
    if middle is None:
        return "-"
    return f"{middle:.{digits}f}" + ("" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]")


def _title(name: str) -> str:
    return name[0].upper() + name[1:].replace("_", " ")


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(part)}" for name, part in value.items() if part not in (None, "", (), []))
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return (
        f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000 else str(value)
    )


def _words(text: object) -> str:
    return f" ({text})" if text else ""
