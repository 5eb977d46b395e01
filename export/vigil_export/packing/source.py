"""What a bundle is made of, read from the folder of a run. In: a run and its model. Out: a `Source`.

Nothing about the machine is passed on: files are named without their folders, and the data by its hash.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from vigil_export.evaluation.calibrated import Calibrated, CalibratedError, load_calibrated
from vigil_export.evaluation.evaluate import FACET_VALUES
from vigil_export.evaluation.predictions import load_predictions
from vigil_export.models.model import FusionModel
from vigil_export.packing.bundle import Source
from vigil_export.packing.revision import source_revision
from vigil_export.packing.run_crossval import crossval_metrics
from vigil_export.packing.run_metrics import run_metrics
from vigil_export.training.load import LoadedRun, load_run
from vigil_export.training.run import RunError, RunFolder, read_json

#: Splits whose figures go into a bundle, where there are predictions of them; validation only where no other is there.
MEASURED = ("test", "test-sequences")
_FROM_STATE = ("method", "epochs", "epoch", "best_epoch", "doubts", "seed", "torch")


def open_source(
    folder: RunFolder,
    crossval: RunFolder | None = None,
    *,
    loaded: LoadedRun | None = None,
    facets: Collection[str] = (),
) -> Source:
    """Gather all that a bundle says about a run.

    Args:
        folder: The run.
        crossval: A cross-validation of the same configuration on the same rows: its figures stand in for those of
            the run, which may have learned from all of them.
        loaded: Its model, where it has been loaded already.
        facets: Columns of the data whose values card and manifest may name, with the accuracy of each.

    Raises:
        RunError: The run is not finished, not calibrated, or a file of it cannot be read; or the cross-validation is
            none, or of something else; or a facet is no column of the rows, or has too many values for a table.
        PredictionsError: Its predictions do not fit the calibration.
    """
    loaded = loaded or load_run(folder)
    state, data = read_json(folder.state), read_json(folder.dataset)
    if state.get("finished") is False:
        raise RunError(f"{folder.path}: expected a run that is finished, found one that is not: resume its training")
    try:
        calibrated = load_calibrated(folder.calibration)
    except CalibratedError as error:
        raise RunError(str(error)) from error
    labels = loaded.model.spec.labels
    if tuple(label.name for label in calibrated.labels) != labels:
        names = ", ".join(label.name for label in calibrated.labels)
        raise RunError(f"{folder.calibration}: expected the labels {', '.join(labels)} of the model, found {names}")
    return Source(
        model=loaded.model,
        tokenizer=loaded.tokenizer,
        text=loaded.text,
        calibration=calibrated.calibration,
        labels=calibrated.labels,
        open_validation=lambda: loaded.open("validation", purpose="calibration"),
        training=_training(loaded.model, calibrated, state, data),
        metrics=_metrics(folder, calibrated, crossval, facets),
        revision=source_revision(),
    )


def _training(
    model: FusionModel, calibrated: Calibrated, state: dict[str, Any], data: dict[str, Any]
) -> dict[str, Any]:
    spec = model.spec
    parts = {name: _named(msgspec.to_builtins(getattr(spec, name))) for name in ("image", "text", "fusion")}
    named = (spec.image.weights, spec.text.vectors, spec.text.pretrained)
    pretrained = [_name(value) for value in named if value not in {"", "random"}]
    if spec.image.weights == "pretrained":
        pretrained[0] = spec.image.backbone
    known = {name: state[name] for name in _FROM_STATE if name in state}
    return {
        **parts,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        **known,
        **({"pretrained": pretrained} if pretrained else {}),
        "calibration": f"{calibrated.words}, {calibrated.rows} rows",
        "threshold_rule": calibrated.rule,
        **({"threshold_mode": calibrated.mode} if calibrated.mode != "rows" else {}),
        **_data(data),
    }


def _data(data: dict[str, Any]) -> dict[str, Any]:
    """Return what training wrote about the data, without paths, and without task and labels: the manifest has them."""
    kept = {name: value for name, value in data.items() if name not in {"task", "labels", "path", "content_sha256"}}
    renamed = {"name": "data", "sha256": "data_sha256", "sizes": "rows"}
    return {renamed.get(name, name): value for name, value in kept.items()}


def _named(part: dict[str, Any]) -> dict[str, Any]:
    """Return a part of the spec without folders, and without the configuration of a BERT, which fills a page."""
    return {name: _name(value) if isinstance(value, str) else value for name, value in part.items() if name != "config"}


def _name(value: str) -> str:
    return Path(value).name if Path(value).is_absolute() else value


def _metrics(
    folder: RunFolder, calibrated: Calibrated, crossval: RunFolder | None, facets: Collection[str]
) -> dict[str, Any]:
    names = [name for name in MEASURED if folder.predictions(name).is_file()]
    if not names and crossval is None and folder.predictions("validation").is_file():
        names = ["validation"]
    found = {name: run_metrics(load_predictions(folder.predictions(name)), calibrated, facets=facets) for name in names}
    if crossval is not None:
        found |= crossval_metrics(folder, crossval, facets=facets)
    listed = {name for metrics in found.values() for name in metrics["facets"]}
    if missing := sorted(set(facets) - listed):
        others = sorted(listed.union(*(metrics["facets_held_back"] for metrics in found.values())))
        raise RunError(
            f"--facet {missing[0]}: expected a column with 2 to {FACET_VALUES} values in the measured rows, found none "
            f"of that name; there are {', '.join(others) or 'no others'}"
        )
    return found
