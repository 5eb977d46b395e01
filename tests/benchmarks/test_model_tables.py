"""The command that compares fusions: its configurations are whole, its tables say what the runs say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks import demo_bundle, model_tables
from tests.export.folders import imagefolder
from vigil_export.models.encoders import make_tokenizer
from vigil_export.models.fusions import FUSIONS
from vigil_export.models.model import ModelSpec, build_model
from vigil_export.training.config import read_config

_TINY = """
[data]
path = "-"
columns = { group = "scene", sequence = "clip" }
fold_column = "part"
[image]
kind = "plain-cnn"
height = 16
width = 16
features = 4
[text]
kind = "bag"
embedding = 4
features = 4
max_tokens = 8
vocabulary = 270
[fusion]
kind = "decision"
rule = "saturating"
width = 4
[recipe]
epochs = 2
batch = 16
"""


@pytest.mark.parametrize("name", list(model_tables.VARIANTS))
def test_every_fusion_stands_in_the_table_with_a_configuration_that_is_valid(name: model_tables.SetName) -> None:
    kinds = set()
    for changes in model_tables.VARIANTS[name].values():
        path = Path(model_tables.__file__).parent / "models" / f"{name}.toml"
        config = read_config(demo_bundle.CONFIG if name == "site" else path, dict(changes))
        kinds.add(config.fusion.kind)
        if config.text.kind == "bert":
            continue  # its weights are not here
        tokenizer, _ = make_tokenizer(config.text, ["is it a circle?"])
        spec = ModelSpec(
            task="multiclass", labels=("a", "b"), image=config.image, text=config.text, fusion=config.fusion
        )
        build_model(spec, tokenizer=tokenizer)
    assert kinds == set(FUSIONS)


def test_the_command_trains_each_model_once_and_writes_the_table_between_the_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {
            "file_name": f"{number}.jpg",
            "text": ("two men fight", "nobody there")[number % 2],
            "label": ("fight", "normal")[number % 2],
            "scene": f"s{number // 4}",
            "clip": f"c{number // 8}-{number % 2}",
            "part": "ab"[number // 12 % 2],
        }
        for number in range(48)
    ]
    data = imagefolder(tmp_path / "data", rows)
    (tmp_path / "fight-uca.toml").write_text(_TINY, "utf-8")
    monkeypatch.setattr(model_tables, "_CONFIGS", tmp_path)
    variants = {
        "decision, average": {"fusion.kind": "decision", "fusion.rule": "average"},
        "decision, saturating": {"fusion.kind": "decision", "fusion.rule": "saturating"},
        "image_only": {"fusion.kind": "image_only"},
    }
    monkeypatch.setitem(model_tables.VARIANTS, "fight-uca", variants)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- fight-uca: begin -->\nthe old one\n<!-- fight-uca: end -->\nafter\n", "utf-8")
    command = ["", "fight-uca", "--data", str(data), "--runs", str(tmp_path / "runs"), "--threads", "1"]
    monkeypatch.setattr(sys, "argv", [*command, "--page", str(page)])
    model_tables.main()
    first, told = page.read_text("utf-8"), capsys.readouterr().out
    assert "--- decision-saturating" in told
    assert first.startswith("before\n<!-- fight-uca: begin -->\n**Each row by itself**: 48 decisions of 12 groups. ")
    assert first.count("groups. decision, saturating: fusion gains ") == 2  # that of the configuration, not the first
    assert first.endswith("<!-- fight-uca: end -->\nafter\n")
    assert "the old one" not in first
    for mode in first.split("**Each ")[1:]:
        table = {row.split(" | ")[0].strip("| "): row for row in mode.splitlines() if row.startswith("| ")}
        assert set(table) == {
            "model",
            "decision, average",
            "decision, saturating",
            "image_only",
            "image alone, linear",
            "text alone, linear",
        }
        assert re.search(r"[+-]0\.\d{3} \[", table["decision, saturating"])  # its gain
        assert " MB | " in table["image_only"]
        elsewhere = re.search(r"best on the other parts \((.*)\): accuracy 0\.\d{3} \[.*\], AUROC 0\.\d{3} \[", mode)
        assert elsewhere is not None
        assert sum(int(count) for count in re.findall(r"decision, \w+ for (\d)", elsewhere[1])) == 2  # parts
    model_tables.main()
    assert page.read_text("utf-8") == first
    assert "---" not in capsys.readouterr().out.partition("**Each")[0]  # nothing was trained again
    page.write_text("no marks", "utf-8")
    with pytest.raises(SystemExit, match="expected the marks of fight-uca"):
        model_tables.main()
    assert page.read_text("utf-8") == "no marks"


def test_a_model_that_is_in_no_table_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = ["", "easy-vqa", "--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "--only", "sum"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="expected one of concat, gated, product"):
        model_tables.main()
