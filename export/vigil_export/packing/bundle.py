"""Makes a bundle of a trained model: graphs, the wanted variant, card, manifest. Out: a directory, or none.

One function per stage; nothing is written before `write_bundle` at the very end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_app.bundle.graphs import GraphError
from stream_app.bundle.graphs import Graphs as Sessions
from stream_app.bundle.manifest import (
    MODEL_CARD,
    TOKENIZER,
    Calibration,
    Features,
    ImageSpec,
    Label,
    Manifest,
    SelfCheck,
    TextSpec,
    sha256_hex,
)
from stream_app.bundle.text import Tokenizer
from stream_app.bundle.verify import case_logits
from vigil_export.data import Split
from vigil_export.evaluation.variants import VARIANTS, Variant, VariantFigures
from vigil_export.models.model import FusionModel
from vigil_export.packing.card import About, write_card
from vigil_export.packing.folder import refuse_existing
from vigil_export.packing.measure import in_memory, measure_variant, scale_rows, smallest_within
from vigil_export.packing.onnx_export import OPSET, TOLERANCE, ExportRefusedError, export_graphs
from vigil_export.packing.pack import self_check_cases, write_bundle
from vigil_export.packing.variants import SCALE_ROWS, Graphs, to_fp16, to_int8

Say = Callable[[str], None]
"""Told one line after each step."""

# How far a logit may be from the expected one on another machine. The expected results of fp32 are PyTorch's; those of
# the others are the variant's own, on the CPU that packed it, since its loss is measured elsewhere. A GPU accumulates
# in float16, and int8 may round to the neighbouring step where two processors differ in the last digits before it.
_TOLERANCES: dict[Variant, float] = {"fp32": TOLERANCE, "fp16": 0.05, "int8": 0.1}


@dataclass(frozen=True, slots=True)
class Source:
    """A trained model, and what its bundle says about it.

    Attributes:
        model: In evaluation mode.
        tokenizer: The bytes of tokenizer.json.
        text: Bounds and padding of texts.
        calibration: Fitted on validation rows.
        labels: With thresholds, chosen on validation rows.
        open_validation: Returns the validation rows; called only for variants.
        training: The manifest's training summary.
        metrics: The manifest's metrics.
        revision: Of the source that trained it.
    """

    model: FusionModel
    tokenizer: bytes
    text: TextSpec
    calibration: Calibration
    labels: tuple[Label, ...]
    open_validation: Callable[[], Split]
    training: dict[str, Any]
    metrics: dict[str, Any]
    revision: str


@dataclass(frozen=True, slots=True)
class Order:
    """What to make.

    Attributes:
        name: Of the bundle.
        version: Of the bundle.
        variant: Which graphs go in, unless `within` chooses.
        within: Put in the smallest variant that is at most this much worse (`smallest_within`); None: `variant`.
        about: What the user says on the card.
        key: Signs the bundle; None leaves it unsigned.
    """

    name: str
    version: str
    variant: Variant = "fp32"
    within: float | None = None
    about: About = field(default_factory=About)
    key: Ed25519PrivateKey | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What was made: the manifest, and the figures of each variant that was measured."""

    manifest: Manifest
    variants: dict[Variant, VariantFigures]


def make_bundle(source: Source, out: Path, order: Order, *, say: Say) -> Result:
    """Export a trained model, make the variant that is wanted, and write the bundle.

    Args:
        source: The model.
        out: Directory to create; must not exist.
        order: What to make; equal sources and orders give equal bytes on one machine.
        say: Told one line after each step.

    Raises:
        FileExistsError: `out` exists.
        ExportRefusedError: A graph differs from the trained model, or the requested variant cannot be made.
        GraphError: The requested variant gives NaN or infinity.
        BundleError: Serving would refuse the bundle.
        OSError: The disk is full, or the place cannot be written; nothing is left behind.
    """
    refuse_existing(out)  # at once, not after minutes
    with _one_thread():
        exported = export_graphs(source.model)
        say(f"exported: greatest difference from PyTorch {max(exported.difference.values()):.1e}")
        metrics = {**source.metrics, "export_difference": exported.difference}
        draft = _manifest(source, order, metrics)
    made: dict[Variant, Graphs] = {"fp32": exported.graphs}
    figures: dict[Variant, VariantFigures] = {}
    calibrations: dict[Variant, Calibration] = {"fp32": source.calibration}
    chosen = order.variant
    if order.within is not None or order.variant != "fp32":
        split = source.open_validation()
        wanted = VARIANTS if order.within is not None else ("fp32", order.variant)
        for variant, found, its, graphs in _measured(source, exported.graphs, wanted, draft, split, say=say):
            figures[variant], calibrations[variant], made[variant] = found, its, graphs
        chosen = order.variant if order.within is None else smallest_within(figures, order.within)
        say(f"chose {chosen}")
    draft = msgspec.structs.replace(draft, calibration=calibrations[chosen])
    manifest, files = _assemble(source, order, draft, made[chosen], chosen, figures)
    write_bundle(out, manifest, files, key=order.key)
    if held_back := sorted({name for found in source.metrics.values() for name in found.get("facets_held_back", ())}):
        say(f"left out of card and manifest, as values may name people or places: accuracy by {', '.join(held_back)}")
    return Result(manifest, figures)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread: sums split over several differ in their last digits, and the self-check with them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _variant(source: Source, graphs: Graphs, variant: Variant, split: Split) -> Graphs:
    if variant == "fp16":
        return to_fp16(graphs)
    if variant == "int8":
        return to_int8(graphs, scale_rows(split, Tokenizer(source.tokenizer, source.text), most=SCALE_ROWS))
    return graphs


def _measured(
    source: Source, graphs: Graphs, wanted: tuple[Variant, ...], draft: Manifest, split: Split, *, say: Say
) -> Iterator[tuple[Variant, VariantFigures, Calibration, Graphs]]:
    """Make and measure variants, fp32 first; where there is a choice, one that cannot be made or run is left out."""
    reference = None
    for variant in wanted:
        try:
            made = _variant(source, graphs, variant, split)
            bundle = in_memory(draft, made, source.tokenizer)
            found, said, calibration = measure_variant(variant, bundle, split, reference=reference)
        except (ExportRefusedError, GraphError) as error:
            if variant == "fp32" or len(wanted) < len(VARIANTS):
                raise
            say(f"{variant}: left out: {error}")
            continue
        reference = reference or said
        balanced = "-" if found.balanced_accuracy is None else f"{found.balanced_accuracy:.4f}"
        area = "-" if found.auroc is None else f"{found.auroc:.4f}"
        say(
            f"{variant}: {found.size_bytes / 1e6:.2f} MB, accuracy {found.accuracy:.4f}, "
            f"balanced {balanced}, lowest AUROC {area}, ECE {found.ece:.4f}, "
            f"{found.pairs_per_s:.0f} pairs/s on one CPU thread, logits within {found.logit_difference:.2g} of fp32"
        )
        yield variant, found, calibration, made


def _manifest(source: Source, order: Order, metrics: dict[str, Any]) -> Manifest:
    """Return the manifest without hashes: enough to run the graphs."""
    spec, tokenizer = source.model.spec, Tokenizer(source.tokenizer, source.text)
    return Manifest(
        schema=1,
        name=order.name,
        version=order.version,
        task=spec.task,
        labels=source.labels,
        calibration=source.calibration,
        image=ImageSpec(height=spec.image.height, width=spec.image.width),
        text=source.text,
        features=Features(image=source.model.image.shape, text=source.model.text.shape),
        opset=OPSET,
        files={},
        self_check=SelfCheck(
            tolerance=TOLERANCE, cases=self_check_cases(source.model, tokenizer, check_texts(spec.labels))
        ),
        training=source.training,
        metrics=metrics,
        source_revision=source.revision,
    )


def check_texts(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the texts of the self-check: none from the data, which a bundle must not disclose."""
    named = tuple(f"a report of {label}, seen at the north gate" for label in labels[:3])
    return (*named, "all quiet", "大门口有人", "?!")


def _assemble(
    source: Source,
    order: Order,
    draft: Manifest,
    graphs: Graphs,
    variant: Variant,
    figures: dict[Variant, VariantFigures],
) -> tuple[Manifest, dict[str, bytes]]:
    check = draft.self_check
    if variant != "fp32":
        bundle = in_memory(draft, graphs, source.tokenizer)
        sessions = Sessions(bundle, intra_op_threads=1)
        cases = tuple(
            msgspec.structs.replace(case, logits=tuple(map(float, case_logits(bundle, sessions, case))))
            for case in check.cases
        )
        check = SelfCheck(tolerance=_TOLERANCES[variant], cases=cases)
    # No speeds: they vary with the machine and its load, and equal runs must give equal bytes.
    kept = {name: _without_speed(found) for name, found in figures.items()}
    metrics = {**draft.metrics, "variant": variant, **({"variants": kept} if kept else {})}
    manifest = msgspec.structs.replace(draft, self_check=check, metrics=metrics)
    files = {**graphs, TOKENIZER: source.tokenizer, MODEL_CARD: write_card(manifest, order.about).encode()}
    return msgspec.structs.replace(manifest, files={name: sha256_hex(data) for name, data in files.items()}), files


def _without_speed(found: VariantFigures) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.to_builtins(found)
    return {name: value for name, value in content.items() if name not in {"pairs_per_s", "variant"}}
