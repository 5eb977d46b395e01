"""Lets a model judge a split. In: a model and rows. Out: `Predictions`, from which all figures come.

Two modes. `rows`: each row as it is. `sequences`: each text with every picture of its sequence; those results are one
decision, as the live system combines the results of a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stream_app.bundle.manifest import PRESENCES, Presence, TextSpec
from stream_app.bundle.text import Tokenizer
from vigil_export.data import Split, SplitName
from vigil_export.evaluation.predictions import Predictions
from vigil_export.models.model import FusionModel
from vigil_export.training.batches import Batch, Batches
from vigil_export.training.frozen import Keep
from vigil_export.training.load import load_run
from vigil_export.training.rows import keep_of
from vigil_export.training.run import RunError, RunFolder

Mode = Literal["rows", "sequences"]
_BATCH = 128
_PICTURES = 16  # at a time; large backbones are slower for many at once on a CPU


def predict_run(run: RunFolder, name: SplitName, mode: Mode = "rows") -> Predictions:
    """Judge a split of the data that a run was trained on.

    Raises:
        RunError: The folder is not one of a finished run, or its data has changed; or the run is a probe and the split
            validation, from which it learned: only its training could judge those rows.
        DataError: The data set cannot be read.
    """
    loaded = load_run(run)
    if loaded.config.recipe.method == "probe" and name == "validation":
        raise RunError(
            f"{run.path}: expected the predictions for validation rows that training a probe leaves in predictions/, "
            "found none; its final layers have learned from these rows: train it again"
        )
    split = loaded.open(name, purpose="evaluation")
    return predict(
        loaded.model,
        split,
        loaded.tokenizer,
        text=loaded.text,
        name=run.path.name,
        split_name=name,
        mode=mode,
        keep=keep_of(loaded.config, run),
    )


def predict(
    model: FusionModel,
    split: Split,
    tokenizer: bytes,
    *,
    text: TextSpec,
    name: str,
    split_name: SplitName,
    mode: Mode = "rows",
    keep: Keep | None = None,
) -> Predictions:
    """Judge rows with each side and with what they have.

    Args:
        model: A trained model; it is put into evaluation.
        split: n rows.
        tokenizer: The bytes of tokenizer.json.
        text: Bounds and padding of texts.
        name: Of the run.
        split_name: Which split it is; nothing may be fitted to the test split.
        mode: See the module.
        keep: Where to keep what frozen encoders give.

    Returns:
        Raw logits, in the order of the rows; in `sequences` in the order of the texts, and the id of a result is that
        of its row with the picture's row behind it.
    """
    decisions = None
    if mode == "sequences":
        pairs = across_sequences(split)
        split, decisions = pairs.rows, pairs.texts
    batches = Batches(split, Tokenizer(tokenizer, text), text, batch=_BATCH)
    logits = _logits(model, len(split), batches.keep(model, keep) if keep else batches)
    task, labels = model.spec.task, model.spec.labels
    return Predictions.of(
        split, logits, task=task, labels=labels, name=name, decisions=decisions, split_name=split_name
    )


@dataclass(frozen=True, slots=True)
class Pairs:
    """Texts beside pictures of their sequences.

    Attributes:
        rows: k rows, one a pair.
        texts: int64 [k], which row of the split each text is of; the pairs of one make a decision.
        pictures: int64 [k], which row each picture is of.
    """

    rows: Split
    texts: npt.NDArray[np.int64]
    pictures: npt.NDArray[np.int64]


def across_sequences(split: Split) -> Pairs:
    """Pair each text with every picture of its sequence.

    Args:
        split: n rows.

    Returns:
        The pairs; rows without a text, or without a sequence, stay as they are.
    """
    pictures: dict[int, list[int]] = {}
    for row, (sequence, image) in enumerate(zip(split.sequences.tolist(), split.image_of.tolist(), strict=True)):
        if sequence >= 0 and image >= 0:
            pictures.setdefault(sequence, []).append(row)
    texts, images = [], []
    for row, sequence in enumerate(split.sequences.tolist()):
        partners = pictures.get(sequence, []) if split.texts[row] else []
        texts += [row] * max(1, len(partners))
        images += partners or [row]
    texts_of, pictures_of = np.array(texts, np.int64), np.array(images, np.int64)
    ids = tuple(
        split.ids[text] if text == image else f"{split.ids[text]} {split.ids[image]}"
        for text, image in zip(texts, images, strict=True)
    )
    rows = replace(split.take(texts_of), image_of=split.image_of[pictures_of], ids=ids)
    return Pairs(rows, texts_of, pictures_of)


def encoded(model: FusionModel, batches: Batches) -> Iterator[tuple[Batch, Tensor, Tensor]]:
    """Encode rows with a model, which is put into evaluation mode, on the device where it is.

    Yields:
        Each batch, and the features of its rows' pictures and texts, float32 [b, *shape]; of a side that a row lacks,
        anything.
    """
    model.eval()
    device = next(model.parameters()).device
    with torch.inference_mode():
        for one in batches.in_order():
            batch = one.to(device)
            seen = torch.cat([model.encode_images(some) for some in torch.split(batch.images, _PICTURES)])
            yield batch, seen[batch.image_of], model.encode_texts(batch.tokens, batch.length)[batch.text_of]


def _logits(model: FusionModel, count: int, batches: Batches) -> dict[Presence, npt.NDArray[np.float32]]:
    """Return raw logits for each presence; NaN where the only side that is left is one that the row lacks."""
    shape = (count, len(model.spec.labels))
    found: dict[Presence, npt.NDArray[np.float32]] = {one: np.full(shape, np.nan, np.float32) for one in PRESENCES}
    for batch, seen, read in encoded(model, batches):
        image, text, none = batch.has_image, batch.has_text, torch.zeros_like(batch.has_image)
        views = {"both": (image, text), "image": (image, none), "text": (none, text)}
        for presence in PRESENCES:
            flags = views[presence]
            with torch.inference_mode():
                logits = model.head(seen, read, *flags).float().cpu().numpy()
            has_any = ((flags[0] + flags[1]) > 0).cpu().numpy()
            found[presence][batch.rows[has_any]] = logits[has_any]
    return found
