"""Writes the model card. Goes in: the manifest's training summary and metrics. Goes out: MODEL_CARD.md.

Every figure comes from the run; nothing is typed in by hand.
"""

from __future__ import annotations

from typing import Any

from export.evaluation.site_figures import ACCURACY_MEANS
from stream_app.bundle.manifest import Label

_WORDINGS = (("train_wording", "wording of training"), ("held_out_wording", "held-out wording"))


def write_card(
    name: str, version: str, *, labels: tuple[Label, ...], training: dict[str, Any], metrics: dict[str, Any]
) -> str:
    """Return the card as Markdown.

    Args:
        name: Of the bundle.
        version: Of the bundle.
        labels: With thresholds.
        training: The manifest's training summary.
        metrics: The manifest's metrics: `train_wording` and `held_out_wording`, each of `measure` in
            `export.evaluation.site_figures`.
    """
    blocks = [
        f"# Model card: {name} {version}",
        "A small image and text model for the demo of Vigil. It tells five events apart: "
        + ", ".join(label.name for label in labels)
        + ".",
        _trained_on(training),
        _not_good_for(metrics),
        _figures(metrics),
        _by_kind(metrics),
        _opens(metrics),
        _thresholds(labels, training),
    ]
    return "\n\n".join(blocks) + "\n"


def _trained_on(training: dict[str, Any]) -> str:
    return f"""## What it was trained on

Drawn pictures and composed sentences only: {training["rows"]} rows of the drawn site (`stream_app.drawn_site`),
seed {training["seed"]}, {training["epochs"]} epochs, random first weights, no other data. Calibrated on
{training["validation_rows"]} further rows.

- Pictures: 320 x 240 JPEG of quality 30-85, drawn with OpenCV, brought to {training["input"]} by serving's own decoder.
  One yard with fence, gate and barrier, in five kinds, day and night; about a third are fouled (blur, grain, dirt,
  glare, something before the lens, gloom).
- Events: fight, fire, intrusion over the fence, a bag left behind, a vehicle inside the barrier. Ordinary life that
  resembles them: a greeting, a lamp, steam, staff in vests, an owner beside a bag, a vehicle outside.
- Texts: English and Chinese in equal parts; 65 % truthful, 20 % vague, 15 % wrong. A fifth of the parts of every slot
  appear in no training sentence.
- Model: {training["architecture"]}; {training["parameters"]:,} parameters, trained in
  {"bfloat16 (image encoder) and float32" if training["recipe"]["uses_bf16"] else "float32"}, shipped in float32."""


def _not_good_for(metrics: dict[str, Any]) -> str:
    wrong = metrics["train_wording"]["by"]["kind"]["wrong"]
    return f"""## What it is not good for

- **Real cameras and real alarms.** It has never seen a photograph or a sentence that a person wrote. Its scores on
  them mean nothing; train a model of your own.
- **Confident lies.** Where the text is wrong, {wrong["both"]:.0%} of the decisions are right with both sides,
  {wrong["image"]:.0%} with the picture alone.
- Other languages, other events, people as individuals: it recognises nobody and must not be used to try.
- Any decision about a person or about safety."""


def _span(value: list[float], *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{value[0]:{sign}.3f} [{value[1]:{sign}.3f}, {value[2]:{sign}.3f}]"


def _figures(metrics: dict[str, Any]) -> str:
    lines = [
        "## Figures",
        "",
        f"Accuracy is the {ACCURACY_MEANS}. Intervals: {metrics['intervals']}. New cameras and scenes.",
        "The held-out rows use only parts that no training sentence contains, in every slot. The guards of training",
        "against strange words were chosen with a look at such rows, so that line may flatter a little.",
        "",
        "| new rows | text alone | image alone | both | both - text | both - image |",
        "|---|---|---|---|---|---|",
    ]
    for key, words in _WORDINGS:
        found = metrics[key]["accuracy"]
        cells = [
            _span(found["text"]),
            _span(found["image"]),
            _span(found["both"]),
            _span(found["both-text"], signed=True),
            _span(found["both-image"], signed=True),
        ]
        lines.append(f"| {metrics[key]['rows']}, {words} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "AUROC per label (text alone / image alone / both):",
        "",
        "| label | " + " | ".join(words for _, words in _WORDINGS) + " |",
        "|---|---|---|",
    ]
    for label in metrics["train_wording"]["auroc"]:
        cells = []
        for key, _ in _WORDINGS:
            found = metrics[key]["auroc"][label]
            cells.append(f"{found['text']:.3f} / {found['image']:.3f} / {found['both']:.3f}")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_kind(metrics: dict[str, Any]) -> str:
    lines = [
        "## Accuracy by kind of row",
        "",
        "| | wording | rows | text alone | image alone | both |",
        "|---|---|---|---|---|---|",
    ]
    for facet in ("kind", "picture", "hour", "language"):
        for key, words in _WORDINGS:
            for value, found in metrics[key]["by"][facet].items():
                cells = " | ".join(f"{found[presence]:.3f}" for presence in ("text", "image", "both"))
                lines.append(f"| {facet}: {value} | {words} | {found['rows']} | {cells} |")
    return "\n".join(lines)


def _opens(metrics: dict[str, Any]) -> str:
    lines = [
        "## What reaches open_at",
        "",
        "Rows whose text claims an event; the share whose score for that label reaches open_at.",
        "In the last line: rows with an event and a vague text, the share in which the event's score reaches it.",
        "",
        "| | " + " | ".join(words for _, words in _WORDINGS) + " |",
        "|---|---|---|",
    ]
    for what in metrics["train_wording"]["opens"]:
        cells = " | ".join(f"{metrics[key]['opens'][what]:.3f}" for key, _ in _WORDINGS)
        lines += [f"| {what} | {cells} |"]
    return "\n".join(lines)


def _thresholds(labels: tuple[Label, ...], training: dict[str, Any]) -> str:
    lines = ["## Thresholds", "", training["threshold_rule"], "", "| label | open_at | close_at |", "|---|---|---|"]
    lines += [f"| {label.name} | {label.open_at:.3f} | {label.close_at:.3f} |" for label in labels]
    return "\n".join(lines)
