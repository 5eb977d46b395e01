"""Calibration and thresholds of a run: fitted in one call, written as `calibration.json`, read back. No PyTorch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import msgspec

from stream_app.bundle.errors import BundleError
from stream_app.bundle.manifest import PRESENCES, Calibration, Label, Presence, Scaling, check_calibration
from stream_app.files import write_whole
from vigil_export.data.preparing.access import TestSplitError
from vigil_export.evaluation.calibration import ISOTONIC_ROWS, Method, calibrate, rows_of, without_map
from vigil_export.evaluation.predictions import Predictions
from vigil_export.evaluation.scores import score
from vigil_export.evaluation.thresholds import Rule, choose

Mode = Literal["rows", "sequences"]


class CalibratedError(ValueError):
    """A `calibration.json` cannot be used."""


class Calibrated(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the manifest says of calibration, and where it came from.

    `method` is what was asked for, `words` what came of it; `rule` is as `parse_rule` reads it; to `rows` the
    calibration was fitted, on `decisions` the thresholds were chosen: the rows themselves, or with `mode` `sequences`
    texts with all pictures of their sequence.
    """

    method: Method
    rule: str
    rows: int
    decisions: int
    calibration: Calibration
    labels: tuple[Label, ...]
    mode: Mode = "rows"

    @property
    def words(self) -> str:
        """What stands there: where isotonic had too few rows, Platt's; of presences that no row has, nothing."""
        if self.method != "isotonic":
            return self.method
        fitted = {presence: self.calibration.of(presence) for presence in PRESENCES}
        without = {presence: without_map(found) for presence, found in fitted.items() if not _is_untouched(found)}
        if all(len(places) == len(self.labels) for places in without.values()):
            return "platt (too few rows for isotonic)"
        lacking = "; ".join(self._place(presence, places) for presence, places in without.items() if places)
        return f"isotonic, platt where rows were too few ({lacking})" if lacking else "isotonic"

    def _place(self, presence: Presence, places: list[int]) -> str:
        names = ", ".join(self.labels[place].name for place in places)
        return presence if len(places) == len(self.labels) else f"{presence}: {names}"

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_whole(path, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def _is_untouched(scaling: Scaling) -> bool:
    """Whether it leaves logits as they are, as that of a presence that no row has."""
    return not scaling.knots and set(scaling.scale) == {1.0} and set(scaling.offset) == {0.0}


def fit(
    predictions: Predictions,
    method: Method,
    rule: Rule,
    *,
    silent: Collection[str] = (),
    sequences: Predictions | None = None,
) -> Calibrated:
    """Calibrate, and choose thresholds on the calibrated scores.

    Args:
        predictions: Of validation rows.
        method: Of `calibrate`.
        rule: Of `choose`.
        silent: Labels that never alert.
        sequences: The same rows in mode `sequences`, to choose thresholds on decisions of several pictures; None:
            on the rows.

    Raises:
        TestSplitError: The predictions are of the test split.
        PredictionsError: A logit is not finite, or a decision has two truths.
    """
    calibration = calibrate(predictions, method)
    chosen_on = predictions if sequences is None else sequences
    if chosen_on.split == "test":
        raise TestSplitError("expected predictions of validation rows to choose thresholds on, found the test split")
    scored = score(chosen_on, calibration)
    return Calibrated(
        method=method,
        rule=str(rule),
        rows=len(predictions),
        decisions=len(scored),
        calibration=calibration,
        labels=choose(scored, rule, silent=silent),
        mode="rows" if sequences is None else "sequences",
    )


def shortages(predictions: Predictions, calibrated: Calibrated) -> list[str]:
    """Say for which presences and labels there were too few rows for the method, one line a presence.

    Args:
        predictions: What the calibration was fitted to.
        calibrated: Of `fit`.
    """
    found = []
    for presence in PRESENCES if calibrated.method == "isotonic" else ():
        truth = predictions.truth[rows_of(predictions, presence)] > 0.5
        if not len(truth):  # its logits stay as they are
            continue
        counts = [
            f"{int(truth[:, place].sum())} with {predictions.labels[place]} and {int((~truth[:, place]).sum())} without"
            for place in without_map(calibrated.calibration.of(presence))
        ]
        if counts:
            found.append(
                f"isotonic calibration of {presence}: expected at least {ISOTONIC_ROWS} validation rows with a label "
                f"and {ISOTONIC_ROWS} without it, found {', '.join(counts)}: Platt scaling is used there; "
                "isotonic needs more validation rows"
            )
    return found


def load_calibrated(path: Path) -> Calibrated:
    """Read it.

    Raises:
        CalibratedError: The file is missing, or not one of these.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibrated)
        check_calibration(found.calibration, tuple(label.name for label in found.labels))
    except (OSError, msgspec.MsgspecError, BundleError) as error:
        raise CalibratedError(
            f"{path}: expected calibration and thresholds of a run, found {error}; without that file, "
            "`vigil-export evaluate` fits them again"
        ) from error
    return found
