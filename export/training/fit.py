"""Trains a run. Goes in: a configuration. Goes out: a run folder, complete, or one that can be resumed.

The test split is never opened here.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from export.data import SPLIT_NAMES, Dataset, Split
from export.data.preparing.access import Splits
from export.data.preparing.tokens import count_words
from export.evaluation.calibrated import fit as fit_calibration
from export.evaluation.calibrated import shortages
from export.evaluation.predictions import Predictions
from export.evaluation.thresholds import Rule, RuleError, parse_rule
from export.files import write_whole
from export.models.encoders import coverage, make_tokenizer
from export.models.model import FusionModel, ModelSpec, build_model
from export.training.claim import claim
from export.training.config import ConfigError, TrainConfig, open_rows, require_sides
from export.training.doubts import doubts_of_result, doubts_of_rows
from export.training.features import teach_guide
from export.training.gradient import require_precision, train_by_gradient
from export.training.load import (
    ModelFile,
    content_sha256,
    keep_of,
    open_splits,
    require_same_rows,
    rows_sha256,
    write_model,
)
from export.training.predict import Mode, across_sequences, as_predictions, predict
from export.training.probe import Inner, fit_probe, judge_inner
from export.training.run import RunError, RunFolder, is_finished, write_json
from stream_app.bundle.manifest import TextSpec
from stream_app.bundle.text import Tokenizer

Say = Callable[[str], None]


def fit(config: TrainConfig, run: RunFolder, *, say: Say, resume: bool = False, shows_progress: bool = False) -> None:
    """Train, calibrate on validation rows, and leave all that evaluation and export read.

    Args:
        config: What to do.
        run: Where; the folder must not exist, unless a training that was cut short is resumed.
        say: Told one line after each step.
        resume: Go on from the last whole epoch; the configuration must be that of the run.
        shows_progress: Show a bar on standard error.

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
        validation = splits.open("validation", purpose="calibration")
        say(
            f"read {len(train)} training and {len(validation)} validation rows: {dataset.task}, "
            f"{', '.join(dataset.labels)}"
        )
        for doubt in doubts_of_rows(train, validation, dataset, config.fusion.kind):
            say(f"WARNING: {doubt}")
        write_json(run.dataset, _about(dataset, config))
        torch.manual_seed(config.seed)
        model, tokenizer, text = _build(config, dataset, train, run)
        known = _known_words(model, train, text, say)
        words = Tokenizer(tokenizer, text), text
        told, judged = _learn(config, run, model, splits, words, say=say, shows_progress=shows_progress)
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
    """Take the folder; give it back if what was asked for turns out not to fit, so that it can be asked for better."""
    claim(config, run, resume=resume)
    if is_finished(run):
        raise RunError(f"{run.path}: expected a training that was cut short, found one that is finished")
    try:
        yield
    except ValueError:  # of parts, weights or data; an interruption or a full disk can be resumed
        if not resume and not run.checkpoints.exists():
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _learn(
    config: TrainConfig,
    run: RunFolder,
    model: FusionModel,
    splits: Splits,
    words: tuple[Tokenizer, TextSpec],
    *,
    say: Say,
    shows_progress: bool,
) -> tuple[dict[str, Any], dict[Mode, Predictions]]:
    """Train in place; return how it went, and the predictions by which it is calibrated.

    Those in mode `sequences` only of a probe, whose final layers have learned from the validation rows; another model
    can judge them whenever somebody asks.
    """
    keep = keep_of(config, run)
    train = splits.open("train", purpose="training")
    if config.recipe.method == "probe":
        everything = splits.open("train", "validation", purpose="training")
        told, inner = fit_probe(model, everything, words, config=config, keep=keep, say=say)
        return told, _judged_inside(model, inner, everything, run.path.name)
    validation = splits.open("validation", purpose="calibration")
    is_guided = teach_guide(model, train, keep)
    rows = train, validation, *words
    told = train_by_gradient(config, run, model, rows, keep, shows_progress=shows_progress)
    predictions = predict(
        model,
        validation,
        run.tokenizer.read_bytes(),
        text=words[1],
        name=run.path.name,
        split_name="validation",
        keep=keep,
    )
    return told | ({"is_guided": True} if is_guided else {}), {"rows": predictions}


def _judged_inside(model: FusionModel, inner: Inner, split: Split, name: str) -> dict[Mode, Predictions]:
    """Return what layers said of rows that they had not learned from, and of their texts with all their pictures."""
    pairs = across_sequences(split)
    rows = judge_inner(model, inner, split)
    sequences = judge_inner(model, inner, pairs.rows, pictures=pairs.pictures, texts=pairs.texts)
    places = np.arange(len(split), dtype=np.int64)
    return {
        "rows": as_predictions(model, split, rows, places, name=name, split_name="validation"),
        "sequences": as_predictions(model, pairs.rows, sequences, pairs.texts, name=name, split_name="validation"),
    }


def _about(dataset: Dataset, config: TrainConfig) -> dict[str, Any]:
    sizes = {name: sum(row.split == name for row in dataset.rows) for name in SPLIT_NAMES}
    return {
        "name": Path(config.data.path).resolve().name,
        "task": dataset.task,
        "labels": dataset.labels,
        "negative": dataset.negative,
        "sha256": rows_sha256(dataset),
        "content_sha256": content_sha256(dataset),
        "sizes": sizes,
    }


def _known_words(model: FusionModel, train: Split, text: TextSpec, say: Say) -> dict[str, Any]:
    """Say how much of the training texts a file of word vectors knows; nothing where there is no such file."""
    if not model.text.known_words:
        return {}
    found = coverage(count_words(train.texts, spec=text), model.text.known_words)
    say(f"{found}; text.vocabulary holds {model.spec.text.vocabulary} words")
    return {"vectors": {name: getattr(found, name) for name in ("words", "known", "uses", "known_uses")}}


def _build(config: TrainConfig, dataset: Dataset, train: Split, run: RunFolder) -> tuple[FusionModel, bytes, TextSpec]:
    texts = [text for text in train.texts if text]
    tokenizer, text = make_tokenizer(config.text, texts or ["-"])
    spec = ModelSpec(
        task=dataset.task, labels=dataset.labels, image=config.image, text=config.text, fusion=config.fusion
    )
    model = build_model(spec, tokenizer=tokenizer)
    run.tokenizer.write_bytes(tokenizer)
    write_model(run.model, ModelFile(spec=model.spec, text=text))
    return model, tokenizer, text
