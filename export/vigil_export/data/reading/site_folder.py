"""The drawn site as an imagefolder, to try every command on. In: seeds and numbers. Out: files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stream_app.drawn_site import LABELS, Row, sample
from stream_app.drawn_site.samples import ROWS_PER_CAMERA
from stream_app.drawn_site.wording import LANGUAGES, compose
from stream_app.drawn_site.wording.compose import Wording
from stream_app.files import new_folder
from vigil_export.data.reading.write import write_lines
from vigil_export.data.rows import SPLIT_NAMES, Progress, SplitName

# Seeds of one order's splits, and equal splits of two orders, must share no camera.
_SEEDS_PER_ORDER = 16
# The order of `sample`'s own draws is (seed, number up to 62); these words are drawn apart from them.
_REWORDING = 73


def write_site(
    out: Path, pictures: dict[SplitName, int], *, texts: int, seed: int, progress: Progress | None = None
) -> int:
    """Draw the site and write it as a data set with several labels.

    Every picture has `texts` rows: its own text, and others with the same claim in other words, each in a language
    drawn anew. Half of the pictures of `test` have texts made only of parts that no other split uses.

    Args:
        out: The folder to create.
        pictures: How many of each split; a camera (the group) takes 24, and no two splits share one.
        texts: Rows per picture, at least 1.
        seed: Equal arguments give equal bytes.
        progress: Told of each picture.

    Returns:
        How many rows were written.

    Raises:
        FileExistsError: `out` exists.
        OSError: It cannot be written; nothing is left behind.
    """
    total, done, rows = sum(pictures.values()), 0, 0
    with new_folder(out) as draft:
        for part, split in enumerate(SPLIT_NAMES):
            folder = draft / split
            lines: list[dict[str, Any]] = []
            for wording, count, place in _portions(split, pictures.get(split, 0)):
                part_seed = (seed * _SEEDS_PER_ORDER + part) * 2 + place
                for number, row in enumerate(sample(part_seed, count, wording=wording)):
                    folder.mkdir(exist_ok=True)
                    name = f"{wording}-{number:06d}.jpg"
                    (folder / name).write_bytes(row.jpeg)
                    facts = {"file_name": name, "group": f"{split}-{place}-{number // ROWS_PER_CAMERA}"}
                    lines += _rows(row, facts, wording, texts, np.random.default_rng([part_seed, _REWORDING, number]))
                    done += 1
                    if progress is not None:
                        progress(done, total)
            if lines:
                write_lines(folder / "metadata.jsonl", lines)
            rows += len(lines)
    return rows


def _portions(split: SplitName, count: int) -> list[tuple[Wording, int, int]]:
    return [("train", count - count // 2, 0), ("held-out", count // 2, 1)] if split == "test" else [("train", count, 0)]


def _rows(
    row: Row, facts: dict[str, str], wording: Wording, texts: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    said = [(row.text, row.language)]
    for _ in range(texts - 1):
        sentence = compose(rng, row.claims, language=LANGUAGES[int(rng.integers(len(LANGUAGES)))], wording=wording)
        said.append((sentence.text, sentence.language))
    labels = [label for label, is_true in zip(LABELS, row.truth, strict=True) if is_true]
    return [
        facts
        | {
            "text": text,
            "labels": labels,
            "lang": language,
            "kind": row.kind,
            "claims": row.claims,
            "scene": row.scene,
            "picture": "fouled" if row.foul else "clear",
            "hour": "night" if row.is_night else "day",
            "wording": wording,
        }
        for text, language in said
    ]
