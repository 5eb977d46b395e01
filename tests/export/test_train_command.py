"""`vigil-export train` as a person calls it: what is asked for wrongly is said, and can be asked for again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
timm = pytest.importorskip("timm")

from safetensors.torch import load_file, save_file  # noqa: E402 - the skips above come first

from export.cli import main  # noqa: E402
from tests.export.folders import fights, imagefolder  # noqa: E402

_SMALL = ("image.height=32", "image.width=32", "text.width=8", "recipe.batch=4", "recipe.threads=1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    imagefolder(folder / "train", fights(8))
    imagefolder(folder / "validation", fights(4))
    return folder


def _train(data: Path, out: Path, *arguments: str, settings: tuple[str, ...] = ()) -> int:
    chosen = [part for setting in (*_SMALL, *settings) for part in ("--set", setting)]
    with pytest.raises(SystemExit) as ended:
        main(["train", "--data", str(data), "--out", str(out), "--epochs", "1", *chosen, *arguments])
    return int(ended.value.code or 0)


def test_image_weights_come_from_a_file_and_what_cannot_be_had_leaves_no_run_behind(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "own.safetensors", tmp_path / "run"
    body = ("image.kind=timm", "image.backbone=mobilenetv3_small_050", "image.trainable=frozen")
    assert _train(data, out, "--image-weights", str(file), settings=body) == 1
    assert f"weights {file}: expected a .safetensors file, found none" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    weights = timm.create_model("mobilenetv3_small_050", num_classes=0).state_dict()
    save_file(weights, file)
    assert _train(data, out, "--image-weights", str(file), settings=body) == 0
    trained = load_file(out / "weights.safetensors")
    assert torch.equal(trained["image.body.conv_stem.weight"], weights["conv_stem.weight"])


def test_training_says_how_many_words_have_a_vector(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "glove.txt").write_text("report 1 0\nguard 0 1\n")
    words = ("image.kind=plain-cnn", f"text.vectors={tmp_path / 'glove.txt'}")
    assert _train(data, tmp_path / "run", settings=words) == 0
    assert "vectors for 1 of 9 words (11.1%), 50.0% of all uses" in capsys.readouterr().err
    known = {"words": 9, "known": 1, "uses": 16, "known_uses": 8}
    assert json.loads((tmp_path / "run" / "state.json").read_bytes())["vectors"] == known
