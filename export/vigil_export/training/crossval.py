"""Cross-validation: one run per held-out fold of a data set, tested on that fold. Out: a folder like that of one run.

```
OUT/fold-1 ...               runs, each with its own calibration
    predictions/test.npz     every row of the data set, judged by the model that did not see it, calibrated
    folds.json               figures of each fold, their mean and spread
    calibration.json ...     as in a run; thresholds are chosen on the validation rows of all folds
    predictions/validation.npz, validation-sequences.npz     those rows, to choose thresholds again
```

It has no weights: to export, train a run on everything.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import msgspec
import numpy as np

from vigil_export.data import SplitName
from vigil_export.evaluation.calibrated import Calibrated, load_calibrated
from vigil_export.evaluation.calibrated import fit as fit_calibration
from vigil_export.evaluation.metrics import FIGURES
from vigil_export.evaluation.pool import pool
from vigil_export.evaluation.predictions import Predictions, load_predictions
from vigil_export.evaluation.scores import score
from vigil_export.training.claim import claim
from vigil_export.training.config import ConfigError, TrainConfig
from vigil_export.training.fit import fit, parsed_rule
from vigil_export.training.loop import require_precision
from vigil_export.training.predict import Mode, predict_run
from vigil_export.training.rows import open_folds, open_rows, require_same_rows, require_sides
from vigil_export.training.run import RunFolder, Say, is_finished, read_doubts, read_json, write_json


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the parts: its values, their mean and standard deviation."""

    values: tuple[float, ...]
    mean: float
    deviation: float


Figures = dict[Mode, dict[str, Spread]]
"""Mode -> name in `vigil_export.evaluation.metrics.FIGURES` -> its spread over the folds."""


def crossval(config: TrainConfig, out: RunFolder, *, say: Say, resume: bool = False) -> Figures:
    """Train and test once per held-out fold.

    Args:
        config: What to do; `data.folds` says into how many folds, or `data.fold_column` names a column of them.
        out: Where; the folder must not exist, unless a cross-validation that was cut short is resumed.
        say: Told one line after each step.
        resume: Keep the folds that are finished, and continue.

    Returns:
        Figures of the rows, and of the sequences where the data has some.

    Raises:
        ConfigError: The configuration does not fit.
        RunError: The folder exists, or is none that can be resumed.
        PredictionsError: Parts cannot be put together.
        DataError, TrainingError, OSError: As `fit`.
    """
    begun = time.monotonic()
    rule = parsed_rule(config)
    require_precision(config.recipe)
    parts = _parts(config, out)
    claim(config, out, resume=resume)
    runs = [RunFolder(out.path / f"fold-{number}") for number in range(1, len(parts) + 1)]
    for run, part in zip(runs, parts, strict=True):
        _train(part, run, say)
    about = read_json(runs[0].dataset)
    write_json(out.dataset, {name: about[name] for name in ("name", "task", "labels", "negative", "content_sha256")})
    name = out.path.name
    calibrated = [load_calibrated(run.calibration) for run in runs]
    validation = [load_predictions(run.predictions("validation")) for run in runs]
    pooled = pool(list(zip(validation, calibrated, strict=True)), name=name, are_ids_unique=False)
    fit_calibration(pooled, "none", rule, silent=about["negative"]).save(out.calibration)
    pooled.save(out.predictions("validation"))
    modes = _modes(parts[0])
    if "sequences" in modes:
        sequences = [_judged(run, "validation", "sequences") for run in runs]
        whole = pool(list(zip(sequences, calibrated, strict=True)), name=name, are_ids_unique=False)
        whole.save(out.predictions("validation-sequences"))
    found = {mode: _test(out, runs, calibrated, mode, say) for mode in modes}
    write_json(out.path / "folds.json", msgspec.to_builtins(found))
    doubts = [f"{run.path.name}: {doubt}" for run in runs for doubt in read_doubts(run)]
    state = {"finished": True, "folds": len(parts), "seconds": round(time.monotonic() - begun, 1)}
    write_json(out.state, state | ({"doubts": doubts} if doubts else {}))
    return found


def _parts(config: TrainConfig, out: RunFolder) -> list[TrainConfig]:
    """Return the configuration of each fold."""
    data = config.data
    if data.uses_all_rows:
        raise ConfigError("data.uses_all_rows: expected false for a cross-validation, which holds folds out")
    if not data.fold_column and data.folds < 2:
        raise ConfigError(f"data.folds: expected at least 2, or a data.fold_column, found {data.folds}")
    datasets = open_folds(config)
    require_sides(datasets[0], config)
    if datasets[0].task == "multiclass" and config.recipe.calibration == "isotonic":
        raise ConfigError(
            "recipe.calibration: expected platt, temperature or none for a multiclass cross-validation, whose folds "
            "are pooled, found isotonic"
        )
    count = len(datasets)
    cache = data.cache or str(out.cache)
    return [
        msgspec.structs.replace(config, data=msgspec.structs.replace(data, folds=count, fold=fold, cache=cache))
        for fold in range(count)
    ]


def _train(part: TrainConfig, run: RunFolder, say: Say) -> None:
    is_begun = run.config.is_file()
    if is_begun and is_finished(run):
        require_same_rows(open_rows(part), run)
        say(f"{run.path}: already finished")
        return
    if run.path.exists() and not is_begun:
        shutil.rmtree(run.path)  # killed before the configuration of this fold was written
    fit(part, run, say=say, resume=is_begun)


def _modes(part: TrainConfig) -> tuple[Mode, ...]:
    rows = open_folds(part)[0].rows
    sequences = [row.sequence for row in rows if row.sequence]
    return ("rows", "sequences") if len(set(sequences)) < len(sequences) else ("rows",)


def _judged(run: RunFolder, split: SplitName, mode: Mode) -> Predictions:
    """Return a part's predictions, computed and kept where they are missing."""
    path = run.predictions(split if mode == "rows" else f"{split}-{mode}")
    if not path.is_file():
        predict_run(run, split, mode).save(path)
    return load_predictions(path)


def _test(
    out: RunFolder, runs: Sequence[RunFolder], calibrated: Sequence[Calibrated], mode: Mode, say: Say
) -> dict[str, Spread]:
    parts = [_judged(run, "test", mode) for run in runs]
    name = "test" if mode == "rows" else f"test-{mode}"
    pool(list(zip(parts, calibrated, strict=True)), name=out.path.name).save(out.predictions(name))
    scored = [score(one, its.calibration) for one, its in zip(parts, calibrated, strict=True)]
    found = {}
    for figure, of in FIGURES.items():
        values = tuple(of(one)(np.ones(len(one))) for one in scored)
        found[figure] = Spread(values, fmean(values), stdev(values))
    said = ", ".join(f"{figure} {spread.mean:.3f} (sd {spread.deviation:.3f})" for figure, spread in found.items())
    say(f"{mode}: {said}")
    return found
