"""A data set for tests of packing: rows whose label is the colour of the picture and a word of the text."""

from __future__ import annotations

import msgspec
import numpy as np
import torch

from export.data import Split
from export.data.tokens import train_tokenizer
from export.fusions import FusionSpec
from export.model import FusionModel, ImageEncoderSpec, ModelSpec, TextEncoderSpec, build_model
from stream_app.bundle.manifest import Calibration, Label, Scaling, TextSpec

LABELS = ("red", "green")
TEXT = TextSpec(max_tokens=12, pad_id=0)
_ONE = Scaling(scale=(1.0, 1.0), offset=(0.0, 0.0))
CALIBRATION = Calibration(both=_ONE, image=_ONE, text=_ONE)
DECIDED = tuple(Label(name=name, alerts=True, open_at=0.6, close_at=0.4) for name in LABELS)


def rows(count: int = 40) -> Split:
    """Draw rows; some lack a side, none lacks both."""
    rng = np.random.default_rng(8)
    label = rng.integers(0, 2, count)
    images = rng.integers(0, 60, (count, 32, 40, 3)).astype(np.uint8)
    images[np.arange(count), :, :, label] += 150
    texts = tuple("" if row % 7 == 3 else f"something {LABELS[label[row]]} at gate {row % 5}" for row in range(count))
    split = Split(
        images=images,
        image_of=np.where(np.arange(count) % 5 == 4, -1, np.arange(count)),
        texts=texts,
        truth=np.eye(2, dtype=np.float32)[label],
        groups=np.arange(count) // 2,
        sequences=np.full(count, -1),
        ids=tuple(map(str, range(count))),
        facets={"hour": np.where(np.arange(count) % 2, "day", "night")},
    )
    return split.take(np.flatnonzero(split.has_image | split.has_text))


def model(*, is_probe: bool = False) -> tuple[FusionModel, bytes]:
    """Build a model with random weights, and its tokenizer; or one of the parts that a probe fits."""
    torch.manual_seed(4)
    tokenizer = train_tokenizer(rows().texts, spec=TEXT, vocabulary=300)
    image = ImageEncoderSpec(height=32, width=40, features=16)
    if is_probe:
        image = msgspec.structs.replace(image, kind="timm", backbone="test_resnet", pooling="guided", features=0)
    spec = ModelSpec(
        task="multiclass",
        labels=LABELS,
        image=image,
        text=TextEncoderSpec(kind="bag" if is_probe else "lstm", width=16, embedding=16, features=16, max_tokens=12),
        fusion=FusionSpec(kind="decision", rule="saturating", width=0) if is_probe else FusionSpec(width=16),
    )
    return build_model(spec, tokenizer=tokenizer).eval(), tokenizer
