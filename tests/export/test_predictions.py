"""Predictions on disk: what is written is read, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vigil_export.evaluation.predictions import Predictions, PredictionsError, load_predictions


def _predictions() -> Predictions:
    rng = np.random.default_rng(5)
    return Predictions(
        name="a run",
        task="multilabel",
        labels=("fight", "fire"),
        logits={"both": rng.normal(size=(3, 2)).astype(np.float32)}
        | dict.fromkeys(("image", "text"), np.full((3, 2), np.nan, np.float32)),  # type: ignore[arg-type]
        truth=np.array([[1, 0], [0, 0], [1, 1]], np.float32),
        has_image=np.array([True, True, False]),
        has_text=np.array([True, False, True]),
        decisions=np.array([0, 1, 1]),
        groups=np.array([7, 7, 8]),
        ids=("a:1", "a:2", "警报:3"),
        facets={"lang": np.array(["en", "", "zh"])},
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = _predictions()
    written.save(tmp_path / "test.npz")
    read = load_predictions(tmp_path / "test.npz")
    assert (read.name, read.task, read.labels, read.ids) == (written.name, written.task, written.labels, written.ids)
    for field in ("truth", "has_image", "has_text", "decisions", "groups"):
        np.testing.assert_array_equal(getattr(read, field), getattr(written, field))
    for presence, logits in written.logits.items():
        np.testing.assert_array_equal(read.logits[presence], logits)
    assert read.facets["lang"].tolist() == ["en", "", "zh"]


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_anything_else_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "test.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PredictionsError, match="expected a file of predictions"):
        load_predictions(path)


def test_arrays_of_something_else_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(PredictionsError, match="expected a file of predictions"):
        load_predictions(tmp_path / "other.npz")
