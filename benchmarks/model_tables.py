"""`python -m benchmarks.model_tables`: every fusion on one data set against both single sides, as a table.

Trains what is not trained yet (a kill costs one training), compares all on the same rows, exports each and times its
graphs. With --page the table replaces the one between the marks of that page.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np

from benchmarks import demo_bundle
from benchmarks.measured import this_machine
from stream_app.bundle.load import load_bundle
from stream_app.bundle.manifest import Presence
from vigil_export.evaluation.calibrated import Calibrated, load_calibrated
from vigil_export.evaluation.compare import Comparison, compare
from vigil_export.evaluation.intervals import RESAMPLES, Resampling
from vigil_export.evaluation.metrics import FIGURES, auroc
from vigil_export.evaluation.pool import FOLD
from vigil_export.evaluation.predictions import Predictions, load_predictions
from vigil_export.evaluation.report.page import span
from vigil_export.packing.bench import measure_bundle
from vigil_export.packing.bundle import Order, make_bundle
from vigil_export.packing.source import open_source
from vigil_export.training.config import read_config
from vigil_export.training.crossval import crossval
from vigil_export.training.fit import fit
from vigil_export.training.predict import predict_run
from vigil_export.training.run import RunFolder

_CONFIGS = Path(__file__).parent / "models"
_BATCH = 16
SetName = Literal["site", "easy-vqa", "fight-uca"]

_GRADIENT: dict[str, Any] = {
    "recipe.method": "gradient",
    "image.features": 64,
    "text.features": 64,
    "fusion.width": 64,
    "fusion.dropout": 0.5,
    "recipe.epochs": 30,
    "recipe.patience": 6,
    "recipe.rate": 5e-4,
    "recipe.weight_decay": 0.1,
}
_TOKENS = _GRADIENT | {"image.pooling": "own", "image.stage": -1, "image.grid": 4, "fusion.layers": 1}


def _decisions(rules: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {f"decision, {rule}": {"fusion.kind": "decision", "fusion.rule": rule} for rule in rules}


#: Over tokens a head costs most of a training: 4 x 4 cells and a narrow head.
_NARROW: dict[str, Any] = {"image.grid": 4, "fusion.width": 64, "fusion.layers": 1}
_ALL: dict[str, dict[str, Any]] = {
    **{kind: {"fusion.kind": kind} for kind in ("concat", "gated", "product", "bilinear")},
    **{kind: _NARROW | {"fusion.kind": kind} for kind in ("attention", "transformer")},
    **_decisions(("average", "weighted", "stack", "saturating")),
    **{kind: {"fusion.kind": kind} for kind in ("image_only", "text_only")},
}

#: Name of a model -> what differs from the configuration of its data set.
VARIANTS: dict[SetName, dict[str, dict[str, Any]]] = {
    "site": _ALL,
    "easy-vqa": _ALL,
    "fight-uca": {
        **_decisions(("average", "weighted", "stack", "saturating")),
        **{kind: _GRADIENT | {"fusion.kind": kind} for kind in ("concat", "gated", "product", "bilinear")},
        **{kind: _TOKENS | {"fusion.kind": kind} for kind in ("attention", "transformer")},
        **{kind: _GRADIENT | {"fusion.kind": kind} for kind in ("image_only", "text_only")},
    },
}
#: Whose sides are baselines too: a linear layer a side, each judged by itself.
_WITH_SIDES: dict[SetName, str] = {"site": "", "easy-vqa": "", "fight-uca": "decision, saturating"}


_CHOSEN = (
    "It was chosen by this table, on rows of another and smaller draw of the same kind; the figures of this bundle are "
    "those above."
)


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model of a table.

    Attributes:
        name: In the table.
        run: The run, or the cross-validation.
        whole: A run with weights: the same, or the first part.
        seconds: Of one training, by the clock.
        cpu_seconds: Of one training, of all cores together.
    """

    name: str
    run: RunFolder
    whole: RunFolder
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model costs: weights, bytes of its bundle, and how fast its graphs run on one thread of the CPU."""

    parameters: int
    bundle_bytes: int
    pairs_per_s: float
    fused_per_s: float


def main() -> None:
    """Train, compare, time, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_tables", description=__doc__)
    parser.add_argument("set", choices=list(VARIANTS), help="which data set")
    parser.add_argument("--data", type=Path, required=True, help="its folder")
    parser.add_argument("--runs", type=Path, required=True, help="where runs are kept; finished ones are not repeated")
    parser.add_argument("--image-weights", type=Path, help="weights of the backbone, a safetensors file")
    parser.add_argument("--sentences", help="the sentence encoder: a folder or a name on the hub")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these models alone")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each model, for the spread")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch in training")
    parser.add_argument("--page", type=Path, help="write the table into this page, between its marks")
    parser.add_argument("--card", type=Path, help="write it into this file, as a section of a model card")
    options = parser.parse_args()
    if unknown := sorted(set(options.only or ()) - set(VARIANTS[options.set])):
        raise SystemExit(f"--only: expected one of {', '.join(VARIANTS[options.set])}, found {', '.join(unknown)}")
    chosen = {name: VARIANTS[options.set][name] for name in options.only or VARIANTS[options.set]}
    paths = {"data.path": options.data, "image.weights": options.image_weights, "text.pretrained": options.sentences}
    given = {key: str(value) for key, value in paths.items() if value is not None}
    given |= {"data.cache": str(options.runs / "cache"), "recipe.threads": options.threads}
    models = [
        _trained(options.set, name, given | changes | {"seed": seed}, options.runs)
        for name, changes in chosen.items()
        for seed in range(options.seeds)
    ]
    first = models[:: options.seeds]
    costs = {model.name: _cost(model) for model in first}
    tables = [_table(options.set, mode, first, costs) for mode in _modes(options.set)]
    text = "\n\n".join((*_spread(models, options.seeds), *tables, _about(options.threads)))
    print(text)
    if options.card:
        options.card.write_text(f"## Why this fusion\n\n{_CHOSEN}\n\n{text}\n", "utf-8")
    if options.page:
        _put(options.page, options.set, text)


def _config_of(name: SetName) -> Path:
    return demo_bundle.CONFIG if name == "site" else _CONFIGS / f"{name}.toml"


def _trained(name: SetName, model: str, changes: dict[str, Any], runs: Path) -> Model:
    seed = changes["seed"]
    run = RunFolder(runs / name / (model.replace(", ", "-") + (f"-seed{seed}" if seed else "")))
    config = read_config(_config_of(name), changes)
    is_whole = not config.data.fold_column
    if not _is_finished(run):
        print(f"--- {run.path.name}", flush=True)
        train = fit if is_whole else crossval
        train(config, run, say=lambda words: print(words, flush=True), resume=run.config.is_file())
    if is_whole and not run.predictions("test").is_file():
        predict_run(run, "test").save(run.predictions("test"))
    parts = [run] if is_whole else [RunFolder(path) for path in sorted(run.path.glob("fold-*"))]
    times = [fmean(float(_state(part)[key]) for part in parts) for key in ("seconds", "cpu_seconds")]
    return Model(model, run, parts[0], *times)


def _is_finished(run: RunFolder) -> bool:
    return run.state.is_file() and bool(_state(run)["finished"])


def _state(run: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.state.read_bytes())
    return found


def _modes(name: SetName) -> tuple[tuple[str, str], ...]:
    one = ("test", "Each row by itself")
    return (one, ("test-sequences", "Each report with all frames of its clip")) if name == "fight-uca" else (one,)


def _opened(run: RunFolder, split: str) -> tuple[Predictions, Calibrated]:
    return load_predictions(run.predictions(split)), load_calibrated(run.calibration)


def _compared(name: SetName, split: str, models: Sequence[Model]) -> Comparison:
    runs = [_opened(model.run, split) for model in models]
    runs = [(replace(one, name=model.name), its) for (one, its), model in zip(runs, models, strict=True)]
    for model, (one, its) in zip(models, tuple(runs), strict=True):
        if model.name == _WITH_SIDES[name]:
            runs += [(_alone(one, side), its) for side in ("image", "text")]
    return compare(runs)


def _alone(whole: Predictions, side: Presence) -> Predictions:
    """Return a fusion's judgements of one side as those of a run that looks at nothing else."""
    nothing = np.full_like(whole.logits[side], np.nan)
    other: Presence = "text" if side == "image" else "image"
    logits: dict[Presence, Any] = {"both": whole.logits[side], side: whole.logits[side], other: nothing}
    return replace(whole, name=f"{side} alone, linear", logits=logits, looks_at=side)


def _table(name: SetName, mode: tuple[str, str], models: Sequence[Model], costs: dict[str, Cost]) -> str:
    split, title = mode
    found = _compared(name, split, models)
    scored = found.contenders[0].scored
    gains = {(gain.fusion, gain.figure): span(gain.interval, signed=True) for gain in found.gains}
    of = {model.name: model for model in models}
    heads = ("model", "accuracy", "AUROC", "gain in accuracy", "gain in AUROC", "weights", "bundle", "training")
    lines = [
        f"**{title}**: {len(scored):,} decisions of {len(np.unique(scored.groups)):,} groups. {_headline(name, found)}",
        "",
        f"| {' | '.join((*heads, 'pairs/s', 'fused/s'))} |",
        f"|{'---|' * (len(heads) + 2)}",
    ]
    ordered = sorted(found.contenders, key=lambda one: -found.figures[one.name]["AUROC"].value)
    for one in ordered:
        figures = found.figures[one.name]
        cells = [one.name, span(figures["accuracy"]), span(figures["AUROC"])]
        cells += [gains.get((one.name, figure), "") for figure in ("accuracy", "AUROC")]
        lines.append(f"| {' | '.join((*cells, *_cells(of.get(one.name), costs)))} |")
    return "\n".join((*lines, *_chosen_elsewhere(found), *(f"\n{note}" for note in found.notes)))


def _chosen_elsewhere(found: Comparison) -> Iterator[str]:
    """Say what choosing from the table is worth: each part judged by the fusion that is best on the other parts."""
    fusions = [one for one in found.contenders if one.sides == "both"]
    parts = fusions[0].scored.facets.get(FOLD) if fusions else None
    if parts is None or len(fusions) < 2:
        return
    micro, chosen = np.empty_like(fusions[0].scored.micro), Counter[str]()
    for part in np.unique(parts):
        elsewhere = parts != part
        rest = [one.scored.take(elsewhere) for one in fusions]
        best = fusions[int(np.argmax([auroc(scored)(np.ones(len(scored))) for scored in rest]))]
        micro[~elsewhere] = best.scored.micro[~elsewhere]
        chosen[best.name] += 1
    scored, drawn = replace(fusions[0].scored, micro=micro), Resampling(RESAMPLES)
    figures = [f"{name} {span(drawn(FIGURES[name](scored), scored.groups).interval)}" for name in ("accuracy", "AUROC")]
    names = ", ".join(f"{name} for {count}" for name, count in chosen.most_common())
    yield f"\nWhere each part is judged by the fusion that is best on the other parts ({names}): {', '.join(figures)}."


def _headline(name: SetName, found: Comparison) -> str:
    """Return the gain of the fusion that the data set's configuration names, not of the one that came out best."""
    fusion = read_config(_config_of(name)).fusion
    configured = f"decision, {fusion.rule}" if fusion.kind == "decision" else fusion.kind
    sentences = (gain.sentence for gain in found.gains if gain.fusion == configured)
    return next(sentences, found.first_line)


def _cells(model: Model | None, costs: dict[str, Cost]) -> tuple[str, ...]:
    if model is None:
        return ("",) * 5
    cost = costs[model.name]
    return (
        f"{cost.parameters / 1e6:.2f} M",
        f"{cost.bundle_bytes / 1e6:.1f} MB",
        f"{model.seconds:.0f} s ({model.cpu_seconds:.0f})",
        f"{cost.pairs_per_s:,.0f}",
        f"{cost.fused_per_s:,.0f}",
    )


def _cost(model: Model) -> Cost:
    kept = model.run.path / "cost.json"
    if not kept.is_file():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "bundle"
            make_bundle(open_source(model.whole), out, Order(name="table", version="1"), say=lambda _: None)
            size = sum(file.stat().st_size for file in out.iterdir())
            report = measure_bundle(
                load_bundle(out), providers=("cpu",), batches=(_BATCH,), threads=1, repeats=15, say=lambda _: None
            )
        rates = {figure.what: figure.per_s for figure in report.figures}
        parameters = int(_state(model.whole)["parameters"])
        kept.write_text(json.dumps([parameters, size, rates["pair"], rates["fuse"]]), "utf-8")
    return Cost(*json.loads(kept.read_bytes()))


def _spread(models: Sequence[Model], seeds: int) -> Iterator[str]:
    """Say how much depends on the seed: accuracy and time, minimum / median / maximum."""
    if seeds == 1:
        return
    for name in dict.fromkeys(model.name for model in models):
        same = [model for model in models if model.name == name]
        found = [compare([_opened(model.run, "test")], resamples=1) for model in same]
        right = [one.figures[one.contenders[-1].name]["accuracy"].value for one in found]
        seconds = [model.seconds for model in same]
        words = [" / ".join(f"{one(values):.4g}" for one in (min, np.median, max)) for values in (right, seconds)]
        yield f"{name}, {seeds} seeds: accuracy {words[0]}, training {words[1]} s (minimum / median / maximum)."


def _about(threads: int) -> str:
    machine = this_machine()
    return (
        f"Intervals are of 95 %, by drawing groups. Training: seconds by the clock on {threads} of {machine.cores} "
        f"cores of a machine shared with other work ({machine.cpu}), in brackets seconds of work of all cores; "
        "the mean of the parts where there are some; what a frozen encoder gives is kept and counts for the first "
        f"only. Pairs/s: both encoders and the head, batches of {_BATCH}, one thread, ONNX Runtime on the CPU; "
        "fused/s: the head alone, over what is encoded already."
    )


def _put(page: Path, name: str, text: str) -> None:
    before, begin, rest = page.read_text("utf-8").partition(f"<!-- {name}: begin -->\n")
    _, end, after = rest.partition(f"<!-- {name}: end -->")
    if not end:
        raise SystemExit(f"{page}: expected the marks of {name}, found none")
    page.write_text(f"{before}{begin}{text}\n{end}{after}", "utf-8")


if __name__ == "__main__":
    main()
