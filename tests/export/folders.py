"""Small data sets on disk for the tests of the export: pictures that differ, metadata beside them, and a full disk."""

from __future__ import annotations

import importlib
import json
import resource
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def picture(path: Path, *, seed: int = 0, side: int = 48) -> Path:
    """Write a picture of coloured blocks, another one for each seed; JPEG or PNG by its name."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.resize(blocks, (side, side), interpolation=cv2.INTER_NEAREST))
    return path


def imagefolder(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write `metadata.jsonl` with these rows, and a picture for each file name that is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    for number, row in enumerate(rows):
        name = row.get("file_name")
        if name and not (folder / name).exists():
            picture(folder / name, seed=number)
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "metadata.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def fights(count: int, **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - columns of any kind
    """Return rows with a picture, a text and a label each; two in turn."""
    return [
        {"file_name": f"{number}.jpg", "text": f"report {number}", "label": ("fight", "normal")[number % 2], **more}
        for number in range(count)
    ]


def small_bert(folder: Path) -> Path:
    """Make a BERT of a few thousand weights, as a local folder."""
    transformers: Any = importlib.import_module("transformers")  # takes seconds, and few tests want one
    folder.mkdir()
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] two men are fight ##ing at the gate fire a . ! , 大 门 口 有 人 打 架 cafe"
    (folder / "vocab.txt").write_text("\n".join(words.split()) + "\n", "utf-8")
    config = transformers.BertConfig(
        vocab_size=len(words.split()),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=24,
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: to whoever writes, that is a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
