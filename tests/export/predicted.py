"""Predictions for tests: drawn from a known truth, no model needed."""

from __future__ import annotations

import numpy as np

from vigil_export.data.rows import Task
from vigil_export.evaluation.predictions import Predictions

LABELS: dict[Task, tuple[str, ...]] = {
    "binary": ("fight",),
    "multiclass": ("fight", "fire", "normal"),
    "multilabel": ("fight", "fire"),
}


def draw(  # noqa: PLR0913 - each is a knob that some test turns
    task: Task = "multilabel",
    *,
    rows: int = 400,
    seed: int = 0,
    name: str = "run",
    stretch: float = 1.0,
    shift: float = 0.0,
    group_of: int = 4,
    image: float = 1.0,
    text: float = 1.0,
    split: str = "validation",
) -> Predictions:
    """Draw logits of rows whose true log-odds are known; `both` adds up what the sides know.

    Args:
        task: Of the model.
        rows: n.
        seed: Equal seeds draw equal rows and truths.
        name: Of the run.
        stretch: Logits are the true ones times this...
        shift: ... plus this: what calibration has to undo.
        group_of: Rows of a group.
        image: How much the picture tells.
        text: How much the text tells.
        split: That they are of.
    """
    rng = np.random.default_rng(seed)
    count = len(LABELS[task])
    hidden = rng.normal(0, 1.5, (rows, count))
    if task == "multiclass":
        chance = np.exp(hidden) / np.exp(hidden).sum(1, keepdims=True)
        truth = np.array([rng.multinomial(1, row) for row in chance], np.float32)
    else:
        truth = (rng.random((rows, count)) < 1 / (1 + np.exp(-hidden))).astype(np.float32)
    sides = {"image": image, "text": text}
    noise = {side: rng.normal(0, 1, (rows, count)) for side in sides}
    told = {side: hidden * much + noise[side] for side, much in sides.items()}
    told["both"] = (told["image"] + told["text"]) / 2
    return Predictions(
        name=name,
        task=task,
        labels=LABELS[task],
        logits={key: (values * stretch + shift).astype(np.float32) for key, values in told.items()},  # type: ignore[misc]
        truth=truth,
        has_image=np.ones(rows, np.bool_),
        has_text=np.ones(rows, np.bool_),
        decisions=np.arange(rows),
        groups=np.arange(rows) // group_of,
        ids=tuple(f"metadata.jsonl:{row + 1}" for row in range(rows)),
        facets={"language": np.array(["en", "zh"])[np.arange(rows) % 2]},
        split=split,
    )
