"""`vigil-export train` as a person calls it: what is asked for wrongly is said, and can be asked for again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")
timm = pytest.importorskip("timm")

from safetensors.torch import load_file, save_file  # noqa: E402 - the skips above come first

from tests.export.folders import fights, full_disk, imagefolder  # noqa: E402
from vigil_export.cli import main  # noqa: E402
from vigil_export.evaluation.predictions import load_predictions  # noqa: E402
from vigil_export.training.run import RunFolder  # noqa: E402

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


def test_a_disk_that_is_full_at_the_last_file_is_said_and_can_be_resumed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(timm.create_model("mobilenetv3_small_050", num_classes=0).state_dict(), tmp_path / "own.safetensors")
    (tmp_path / "glove.txt").write_text("report 1 0\nguard 0 1\n")
    image = ("kind=timm", "backbone=mobilenetv3_small_050", f"weights={tmp_path / 'own.safetensors'}")
    text = ("kind=bag", f"vectors={tmp_path / 'glove.txt'}")
    frozen = ("trainable=frozen", "features=0")
    probe = (
        *(f"image.{setting}" for setting in (*image, *frozen)),
        *(f"text.{setting}" for setting in (*text, *frozen)),
        *("recipe.method=probe", "recipe.inner_folds=2", "fusion.width=0"),
    )
    with full_disk(1_000_000):  # bytes of a file; the weights have more
        assert _train(data, tmp_path / "run", "--fusion", "decision", settings=probe) == 1
    assert "File too large; free space there" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir() if "weights" in path.name] == []
    assert _train(data, tmp_path / "run", "--resume", "--fusion", "decision", settings=probe) == 0
    judged = load_predictions(RunFolder(tmp_path / "run").predictions("validation"))
    assert len(judged) == 8 + 4  # a probe learns from all rows, and is calibrated on all


def test_a_disk_that_is_full_at_once_leaves_no_folder_that_can_neither_be_resumed_nor_begun(
    data: Path, tmp_path: Path
) -> None:
    with full_disk(100):
        assert _train(data, tmp_path / "run") == 1
    assert list(tmp_path.iterdir()) == []


def test_validation_rows_of_one_class_and_a_missing_side_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imagefolder(tmp_path / "data" / "train", [row | {"text": None} for row in fights(4)])
    imagefolder(tmp_path / "data" / "validation", fights(1))
    assert _train(tmp_path / "data", tmp_path / "run", settings=("image.kind=plain-cnn",)) == 0
    said = capsys.readouterr().err
    assert "WARNING: no training row has a text; if it is in another column" in said
    assert "WARNING: all or none of the validation rows have fight" in said


@pytest.mark.parametrize("command", ["train", "crossval"])
def test_a_folder_that_is_no_run_is_neither_resumed_nor_advised_to_be(
    command: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = (*("--data", str(data)), *("--set", "data.folds=2", "--set", "image.kind=plain-cnn"))
    for begun, given, advice in (
        (False, ("--resume",), "found no such folder: start without --resume"),
        (True, ("--resume",), "found no config.toml in it: remove the folder, or choose another name"),
        (True, ("--resume", *arguments), "found no config.toml in it: remove the folder, or choose another name"),
        (True, arguments, "found one: choose another name, or remove it"),
    ):
        if begun:
            out.mkdir(exist_ok=True)
        with pytest.raises(SystemExit) as ended:
            main([command, "--out", str(out), *given])
        assert (ended.value.code, advice in capsys.readouterr().err) == (1, True), given
    (out / "config.toml").touch()
    with pytest.raises(SystemExit):
        main([command, "--out", str(out), *arguments])
    assert "choose another name, or --resume it" in capsys.readouterr().err


@pytest.mark.parametrize(("fusion", "column"), [("text_only", "file_name"), ("image_only", "text")])
def test_a_missing_side_that_the_fusion_does_not_look_at_is_not_said(
    fusion: str, column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in (("train", 8), ("validation", 4)):
        imagefolder(tmp_path / "data" / name, [row | {column: None} for row in fights(count, camera="yard")])
    body = ("image.kind=plain-cnn",)
    assert _train(tmp_path / "data", tmp_path / "run", "--fusion", fusion, settings=body) == 0
    assert "row has a" not in capsys.readouterr().err
    assert _train(tmp_path / "data", tmp_path / "both", "--fusion", "concat", settings=body) == 1
    assert f"otherwise train the other side alone: --fusion {fusion}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        (("train",), "no training row has a text; if it is in another column, give it the same name in all"),
        (("validation",), "no validation row has a text; if it is in another column, give it the same name in all"),
        (("train", "validation"), "no training or validation row has a text; if it is in another column, --set data"),
    ],
)
def test_a_side_that_some_split_lacks_is_said(
    lacking: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "validation", "test"):
        rows = fights(4)
        imagefolder(tmp_path / "data" / name, [row | {"text": None} for row in rows] if name in lacking else rows)
    assert _train(tmp_path / "data", tmp_path / "run", settings=("image.kind=plain-cnn",)) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "row has a" in line]
    assert [line.startswith(f"WARNING: {said}") for line in warnings] == [True]


def test_a_calibration_that_has_too_few_rows_for_what_was_asked_is_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "run", settings=("image.kind=plain-cnn", "recipe.calibration=isotonic")) == 0
    said = capsys.readouterr().err
    assert said.count("WARNING: isotonic calibration of ") == 3
    assert "20 without it, found 2 with fight and 2 without: Platt scaling is used there" in said


@pytest.mark.parametrize("command", ["train", "crossval"])
@pytest.mark.parametrize(
    ("ours", "theirs", "other"), [("text", "sentence", "image_only"), ("file_name", "picture", "text_only")]
)
def test_a_fusion_is_not_trained_without_a_single_row_of_one_side(
    command: str, ours: str, theirs: str, other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{theirs if name == ours else name: value for name, value in row.items()} for row in fights(12)]
    data = imagefolder(tmp_path / "data", [row | {"split": "train"} for row in rows])
    arguments = [command, "--data", str(data), "--out", str(tmp_path / "run"), "--epochs", "1"]
    more = ("--folds", "2") if command == "crossval" else ()
    with pytest.raises(SystemExit) as ended:
        main([*arguments, *more])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert f"expected it in the column {ours}, found columns that were not used ({theirs})" in said
    assert f"--fusion {other}" in said
    assert not (tmp_path / "run").exists()
    small = ("image.kind=plain-cnn",) if other == "text_only" else ()
    assert command == "crossval" or _train(data, tmp_path / "run", "--fusion", other, settings=small) == 0


def test_a_bert_without_a_name_is_asked_for_before_anything_is_read(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "run", settings=("text.kind=bert",)) == 2
    said = capsys.readouterr().err
    assert "expected text.pretrained beside text.kind = bert, found none" in said
    assert "such as google-bert/bert-base-uncased" in said
    assert not (tmp_path / "run").exists()


def test_training_says_how_many_words_have_a_vector(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "glove.txt").write_text("report 1 0\nguard 0 1\n")
    words = ("image.kind=plain-cnn", f"text.vectors={tmp_path / 'glove.txt'}")
    assert _train(data, tmp_path / "run", settings=words) == 0
    assert "vectors for 1 of 9 words (11.1%), 50.0% of all uses" in capsys.readouterr().err
    known = {"words": 9, "known": 1, "uses": 16, "known_uses": 8}
    assert json.loads((tmp_path / "run" / "state.json").read_bytes())["vectors"] == known


def test_without_a_configuration_and_without_data_it_says_what_to_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("train", "crossval"):
        with pytest.raises(SystemExit) as ended:
            main([command, "--out", str(tmp_path / "run")])
        assert ended.value.code == 2
        assert "expected a CONFIG, or --data DIR, found neither" in capsys.readouterr().err


_WITHOUT_TORCH = """
import sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Lacking())
"""


@pytest.mark.parametrize("command", ["train", "crossval"])
def test_without_pytorch_it_says_what_to_install(command: str, data: Path, tmp_path: Path) -> None:
    arguments = [command, "--out", str(tmp_path / "out"), "--data", str(data)]
    program = _WITHOUT_TORCH + f"from vigil_export.cli import main; main({arguments!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (
        1,
        f"vigil-export: {command} needs the package torch, which is not installed: install the extra `export`\n",
    )
    assert not (tmp_path / "out").exists()
