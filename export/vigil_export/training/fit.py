"""Trains a run. In: a configuration. Out: a run folder, complete, or one that can be resumed.

`fit` is the story; each step is explained in the file that it is called from. The test split is never opened here.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import Tokenizer
from stream_app.files import write_whole
from vigil_export.data import Dataset, Split
from vigil_export.data.preparing.access import Splits
from vigil_export.data.preparing.tokens import count_words
from vigil_export.data.rows import Progress
from vigil_export.evaluation.calibrated import fit as fit_calibration
from vigil_export.evaluation.calibrated import shortages
from vigil_export.evaluation.predictions import Predictions
from vigil_export.evaluation.thresholds import Rule, RuleError, parse_rule
from vigil_export.models.encoders import coverage, make_tokenizer
from vigil_export.models.model import FusionModel, ModelSpec, build_model
from vigil_export.training.batches import Batches
from vigil_export.training.claim import claim
from vigil_export.training.config import ConfigError, TrainConfig
from vigil_export.training.doubts import doubts_of_result, doubts_of_rows
from vigil_export.training.guide import teach_guide
from vigil_export.training.load import ModelFile, write_model
from vigil_export.training.loop import require_precision, train_by_gradient
from vigil_export.training.predict import Mode, across_sequences, predict
from vigil_export.training.probe import fit_probe, judge_inner
from vigil_export.training.rows import (
    content_sha256,
    keep_of,
    open_rows,
    open_splits,
    require_same_rows,
    require_sides,
    rows_sha256,
)
from vigil_export.training.run import RunError, RunFolder, Say, is_finished, write_json


def fit(
    config: TrainConfig, run: RunFolder, *, say: Say, resume: bool = False, progress: Progress | None = None
) -> None:
    """Train, calibrate on validation rows, and leave all that evaluation and export read.

    Args:
        config: What to do.
        run: Where; the folder must not exist, unless a training that was cut short is resumed.
        say: Told one line after each step.
        resume: Go on from the last whole epoch; the configuration must be that of the run.
        progress: Told how far the epochs are.

    Raises:
        RunError: The folder exists already, or is none that can be resumed.
        ConfigError: The configuration does not fit the data or the device, or is another than that of the run.
        DataError: The data cannot be used.
        TrainingError: The loss or a logit is no number, or the memory is too small.
        OSError: The disk is full, or refuses.
        KeyboardInterrupt: It was interrupted; it can be resumed.
    """
    begun, worked = time.monotonic(), time.process_time()
    rule = parsed_rule(config)
    require_precision(config.recipe)
    dataset = open_rows(config)
    require_sides(dataset, config)
    with _claimed(config, run, resume=resume):
        if resume and run.dataset.is_file():  # else it was cut short before it wrote down which rows it has
            require_same_rows(dataset, run)
        splits = open_splits(config, dataset, run)
        train = splits.open("train", purpose="training")
        _say_what_is_doubtful(train, splits, config, say)
        write_json(run.dataset, _about(dataset, splits, config))
        model, text, known = _build(config, dataset, train, run, say)
        learn = _probe if config.recipe.method == "probe" else _descend
        told, judged = learn(config, run, model, splits, text, say=say, progress=progress)
    predictions = judged["rows"]
    doubts = doubts_of_result(predictions, train.truth, config.recipe)
    write_whole(run.weights, save({name: value.contiguous() for name, value in model.state_dict().items()}))
    for mode, found in judged.items():
        found.save(run.predictions("validation" if mode == "rows" else f"validation-{mode}"))
    calibrated = fit_calibration(predictions, config.recipe.calibration, rule, silent=dataset.negative)
    calibrated.save(run.calibration)
    for doubt in (*doubts, *shortages(predictions, calibrated)):
        say(f"WARNING: {doubt}")
    state = {
        "finished": True,
        "method": config.recipe.method,
        **told,
        **known,
        **({"doubts": doubts} if doubts else {}),
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(time.process_time() - worked, 1),
        "seed": config.seed,
        "torch": str(torch.__version__),
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }
    write_json(run.state, state)
    say(f"{run.path}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items()))


def parsed_rule(config: TrainConfig) -> Rule:
    """Return the rule of thresholds.

    Raises:
        ConfigError: It is none.
    """
    try:
        return parse_rule(config.recipe.thresholds)
    except RuleError as error:
        raise ConfigError(f"recipe.thresholds: {error}") from error


@contextmanager
def _claimed(config: TrainConfig, run: RunFolder, *, resume: bool) -> Iterator[None]:
    """Claim the folder; release it if the configuration turns out not to fit, so that a better one can claim it."""
    claim(config, run, resume=resume)
    if is_finished(run):
        raise RunError(f"{run.path}: expected an interrupted training, found a finished one")
    try:
        yield
    except ValueError:  # of parts, weights or data; an interruption or a full disk can be resumed
        if not resume and not run.checkpoints.exists():
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _say_what_is_doubtful(train: Split, splits: Splits, config: TrainConfig, say: Say) -> None:
    dataset, validation = splits.dataset, splits.open("validation", purpose="calibration")
    say(
        f"read {len(train)} training and {len(validation)} validation rows: {dataset.task}, {', '.join(dataset.labels)}"
    )
    for doubt in doubts_of_rows(train, validation, dataset, config.fusion.kind):
        say(f"WARNING: {doubt}")


def _about(dataset: Dataset, splits: Splits, config: TrainConfig) -> dict[str, Any]:
    return {
        "name": Path(config.data.path).resolve().name,
        "task": dataset.task,
        "labels": dataset.labels,
        "negative": dataset.negative,
        "sha256": rows_sha256(dataset),
        "content_sha256": content_sha256(dataset),
        "sizes": splits.sizes,
    }


def _build(
    config: TrainConfig, dataset: Dataset, train: Split, run: RunFolder, say: Say
) -> tuple[FusionModel, TextSpec, dict[str, Any]]:
    """Make tokenizer and model and write down what they are made of; say how many words a vector file covers."""
    torch.manual_seed(config.seed)
    tokenizer, text = make_tokenizer(config.text, [text for text in train.texts if text] or ["-"])
    spec = ModelSpec(
        task=dataset.task, labels=dataset.labels, image=config.image, text=config.text, fusion=config.fusion
    )
    model = build_model(spec, tokenizer=tokenizer)
    run.tokenizer.write_bytes(tokenizer)
    write_model(run.model, ModelFile(spec=model.spec, text=text))
    if not model.text.known_words:
        return model, text, {}
    found = coverage(count_words(train.texts, spec=text), model.text.known_words)
    say(f"{found}; text.vocabulary holds {model.spec.text.vocabulary} words")
    return model, text, {"vectors": {name: getattr(found, name) for name in ("words", "known", "uses", "known_uses")}}


_Learned = tuple[dict[str, Any], dict[Mode, Predictions]]
"""How it went, for `state.json`, and the predictions by which the run is calibrated."""


def _descend(
    config: TrainConfig,
    run: RunFolder,
    model: FusionModel,
    splits: Splits,
    text: TextSpec,
    *,
    say: Say,
    progress: Progress | None,
) -> _Learned:
    """Train in place by gradient descent; judge the validation rows with the best weights."""
    keep, tokenizer = keep_of(config, run), run.tokenizer.read_bytes()
    train = splits.open("train", purpose="training")
    validation = splits.open("validation", purpose="calibration")
    is_guided = teach_guide(model, train, keep)
    rows = train, validation, Tokenizer(tokenizer, text), text
    told = train_by_gradient(config, run, model, rows, keep, say=say, progress=progress)
    name = run.path.name
    judged = predict(model, validation, tokenizer, text=text, name=name, split_name="validation", keep=keep)
    return told | ({"is_guided": True} if is_guided else {}), {"rows": judged}


def _probe(
    config: TrainConfig,
    run: RunFolder,
    model: FusionModel,
    splits: Splits,
    text: TextSpec,
    *,
    say: Say,
    progress: Progress | None,
) -> _Learned:
    """Fit the head in place, to the validation rows as well; return the judgements of layers that had not seen them.

    Of their texts with all pictures of their sequence too: the final layers, which have seen them, are not to be asked.
    """
    del progress
    rows, keep = splits.open("train", "validation", purpose="training"), keep_of(config, run)
    is_guided = teach_guide(model, rows, keep)
    tokenizer = Tokenizer(run.tokenizer.read_bytes(), text)
    batches = Batches(rows, tokenizer, text, batch=config.recipe.batch)
    told, inner = fit_probe(model, rows, batches.keep(model, keep), config=config, say=say)
    pairs, spec = across_sequences(rows), model.spec
    sequences = judge_inner(model, inner, pairs.rows, pictures=pairs.pictures, texts=pairs.texts)
    about: dict[str, Any] = {"task": spec.task, "labels": spec.labels, "name": run.path.name}
    about["split_name"] = "validation"
    return {"is_guided": is_guided} | told, {
        "rows": Predictions.of(rows, judge_inner(model, inner, rows), **about),
        "sequences": Predictions.of(pairs.rows, sequences, decisions=pairs.texts, **about),
    }
