"""A training that takes a second: thirty rows and a configuration, for the tests of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vigil_export.training.config import TrainConfig, make_config

_WORDS = {"fight": ("men hit each other", "打架"), "normal": ("nobody is there", "没有人")}


def write_rows(root: Path) -> Path:
    """Write thirty pictures of two kinds in three splits; some rows lack a side; two rows share a picture."""
    rng = np.random.default_rng(3)
    for split, count in (("train", 18), ("validation", 6), ("test", 6)):
        folder = root / split
        folder.mkdir()
        lines = []
        for number in range(count):
            label = "fight" if number % 2 else "normal"
            picture = rng.integers(0, 90, (20, 24, 3), dtype=np.uint8) + (160 if label == "fight" else 0)
            cv2.imwrite(str(folder / f"{number}.png"), picture.astype(np.uint8))
            row = {
                "file_name": f"{number}.png",
                "label": label,
                "group": f"{split}-{number}",
                "clip": f"c{number // 3}",
            }
            lines.append({**row, "text": _WORDS[label][number % 4 // 2]})
        lines.append({**lines[0], "text": "somebody waits"})
        lines += [{**lines[1], "text": ""}, {**lines[2], "file_name": ""}]
        content = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
        (folder / "metadata.jsonl").write_text(content, encoding="utf-8")
    return root


def small_config(data: Path, **changes: object) -> TrainConfig:
    """Return the configuration with some keys changed: `recipe__epochs=1` is `recipe.epochs`."""
    table: dict[str, Any] = {
        "data": {"path": str(data), "negative": ["normal"], "columns": {"sequence": "clip"}},
        "image": {"kind": "plain-cnn", "height": 16, "width": 16, "features": 8},
        "text": {"kind": "lstm", "width": 8, "embedding": 8, "features": 8, "max_tokens": 16, "vocabulary": 300},
        "fusion": {"kind": "concat", "width": 8},
        "recipe": {"epochs": 3, "batch": 6, "threads": 1, "is_deterministic": True, "augment": {}},
        "seed": 4,
    }
    table["recipe"]["augment_text"] = {}
    return make_config(table, {key.replace("__", "."): value for key, value in changes.items()})
