"""How good and how fast the graphs of a bundle are. In: graphs, labelled rows. Out: figures.

Everything runs as in serving: its preparation of texts, its sessions, its calibration to micro-logits. Figures of a
variant are of single rows, each judged with what it has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stream_app.bundle.graphs import Graphs
from stream_app.bundle.load import Bundle
from stream_app.bundle.manifest import IMAGE_ENCODER, PRESENCES, TEXT_ENCODER, Calibration, Manifest, Presence
from stream_app.bundle.text import Tokenizer
from vigil_export.data import Split
from vigil_export.evaluation.metrics import accuracy, auroc, balanced_accuracy, calibration_error
from vigil_export.evaluation.predictions import Predictions
from vigil_export.evaluation.scores import score
from vigil_export.evaluation.variants import Variant, VariantFigures
from vigil_export.packing.bench import median_s
from vigil_export.packing.correction import corrected
from vigil_export.packing.variants import Feed

_BATCH = 32
_REPEATS = 5


def in_memory(manifest: Manifest, graphs: Mapping[str, bytes], tokenizer: bytes) -> Bundle:
    """Return a bundle that is not on disk yet, to run its graphs; its hashes are not checked."""
    return Bundle(
        path=Path(),
        manifest=manifest,
        sha256="",
        graphs=dict(graphs),
        tokenizer=Tokenizer(tokenizer, manifest.text),
        manifest_data=b"",
        signature=None,
    )


def predict(bundle: Bundle, graphs: Graphs, split: Split) -> Predictions:
    """Score rows with the graphs.

    Args:
        bundle: Its manifest names the labels, its tokenizer reads the texts.
        graphs: Its sessions.
        split: n rows.

    Returns:
        Raw logits for each presence; NaN where a row lacks the side.

    Raises:
        GraphError: A run fails.
    """
    labels, n = bundle.manifest.label_names, len(split)
    logits: dict[Presence, npt.NDArray[np.float32]] = {
        presence: np.full((n, len(labels)), np.nan, np.float32) for presence in PRESENCES
    }
    features = bundle.manifest.features
    for start in range(0, n, _BATCH):
        at = np.arange(start, min(start + _BATCH, n))
        has_image, has_text = split.has_image[at], split.has_text[at]
        seen = np.zeros((len(at), *features.image), np.float32)
        read = np.zeros((len(at), *features.text), np.float32)
        if has_image.any():
            seen[has_image] = graphs.encode_images(split.images[split.image_of[at[has_image]]])
        if has_text.any():
            texts = [split.texts[row] for row in at[has_text]]
            read[has_text] = graphs.encode_texts(*bundle.tokenizer.encode_batch(texts))
        for presence, (image, text) in _sides(has_image, has_text):
            judged = image | text
            if judged.any():
                flags = (image[judged].astype(np.float32), text[judged].astype(np.float32))
                logits[presence][at[judged]] = graphs.fuse(seen[judged], read[judged], *flags)
    manifest = bundle.manifest
    return Predictions.of(split, logits, task=manifest.task, labels=labels, name=manifest.name)


_Bools = npt.NDArray[np.bool_]


def _sides(has_image: _Bools, has_text: _Bools) -> Iterator[tuple[Presence, tuple[_Bools, _Bools]]]:
    none = np.zeros_like(has_image)
    yield "both", (has_image, has_text)
    yield "image", (has_image, none)
    yield "text", (none, has_text)


def measure_variant(
    variant: Variant, bundle: Bundle, split: Split, *, reference: Predictions | None
) -> tuple[VariantFigures, Predictions, Calibration]:
    """Measure a variant on rows.

    Args:
        variant: Its name.
        bundle: With its graphs.
        split: Validation rows.
        reference: Logits of `fp32` on the same rows; None for `fp32` itself.

    Returns:
        The figures, its logits, and its calibration: the bundle's, corrected for what rounding did to logits.

    Raises:
        GraphError: A run fails, or gives NaN or infinity.
    """
    graphs = Graphs(bundle, intra_op_threads=1)
    found = predict(bundle, graphs, split)
    calibration = bundle.manifest.calibration
    if reference is not None:
        calibration = corrected(calibration, found, reference)
    scored = score(found, calibration)
    ones = np.ones(len(scored))
    balanced = balanced_accuracy(scored)(ones)
    areas = _areas(found, calibration)
    exact = areas if reference is None else _areas(reference, bundle.manifest.calibration)
    losses = [exact[presence] - area for presence, area in areas.items()]
    differences = [] if reference is None else [found.logits[p] - reference.logits[p] for p in PRESENCES]
    return (
        VariantFigures(
            variant=variant,
            size_bytes=sum(map(len, bundle.graphs.values())),
            rows=len(split),
            accuracy=round(accuracy(scored)(ones), 4),
            balanced_accuracy=None if math.isnan(balanced) else round(balanced, 4),
            auroc=round(min(areas.values()), 4) if areas else None,
            auroc_loss=round(max(losses), 4) if losses else None,
            ece=round(calibration_error(scored)(ones), 4),
            logit_difference=round(
                max((float(np.nanmax(np.abs(d), initial=0.0)) for d in differences), default=0.0), 5
            ),
            pairs_per_s=round(_pairs_per_s(bundle, graphs), 1),
        ),
        found,
        calibration,
    )


def _areas(found: Predictions, calibration: Calibration) -> dict[Presence, float]:
    """Return the AUROC of each presence that has one."""
    scored = {presence: score(found, calibration, presence) for presence in PRESENCES}
    areas = {presence: auroc(of)(np.ones(len(of))) for presence, of in scored.items()}
    return {presence: area for presence, area in areas.items() if not math.isnan(area)}


def _pairs_per_s(bundle: Bundle, graphs: Graphs) -> float:
    spec = bundle.manifest.image
    images = np.zeros((_BATCH, spec.height, spec.width, 3), np.uint8)
    tokens, length = bundle.tokenizer.encode_batch(["something is going on at the gate"] * _BATCH)
    yes = np.ones(_BATCH, np.float32)

    def run() -> None:
        graphs.fuse(graphs.encode_images(images), graphs.encode_texts(tokens, length), yes, yes)

    return _BATCH / median_s(run, _REPEATS)


def scale_rows(split: Split, tokenizer: Tokenizer, *, most: int, batch: int = 8) -> dict[str, list[Feed]]:
    """Return inputs of both encoders from rows, for the scales of int8.

    Args:
        split: Training or validation rows; those taken are spread evenly over it.
        tokenizer: Of the bundle.
        most: Rows at most.
        batch: Rows of one run.
    """
    chosen = np.unique(np.linspace(0, len(split) - 1, min(most, len(split))).astype(np.int64))
    pictures = [row for row in chosen if split.has_image[row]]
    texts = [split.texts[row] for row in chosen if split.has_text[row]]
    images: list[Feed] = [
        {"image": split.images[split.image_of[pictures[at : at + batch]]]} for at in range(0, len(pictures), batch)
    ]
    words: list[Feed] = []
    for at in range(0, len(texts), batch):
        tokens, length = tokenizer.encode_batch(texts[at : at + batch])
        words.append({"tokens": tokens, "length": length})
    return {IMAGE_ENCODER: images, TEXT_ENCODER: words}


def smallest_within(figures: Mapping[Variant, VariantFigures], within: float) -> Variant:
    """Return the smallest variant that is at most `within` worse than `fp32`; of two of equal size, the first.

    Accuracy alone would accept a variant that misses the few alarms among many quiet rows, or whose probabilities are
    off. Balanced accuracy, too, decides at one half, but rare labels open far below that, which only AUROC covers.

    Args:
        figures: Of all variants that were made, `fp32` among them.
        within: The most that accuracy, balanced accuracy and the AUROC of each presence may lose each, and the
            calibration error may gain, 0-1.
    """
    exact, most = figures["fp32"], within + 1e-9
    good = [
        found
        for found in figures.values()
        if exact.accuracy - found.accuracy <= most
        and (exact.balanced_accuracy or 0.0) - (found.balanced_accuracy or 0.0) <= most
        and (found.auroc_loss or 0.0) <= most
        and found.ece - exact.ece <= most
    ]
    return min(good, key=lambda found: found.size_bytes).variant
