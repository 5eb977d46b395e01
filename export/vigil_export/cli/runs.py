"""Runs as `evaluate` and `compare` open them: predictions and calibration, computed where missing.

Only computing missing predictions needs PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, get_args

import typer

from stream_app.terminal.outcome import USAGE, CommandError
from vigil_export.cli.outcome import failures, say
from vigil_export.data.rows import SplitName
from vigil_export.evaluation.calibrated import Calibrated, CalibratedError, Mode, fit, load_calibrated, shortages
from vigil_export.evaluation.calibration import METHODS, Method
from vigil_export.evaluation.predictions import Predictions, PredictionsError, load_predictions
from vigil_export.evaluation.thresholds import F1, RuleError, parse_rule
from vigil_export.training.run import RunError, RunFolder

SplitOption = Annotated[str, typer.Option("--split", help="test or validation.")]
ModeOption = Annotated[
    str, typer.Option("--mode", help="rows: one by one. sequences: a text with all pictures of its sequence.")
]
ResamplesOption = Annotated[int, typer.Option("--resamples", min=100, help="Resamples of the intervals.")]
JsonOption = Annotated[bool, typer.Option("--json", help="All figures as JSON.")]


@contextmanager
def run_failures() -> Iterator[None]:
    """Turn failures of runs, data and files into a last line and status 1."""
    try:
        with failures():
            yield
    except (RunError, PredictionsError, CalibratedError) as error:
        raise CommandError(str(error)) from error


def open_run(path: Path) -> RunFolder:
    """Return the folder of a run.

    Raises:
        CommandError: There is none.
    """
    run = RunFolder(path)
    if not path.is_dir() or not (run.state.exists() or run.config.exists() or run.predictions("validation").exists()):
        raise CommandError(f"{path}: expected the folder of a run, as `vigil-export train` leaves it, found none")
    return run


def predictions_of(run: RunFolder, split: str, mode: str) -> Predictions:
    """Read the predictions of a split, or compute and keep them.

    Raises:
        CommandError: Split or mode is unknown.
        RunError: They are missing and cannot be computed.
        PredictionsError: The file cannot be read, or is of another split.
    """
    if split not in {"test", "validation"}:
        raise CommandError(f"--split: expected test or validation, found {split}", status=USAGE)
    if mode not in get_args(Mode):
        raise CommandError(f"--mode: expected {' or '.join(get_args(Mode))}, found {mode}", status=USAGE)
    path = run.predictions(split if mode == "rows" else f"{split}-{mode}")
    if not path.exists():
        say(f"{run.path}: computing the predictions of {split}, mode {mode}")
        found = replace(_predict(run, split, mode), split=split)  # type: ignore[arg-type]
        found.save(path)
    found = load_predictions(path)
    if found.split not in {"", split}:
        raise PredictionsError(f"{path}: expected predictions of {split}, found those of {found.split}")
    return replace(found, split=split)


def _predict(run: RunFolder, split: SplitName, mode: Mode) -> Predictions:
    """Compute predictions with the run's model; the only way here that needs PyTorch."""
    if run.folds.exists():
        raise RunError(
            f"{run.path}: expected predictions of {split}, mode {mode}, found none; a cross-validation has no model "
            "to compute them: its folds (fold-1 ...) have one each"
        )
    try:
        # PyTorch takes seconds to import, and a run that has predictions needs none.
        from vigil_export.training.predict import predict_run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RunError(
            f"{run.path}: expected predictions of {split}, found none; to compute them, {error.name} is needed"
        ) from error
    return predict_run(run, split, mode)


def calibrated_of(run: RunFolder, *, method: str = "", rule: str = "", mode: str = "rows") -> Calibrated:
    """Read calibration and thresholds, or fit them on validation rows and keep them.

    Args:
        run: The run.
        method: Of calibration; empty: that of the run, or Platt's.
        rule: Of thresholds; empty: that of the run, or F1.
        mode: What a new rule is chosen on: rows, or texts with all pictures of their sequence.

    Raises:
        CommandError: Method or rule is unknown.
    """
    before = load_calibrated(run.calibration) if run.calibration.exists() else None
    if before is not None and not method and not rule:
        return before
    chosen: Method = before.method if before else "platt"
    if method:
        if method not in METHODS:
            raise CommandError(f"--calibration: expected {', '.join(METHODS)}, found {method}", status=USAGE)
        chosen = method
    try:
        parsed = parse_rule(rule) if rule else parse_rule(before.rule) if before else F1
    except RuleError as error:
        raise CommandError(f"--thresholds: {error}", status=USAGE) from error
    silent = {label.name for label in before.labels if not label.alerts} if before else _negative(run)
    chosen_on = mode if rule else before.mode if before else "rows"
    sequences = None if chosen_on == "rows" else predictions_of(run, "validation", chosen_on)
    rows = predictions_of(run, "validation", "rows")
    fitted = fit(rows, chosen, parsed, silent=silent, sequences=sequences)
    fitted.save(run.calibration)
    for shortage in shortages(rows, fitted):
        say(f"WARNING: {shortage}")
    say(
        f"{run.calibration}: fitted {fitted.words} on {fitted.rows} validation rows, chose thresholds by {parsed} on "
        f"{fitted.decisions} decisions ({chosen_on})"
    )
    return fitted


def _negative(run: RunFolder) -> set[str]:
    """Return the labels that mean "nothing happened", as the run's data set says."""
    try:
        return set(json.loads(run.dataset.read_text(encoding="utf-8"))["negative"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()
