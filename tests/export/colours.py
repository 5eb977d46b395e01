"""A data set for tests of packing: rows whose label is the colour of the picture and a word of the text."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import torch
from safetensors.torch import save_file

from stream_app.bundle.manifest import Calibration, Label, Scaling, TextSpec
from tests.export.folders import imagefolder
from vigil_export.data import Split
from vigil_export.data.preparing.tokens import train_tokenizer
from vigil_export.evaluation.calibrated import Calibrated
from vigil_export.models.fusions import FusionSpec
from vigil_export.models.model import FusionModel, ImageEncoderSpec, ModelSpec, TextEncoderSpec, build_model
from vigil_export.training.config import encode_config, make_config
from vigil_export.training.load import ModelFile, write_model
from vigil_export.training.rows import open_rows, rows_sha256
from vigil_export.training.run import RunFolder

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


def write_data(folder: Path) -> Path:
    """Write the rows as a data set whose validation rows they are."""
    split, lines = rows(), []
    for row, name in enumerate(split.ids):
        line = {"text": split.texts[row], "label": LABELS[int(split.truth[row].argmax())]}
        line |= {"group": f"g{split.groups[row]}", "hour": str(split.facets["hour"][row]), "split": "validation"}
        if split.has_image[row]:
            line["file_name"] = f"{name}.png"
            folder.mkdir(exist_ok=True)
            cv2.imwrite(str(folder / line["file_name"]), split.images[split.image_of[row]][:, :, ::-1])
        lines.append(line)
    return imagefolder(folder, lines)


def write_run(place: Path) -> RunFolder:
    """Write the data set `yard`, and beside it a run as training leaves it, but that its weights are random."""
    run = RunFolder(place / "my colours")
    run.path.mkdir()
    built, tokenizer = model()
    parts = {name: msgspec.to_builtins(getattr(built.spec, name)) for name in ("image", "text", "fusion")}
    config = make_config({"data": {"path": str(write_data(place / "yard")), "labels": LABELS}, **parts})
    run.config.write_bytes(encode_config(config))
    write_model(run.model, ModelFile(spec=built.spec, text=TEXT))
    run.tokenizer.write_bytes(tokenizer)
    save_file(built.state_dict(), run.weights)
    state = {"finished": True, "method": "probe", "best_epoch": 3, "seconds": 12.5, "torch": "2.9"}
    run.state.write_text(json.dumps(state))
    read = open_rows(config)
    about = {"name": "yard", "task": read.task, "labels": read.labels, "sha256": rows_sha256(read)}
    run.dataset.write_text(json.dumps({**about, "sizes": {"train": 100, "validation": 40, "test": 40}}))
    Calibrated(method="platt", rule="f=1", rows=40, decisions=40, calibration=CALIBRATION, labels=DECIDED).save(
        run.calibration
    )
    return run
