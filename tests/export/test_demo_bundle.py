"""The bundle that ships with the package: small, whole, honest about itself. Needs no torch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import stream_app
from stream_app.bundle.graphs import Graphs
from stream_app.bundle.load import Bundle, load_bundle
from stream_app.bundle.verify import measure
from stream_app.drawn_site import LABELS

FOLDER = Path(stream_app.__file__).parent / "demo_bundle" / "site" / "1"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(FOLDER)


def test_it_is_smaller_than_8_mb() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8_000_000


def test_it_passes_the_self_check_and_knows_the_labels_of_the_site(bundle: Bundle) -> None:
    assert measure(bundle, Graphs(bundle)).is_within_tolerance
    assert bundle.manifest.label_names == LABELS


def test_it_holds_no_absolute_path() -> None:
    path = re.compile(rb"(?:/[A-Za-z0-9_.-]+){2,}\.py|site-packages|/home/|/tmp/|/root/")
    for file in FOLDER.iterdir():
        assert path.search(file.read_bytes()) is None, file.name


@pytest.mark.parametrize("key", ["train_wording", "held_out_wording"])
def test_its_card_states_the_figures_of_its_manifest(bundle: Bundle, key: str) -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for value, low, high in bundle.manifest.metrics[key]["accuracy"].values():
        assert re.search(rf"[+-]?{abs(value):.3f} \[[+-]?{abs(low):.3f}, [+-]?{abs(high):.3f}\]", card)
    assert "not good for" in card


@pytest.mark.parametrize("key", ["train_wording", "held_out_wording"])
def test_each_side_alone_falls_short_of_both_beyond_its_interval(bundle: Bundle, key: str) -> None:
    accuracy = bundle.manifest.metrics[key]["accuracy"]
    assert accuracy["both-text"][1] > 0
    assert accuracy["both-image"][1] > 0
