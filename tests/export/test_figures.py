"""Every fusion has its picture in docs/models.md, and the pictures are those that the script draws."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the training side needs the extra `export`")
pytest.importorskip("timm")
pytest.importorskip("matplotlib")

from benchmarks.fusion_figures import FIGURES, FOLDER, main
from vigil_export.models.fusions import FUSIONS


def _texts(svg: Path) -> list[str]:
    return re.findall(r">([^<>\n]+)</text>", svg.read_text("utf-8"))


def test_every_fusion_is_drawn_and_shown() -> None:
    document = (FOLDER.parent / "models.md").read_text("utf-8")
    assert {*FIGURES} == {*FUSIONS}
    for kind in FUSIONS:
        assert f"](figures/fusion-{kind}.svg)" in document


def test_the_pictures_say_what_the_script_says(tmp_path: Path) -> None:
    main(tmp_path)
    for kind, drawing in FIGURES.items():
        drawn = _texts(tmp_path / f"fusion-{kind}.svg")
        assert sorted(drawn) == sorted(line for box in drawing.boxes.values() for line in box.says.split("\n"))
        assert _texts(FOLDER / f"fusion-{kind}.svg") == drawn
