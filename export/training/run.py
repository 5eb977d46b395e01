"""The folder of a run: where training leaves what evaluation, comparison and export read. Paths and files, no PyTorch.

```
RUN/config.toml              what was asked for, all defaults written out
    dataset.json             task, labels, negative labels, SHA-256 of the rows, sizes of the splits
    model.json               the model's parts and the bounds of texts, enough to build it without any other file
    tokenizer.json           of the bundle
    weights.safetensors      the best weights
    state.json               finished or not, epoch, best epoch, doubts, seconds, torch version, parameters
    calibration.json         calibration and labels with thresholds, fitted on validation
    predictions/<split>.npz  export.evaluation.predictions, validation and (after `evaluate`) test
    checkpoints/             last.ckpt to resume from
    folds.json               of a cross-validation, which has no model of its own
    logs/                    metrics.csv, TensorBoard
    cache/                   pictures as the model takes them, and what frozen encoders give; made again where missing
    reports/                 pages of `evaluate`
```
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_app.files import write_whole


class RunError(ValueError):
    """A run folder cannot be used; the message says what is missing or does not fit, and what to do."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of a run.

    Attributes:
        path: The folder; it may not exist yet.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The configuration with all defaults written out."""
        return self.path / "config.toml"

    @property
    def dataset(self) -> Path:
        """What the data set was."""
        return self.path / "dataset.json"

    @property
    def model(self) -> Path:
        """The model's parts and the bounds of texts."""
        return self.path / "model.json"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer of the bundle."""
        return self.path / "tokenizer.json"

    @property
    def weights(self) -> Path:
        """The best weights."""
        return self.path / "weights.safetensors"

    @property
    def state(self) -> Path:
        """How far it came."""
        return self.path / "state.json"

    @property
    def calibration(self) -> Path:
        """Calibration and thresholds."""
        return self.path / "calibration.json"

    @property
    def folds(self) -> Path:
        """Figures of the parts; there for a cross-validation alone."""
        return self.path / "folds.json"

    @property
    def checkpoints(self) -> Path:
        """Where training resumes from."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """CSV and TensorBoard."""
        return self.path / "logs"

    @property
    def cache(self) -> Path:
        """What can be worked out again."""
        return self.path / "cache"

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
            f"{path}: expected a file of a finished run, found {broken(data)} ({error}); put it back from a copy, or "
            "train again"
        ) from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a file of a finished run, found no object in it")
    return content


def read_doubts(run: RunFolder) -> list[str]:
    """Return what was doubtful about how a training ended; nothing where there is no word of it."""
    try:
        found = read_json(run.state).get("doubts")
    except RunError:
        return []
    return [str(doubt) for doubt in found] if isinstance(found, list) else []


def is_finished(run: RunFolder) -> bool:
    """Whether the training, or cross-validation, of this folder came to its end.

    Raises:
        RunError: Its `state.json` cannot be read.
    """
    if not run.state.is_file():
        return False
    try:
        return bool(read_json(run.state).get("finished"))
    except RunError as error:
        raise RunError(f"{error}; or remove that file, and --resume goes on from the last whole epoch") from error


def broken(data: bytes) -> str:
    """Say what is wrong with a file whose content is not what was written."""
    return "one that is cut short or changed" if data else "an empty one"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file so that nobody ever sees half of it."""
    write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
