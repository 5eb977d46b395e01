"""The bundle that ships with the package: small, whole, honest about itself. Needs no torch."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import stream_app
from stream_app.bundle.graphs import Graphs
from stream_app.bundle.load import Bundle, load_bundle
from stream_app.bundle.verify import measure
from stream_app.drawn_site import LABELS

_MODELS = Path(__file__).resolve().parents[2] / "benchmarks" / "models"
FOLDER = Path(stream_app.__file__).parent / "demo_bundle" / "site" / "1"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(FOLDER)


def test_it_is_smaller_than_8_mb() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8_000_000


def test_it_passes_the_self_check_and_knows_the_labels_of_the_site(bundle: Bundle) -> None:
    assert measure(bundle, Graphs(bundle, intra_op_threads=1)).is_within_tolerance
    assert bundle.manifest.label_names == LABELS


def test_it_holds_no_absolute_path() -> None:
    path = re.compile(rb"(?:/[A-Za-z0-9_.-]+){2,}\.py|site-packages|/home/|/tmp/|/root/")
    for file in FOLDER.iterdir():
        assert path.search(file.read_bytes()) is None, file.name


def test_its_card_states_the_figures_of_its_manifest_and_the_table_of_fusions(bundle: Bundle) -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for figures in bundle.manifest.metrics["test"]["figures"].values():
        for value, low, high in figures.values():
            assert f"{value:.3f} [{low:.3f}, {high:.3f}]" in card
    assert (_MODELS / "site_fusions.md").read_text("utf-8").strip() in card
    assert "Real cameras and real alarms" in card


def test_each_side_alone_falls_short_of_both_beyond_its_interval(bundle: Bundle) -> None:
    figures = bundle.manifest.metrics["test"]["figures"]
    for figure in ("accuracy", "AUROC"):
        lowest = figures["both"][figure][1]
        assert max(figures[side][figure][2] for side in ("image", "text")) < lowest


def test_it_is_what_the_command_makes_by_default(bundle: Bundle) -> None:
    config = tomllib.loads((_MODELS / "site.toml").read_text("utf-8"))
    training = bundle.manifest.training
    assert training["epochs"] == config["recipe"]["epochs"]
    for part in ("image", "text", "fusion"):
        # The vocabulary is what the texts needed of it.
        given = {key: value for key, value in config[part].items() if key != "vocabulary"}
        assert {key: training[part][key] for key in given} == given
    assert bundle.manifest.image.height == config["image"]["height"]
