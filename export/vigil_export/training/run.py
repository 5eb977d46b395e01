"""The folder of a run: where training leaves what evaluation, comparison and export read. Paths and files, no PyTorch.

```
RUN/config.toml              what was asked for, all defaults written out
    dataset.json             task, labels, negative labels, SHA-256 of the rows, sizes of the splits
    model.json               the model's parts and the bounds of texts, enough to build it without any other file
    tokenizer.json           of the bundle
    weights.safetensors      the best weights
    state.json               finished or not, epoch, best epoch, doubts, seconds, torch version, parameters
    calibration.json         calibration and labels with thresholds, fitted on validation
    predictions/<split>.npz  vigil_export.evaluation.predictions, validation and (after `evaluate`) test
    checkpoints/             last.ckpt to resume from, best.ckpt with the lowest validation loss
    folds.json               of a cross-validation, which has no model of its own
    logs/                    metrics.csv, a line for each epoch
    cache/                   pictures as the model takes them, and what frozen encoders give; recreated where missing
    reports/                 pages of `evaluate`
```
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stream_app.files import write_whole

Say = Callable[[str], None]
"""Told one line after each step."""

ADVICE = (
    "try a lower recipe.rate, recipe.clip above 0, or precision 32, in another folder: a run keeps its configuration"
)
"""For trainings that diverge."""


class RunError(ValueError):
    """A run folder cannot be used; the message says what is missing or does not fit, and what to do."""


class TrainingError(RuntimeError):
    """Training cannot continue; the message says why and what to do."""


class RunFolder:
    """Paths of a run: the top of this file says what each holds. The folder may not exist yet."""

    def __init__(self, path: Path) -> None:
        """Name the files of the run at this path."""
        self.path = path
        self.config, self.dataset, self.model = path / "config.toml", path / "dataset.json", path / "model.json"
        self.tokenizer, self.weights = path / "tokenizer.json", path / "weights.safetensors"
        self.state, self.calibration = path / "state.json", path / "calibration.json"
        self.folds = path / "folds.json"
        self.checkpoints, self.logs, self.cache = path / "checkpoints", path / "logs", path / "cache"

    def predictions(self, name: str) -> Path:
        """Return where the predictions of a split (or of a mode of it, `test-sequences`) lie."""
        return self.path / "predictions" / f"{name}.npz"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run.

    Raises:
        RunError: There is none, or none that can be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: expected a file of a finished run, found: {error.strerror}") from error
    try:
        content = json.loads(data)
    except ValueError as error:
        raise RunError(
            f"{path}: expected a file of a finished run, found {broken(data)} ({error}); restore it from a copy, or "
            "train again"
        ) from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a file of a finished run, found no JSON object in it")
    return content


def read_doubts(run: RunFolder) -> list[str]:
    """Return what was doubtful about how a training ended; nothing where none is recorded."""
    try:
        found = read_json(run.state).get("doubts")
    except RunError:
        return []
    return [str(doubt) for doubt in found] if isinstance(found, list) else []


def is_finished(run: RunFolder) -> bool:
    """Whether the training, or cross-validation, of this folder is finished.

    Raises:
        RunError: Its `state.json` cannot be read.
    """
    if not run.state.is_file():
        return False
    try:
        return bool(read_json(run.state).get("finished"))
    except RunError as error:
        raise RunError(f"{error}; or remove that file, and --resume continues from the last complete epoch") from error


def broken(data: bytes) -> str:
    """Say what is wrong with a file whose content is not what was written."""
    return "one that is truncated or changed" if data else "an empty one"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file so that nobody ever sees half of it."""
    write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
