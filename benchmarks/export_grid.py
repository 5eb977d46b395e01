"""Does every model equal its graphs? All encoders with all fusions, tiny, through ONNX Runtime and PyTorch.

Run `python -m benchmarks.export_grid`: some minutes on one core. A graph is exported once and then put together with
every other that fits, since encoders and fusion heads meet in features of a fixed shape alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch

from vigil_export.models.fusions import FUSIONS, FusionKind, FusionSpec
from vigil_export.models.layers import Form
from vigil_export.models.model import FusionModel, ImageEncoderSpec, ModelSpec, TextEncoderSpec, build_model
from vigil_export.packing.onnx_export import GRAPH_NAMES, export_graphs

TOLERANCE = 1e-4
FEATURES, MAX_TOKENS, VOCABULARY, LABELS = 16, 16, 40, ("fight", "fire", "smoke")
SHAPES = ((1, 1), (2, 16), (3, 5), (8, 9))
"""Rows and tokens of the batches that are compared."""

_BERT = {
    "model_type": "bert",
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": MAX_TOKENS,
}


def _image(height: int, **rest: str) -> ImageEncoderSpec:
    return ImageEncoderSpec(height=height, width=height, features=FEATURES, grid=2, **rest)  # type: ignore[arg-type]


def _text(**rest: object) -> TextEncoderSpec:
    sizes = {"vocabulary": VOCABULARY, "embedding": 12, "width": 12, "features": FEATURES, "max_tokens": MAX_TOKENS}
    return TextEncoderSpec(**{**sizes, **rest})  # type: ignore[arg-type]


# Every one gives 2 x 2 cells in the token form, so that any head fits.
IMAGES = {
    "narrow-resnet": _image(32),
    "plain-cnn": _image(32, kind="plain-cnn"),
    "resnet": _image(64, kind="timm", backbone="test_resnet"),
    "efficientnet": _image(64, kind="timm", backbone="test_efficientnet"),
    "vision transformer": _image(32, kind="timm", backbone="test_vit"),
}
TEXTS = {
    "lstm": _text(kind="lstm"),
    "gru, both sides": _text(kind="gru", bidirectional=True),
    "bag": _text(kind="bag"),
    "transformer": _text(kind="transformer", layers=2),
    "bert": _text(kind="bert", pretrained="tiny", config=json.dumps(_BERT)),
}
Choice = tuple[str, str, FusionKind]
"""Names of an image encoder, a text encoder and a fusion."""


def covering() -> list[Choice]:
    """Return as few models as export every encoder in both forms and every fusion."""
    forms: dict[Form, list[FusionKind]] = {"pooled": [], "tokens": []}
    for kind, head in FUSIONS.items():
        forms[head.FORM].append(kind)
    return [
        ([*IMAGES][number % len(IMAGES)], [*TEXTS][number % len(TEXTS)], kinds[number % len(kinds)])
        for kinds in forms.values()
        for number in range(max(len(kinds), len(TEXTS)))
    ]


@dataclass(slots=True)
class _Parts:
    """Modules and sessions of one form, by name."""

    modules: dict[str, torch.nn.Module] = field(default_factory=dict)
    sessions: dict[str, ort.InferenceSession] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Compared:
    """One model: its parts, and the greatest difference of its logits between PyTorch and ONNX Runtime."""

    choice: Choice
    difference: float


def build(choice: Choice) -> FusionModel:
    """Build the tiny model of a choice, with random weights."""
    image, text, fusion = choice
    spec = ModelSpec(
        labels=LABELS,
        image=IMAGES[image],
        text=TEXTS[text],
        fusion=FusionSpec(kind=fusion, width=16, rank=3),
    )
    return build_model(spec, with_weights=False).eval()


def compare(choices: Sequence[Choice]) -> Iterator[Compared]:
    """Export the models, then compare every model that their parts can make.

    Args:
        choices: What to export.

    Yields:
        One for each pair of encoders and each head whose forms fit.

    Raises:
        ExportRefusedError: An export differs from PyTorch or has a fixed dimension.
        AssertionError: A result is NaN.
    """
    parts: dict[Form, _Parts] = {"pooled": _Parts(), "tokens": _Parts()}
    for choice in choices:
        model = build(choice)
        found = parts[FUSIONS[choice[2]].FORM]
        sides = zip(choice, (model.image, model.text, model.head), GRAPH_NAMES, strict=True)
        for place, (name, module, file) in enumerate(sides):
            key = f"{place}:{name}"
            if key not in found.modules:
                graph = export_graphs(model, names=(file,)).graphs[file]
                found.modules[key] = module
                found.sessions[key] = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for found in parts.values():
        yield from _combine(found)


def _combine(parts: _Parts) -> Iterator[Compared]:
    names = [[key[2:] for key in parts.modules if key.startswith(f"{place}:")] for place in range(3)]
    for image in names[0]:
        for text in names[1]:
            for fusion in names[2]:
                choice: Choice = (image, text, fusion)  # type: ignore[assignment]
                yield Compared(choice, _difference(parts, choice))


def _difference(parts: _Parts, choice: Choice) -> float:
    keys = [f"{place}:{name}" for place, name in enumerate(choice)]
    image, text, head = (parts.modules[key] for key in keys)
    sessions = [parts.sessions[key] for key in keys]
    rng, size, worst = np.random.default_rng(23), IMAGES[choice[0]].height, 0.0
    for b, t in SHAPES:
        pictures = rng.integers(0, 256, (b, size, size, 3), dtype=np.uint8)
        tokens, length = rng.integers(0, VOCABULARY, (b, t)), rng.integers(1, t + 1, b)
        flags = rng.integers(0, 2, (2, b)).astype(np.float32)
        with torch.inference_mode():
            seen = image(torch.from_numpy(pictures))
            read = text(torch.from_numpy(tokens), torch.from_numpy(length))
            expected = head(seen, read, *torch.from_numpy(flags)).numpy()
        found_seen = sessions[0].run(None, {"image": pictures})[0]
        found_read = sessions[1].run(None, {"tokens": tokens, "length": length})[0]
        # What stands in the features of an absent side must not matter, NaN included.
        found_seen[flags[0] == 0], found_read[flags[1] == 0] = np.nan, np.nan
        found = _fuse(sessions[2], found_seen, found_read, flags)
        if not np.isfinite(found).all():
            raise AssertionError(f"{choice}: a logit is not finite at b = {b}, t = {t}")
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst


def _fuse(
    session: ort.InferenceSession,
    image: npt.NDArray[np.float32],
    text: npt.NDArray[np.float32],
    flags: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    feed = {"image_features": image, "text_features": text, "image_present": flags[0], "text_present": flags[1]}
    result: npt.NDArray[np.float32] = session.run(None, feed)[0]
    return result


def main() -> None:
    """Print a table: a row for each pair of encoders, a column for each fusion, the greatest difference in each."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    found = {result.choice: result.difference for result in compare(covering())}
    print("| image | text | " + " | ".join(FUSIONS) + " |")
    print("|---|---|" + "---|" * len(FUSIONS))
    for image in IMAGES:
        for text in TEXTS:
            cells = (found[image, text, fusion] for fusion in FUSIONS)
            print(f"| {image} | {text} | " + " | ".join(f"{value:.1e}" for value in cells) + " |")
    print(f"\n{len(found)} models; greatest difference {max(found.values()):.1e}, allowed {TOLERANCE:.0e}")
    raise SystemExit(max(found.values()) > TOLERANCE)


if __name__ == "__main__":
    main()
