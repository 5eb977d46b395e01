"""What a cross-validation says about a run that learned from all rows. In: both folders. Out: metrics, as JSON.

A model that is trained on every row leaves none to measure it on. A cross-validation of the same configuration on the
same rows stands in for it; that configuration and rows are the same is checked here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from vigil_export.evaluation.calibrated import CalibratedError, load_calibrated
from vigil_export.evaluation.predictions import load_predictions
from vigil_export.packing.run_metrics import run_metrics
from vigil_export.training.config import ConfigError, TrainConfig, read_config
from vigil_export.training.run import RunError, RunFolder, read_json

#: Keys that may differ: where the data is, how it is divided, how fast training runs.
_FREE = frozenset(
    {
        "data.path",
        "data.cache",
        "data.kept_gib",
        "data.folds",
        "data.fold",
        "data.fold_column",
        "data.uses_all_rows",
        "data.validation_share",
        "recipe.threads",
    }
)
_MODES = {"test": "crossval", "test-sequences": "crossval-sequences"}


def crossval_metrics(run: RunFolder, crossval: RunFolder, *, facets: Collection[str] = ()) -> dict[str, Any]:
    """Return the figures of a cross-validation, to be kept with a run.

    Args:
        run: A run with a model.
        crossval: Of the same configuration, on the same rows.
        facets: As in `run_metrics`.

    Returns:
        `crossval`, and `crossval-sequences` where texts have several pictures: as `run_metrics`, and `folds`.

    Raises:
        RunError: It is no cross-validation, is not finished, or is of another configuration or other rows.
        PredictionsError: Its predictions do not fit its calibration.
    """
    if not crossval.folds.is_file():
        raise RunError(f"{crossval.path}: expected a finished cross-validation, found none: `vigil-export crossval`")
    if differing := sorted(_differing(_config(run), _config(crossval))):
        raise RunError(
            f"{crossval.path}: expected the configuration of {run.path}, found another {', '.join(differing)}"
        )
    hashes = [read_json(folder.dataset).get("content_sha256") for folder in (run, crossval)]
    if hashes[0] is None or hashes[0] != hashes[1]:
        raise RunError(f"{crossval.path}: expected the rows of {run.path}, found others: cross-validate those")
    try:
        own, pooled = load_calibrated(run.calibration), load_calibrated(crossval.calibration)
    except CalibratedError as error:
        raise RunError(str(error)) from error
    # The folds' logits are calibrated, each by its own model; what opens is judged by the thresholds in use.
    calibrated = msgspec.structs.replace(pooled, labels=own.labels)
    folds = read_json(crossval.state).get("folds")
    return {
        kept: {**run_metrics(load_predictions(crossval.predictions(name)), calibrated, facets=facets), "folds": folds}
        for name, kept in _MODES.items()
        if crossval.predictions(name).is_file()
    }


def _config(folder: RunFolder) -> TrainConfig:
    try:
        return read_config(folder.config)
    except ConfigError as error:
        raise RunError(str(error)) from error


def _differing(one: TrainConfig, other: TrainConfig) -> Iterator[str]:
    first, second = (dict(_flat(msgspec.to_builtins(config))) for config in (one, other))
    for key in first.keys() | second.keys():
        if key not in _FREE and first.get(key) != second.get(key):
            yield key


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
