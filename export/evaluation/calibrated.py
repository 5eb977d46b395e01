"""Calibration and thresholds of a run: fitted in one call, written as `calibration.json`, read back. No PyTorch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec

from export.evaluation.calibration import Method, calibrate
from export.evaluation.predictions import Predictions
from export.evaluation.scores import score
from export.evaluation.thresholds import Rule, choose
from stream_app.bundle.errors import BundleError
from stream_app.bundle.manifest import Calibration, Label, check_calibration


class CalibratedError(ValueError):
    """A `calibration.json` cannot be used."""


class Calibrated(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the manifest says of calibration, and where it came from.

    `rule` is as `parse_rule` reads it; `rows` and `decisions` were fitted to.
    """

    method: Method
    rule: str
    rows: int
    decisions: int
    calibration: Calibration
    labels: tuple[Label, ...]

    @property
    def encoded(self) -> bytes:
        """The content of `calibration.json`."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def save(self, path: Path) -> None:
        """Write it."""
        path.write_bytes(self.encoded)


def fit(predictions: Predictions, method: Method, rule: Rule, *, silent: Collection[str] = ()) -> Calibrated:
    """Calibrate, and choose thresholds on the calibrated scores.

    Args:
        predictions: Of validation rows.
        method: Of `calibrate`.
        rule: Of `choose`.
        silent: Labels that never alert.

    Raises:
        TestSplitError: The predictions are of the test split.
        PredictionsError: A logit is not finite, or a decision has two truths.
    """
    calibration = calibrate(predictions, method)
    scored = score(predictions, calibration)
    return Calibrated(
        method=method,
        rule=str(rule),
        rows=len(predictions),
        decisions=len(scored),
        calibration=calibration,
        labels=choose(scored, rule, silent=silent),
    )


def load_calibrated(path: Path) -> Calibrated:
    """Read it.

    Raises:
        CalibratedError: The file is missing, or not one of these.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibrated)
        check_calibration(found.calibration, tuple(label.name for label in found.labels))
    except (OSError, msgspec.MsgspecError, BundleError) as error:
        raise CalibratedError(f"{path}: expected calibration and thresholds of a run, found {error}") from error
    return found
