"""Training: a run folder from rows; equal orders give equal weights, after a kill too; clear words where it cannot."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")

from safetensors.torch import load_file  # noqa: E402 - the skips above come first

from stream_app.bundle.graphs import Graphs  # noqa: E402
from stream_app.bundle.load import load_bundle  # noqa: E402
from stream_app.bundle.signature import check_signature, create_key_pair, read_private_key  # noqa: E402
from tests.export.folders import fights, full_disk, imagefolder  # noqa: E402
from tests.export.trainings import small_config, write_rows  # noqa: E402
from vigil_export.cli import main  # noqa: E402
from vigil_export.data import DataError, open_dataset  # noqa: E402
from vigil_export.data.preparing.access import TestSplitError  # noqa: E402
from vigil_export.evaluation.calibrated import load_calibrated  # noqa: E402
from vigil_export.evaluation.predictions import load_predictions  # noqa: E402
from vigil_export.models.fusions.concat import ConcatHead  # noqa: E402
from vigil_export.training.config import ConfigError, Recipe, encode_config, make_config, read_config  # noqa: E402
from vigil_export.training.crossval import crossval  # noqa: E402
from vigil_export.training.fit import fit  # noqa: E402
from vigil_export.training.load import load_run  # noqa: E402
from vigil_export.training.loop import _said_clearly, require_precision  # noqa: E402
from vigil_export.training.predict import across_sequences, predict_run  # noqa: E402
from vigil_export.training.rows import content_sha256  # noqa: E402
from vigil_export.training.run import RunError, RunFolder, TrainingError  # noqa: E402

_REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder(tmp_path_factory.mktemp("runs") / "one")
    fit(small_config(data), run, say=lambda _: None)
    return run


def test_a_run_folder_holds_all_that_evaluation_and_export_read(data: Path, run: RunFolder) -> None:
    assert json.loads(run.state.read_bytes())["finished"]
    about = json.loads(run.dataset.read_bytes())
    assert (about["task"], about["labels"], about["negative"]) == ("binary", ["fight"], ["normal"])
    assert about["sizes"] == {"train": 21, "validation": 9, "test": 9}
    assert read_config(run.config) == small_config(data)
    assert load_calibrated(run.calibration).labels[0].name == "fight"
    assert {path.name for path in run.logs.iterdir()} >= {"metrics.csv"}
    predictions = load_predictions(run.predictions("validation"))
    assert (len(predictions), predictions.split) == (9, "validation")
    assert np.isfinite(predictions.logits["both"]).all()
    assert np.isnan(predictions.logits["image"][~predictions.has_image]).all()


def test_the_schedule_ends_with_the_last_step(run: RunFolder) -> None:
    schedule = torch.load(run.checkpoints / "last.ckpt", weights_only=True)["schedule"]
    assert schedule["total_steps"] == schedule["last_epoch"]


def test_a_training_says_how_each_epoch_went_and_how_many_batches_are_left(data: Path, tmp_path: Path) -> None:
    run, said, seen = RunFolder(tmp_path / "run"), list[str](), list[tuple[int, int]]()
    fit(small_config(data), run, say=said.append, progress=lambda done, total: seen.append((done, total)))
    steps = torch.load(run.checkpoints / "last.ckpt", weights_only=True)["schedule"]["total_steps"]
    assert seen == [(done, steps) for done in range(1, steps + 1)]
    epochs = [line.partition(":")[0] for line in said if line.startswith("epoch")]
    assert epochs == ["epoch 1 of 3", "epoch 2 of 3", "epoch 3 of 3"]


def test_equal_orders_give_equal_weights_and_another_seed_others(data: Path, run: RunFolder, tmp_path: Path) -> None:
    again, other = RunFolder(tmp_path / "again"), RunFolder(tmp_path / "other")
    fit(small_config(data), again, say=lambda _: None)
    fit(small_config(data, seed=5), other, say=lambda _: None)
    assert again.weights.read_bytes() == run.weights.read_bytes()
    assert other.weights.read_bytes() != run.weights.read_bytes()


@pytest.mark.timeout(240)
def test_a_training_that_was_killed_goes_on_to_the_weights_it_would_have_had(data: Path, tmp_path: Path) -> None:
    config = small_config(data, recipe__epochs=20)
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    fit(config, whole, say=lambda _: None)
    file = tmp_path / "config.toml"
    file.write_bytes(encode_config(config))
    command = [sys.executable, "-m", "vigil_export", "train", str(file), "--out", str(killed.path)]
    with subprocess.Popen(command, cwd=_REPOSITORY, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not (killed.checkpoints / "last.ckpt").is_file() and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert not json.loads(killed.state.read_bytes())["finished"]
    with pytest.raises(ConfigError, match="found another"):
        fit(small_config(data), killed, say=lambda _: None, resume=True)
    table = data / "train" / "metadata.jsonl"
    content = table.read_text("utf-8")
    table.write_text(content.partition("\n")[2], "utf-8")
    with pytest.raises(RunError, match="expected the rows of the training"):
        fit(config, killed, say=lambda _: None, resume=True)
    table.write_text(content, "utf-8")
    fit(config, killed, say=lambda _: None, resume=True)
    one, other = load_file(whole.weights), load_file(killed.weights)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    logged = [(run.logs / "metrics.csv").read_text().splitlines() for run in (whole, killed)]
    assert logged[1] == logged[0]
    with pytest.raises(RunError, match="found a finished one"):
        fit(config, killed, say=lambda _: None, resume=True)


def test_what_rows_say_is_the_same_once_they_are_divided(tmp_path: Path) -> None:
    source = imagefolder(tmp_path / "in", fights(20))
    with pytest.raises(SystemExit, match="0"):
        main(["data", "split", str(source), "--out", str(tmp_path / "out")])
    before, after = (open_dataset(folder) for folder in (source, tmp_path / "out"))
    assert content_sha256(after) == content_sha256(before)


def test_a_loaded_run_judges_as_it_did_and_keeps_the_test_split_from_learning(run: RunFolder) -> None:
    loaded = load_run(run)
    before = load_predictions(run.predictions("validation"))
    np.testing.assert_array_equal(predict_run(run, "validation").logits["both"], before.logits["both"])
    assert len(predict_run(run, "test")) == 9
    with pytest.raises(TestSplitError):
        loaded.open("test", purpose="calibration")


def test_a_run_becomes_a_signed_bundle_that_serving_takes_and_that_judges_alike(run: RunFolder, tmp_path: Path) -> None:
    signing_key = tmp_path / "maker.key"
    private, _ = create_key_pair()
    signing_key.write_bytes(private)
    with pytest.raises(SystemExit) as ended:
        main(["export", str(run.path), "--out", str(tmp_path / "b" / "1"), "--sign", str(signing_key)])
    assert not ended.value.code
    bundle = load_bundle(tmp_path / "b" / "1")
    check_signature(bundle, read_private_key(signing_key).public_key())
    assert [label.name for label in bundle.manifest.labels] == ["fight"]
    assert bundle.manifest.training["data_sha256"] == json.loads(run.dataset.read_bytes())["sha256"]
    split = load_run(run).open("validation", purpose="evaluation")
    row = int(np.flatnonzero(split.has_image & split.has_text)[0])
    graphs = Graphs(bundle, providers=["CPUExecutionProvider"], intra_op_threads=1)
    seen = graphs.encode_images(split.images[split.image_of[[row, row]]])
    read = graphs.encode_texts(*bundle.tokenizer.encode_batch([split.texts[row]] * 2))
    yes = np.ones(2, np.float32)
    before = load_predictions(run.predictions("validation")).logits["both"][row]
    np.testing.assert_allclose(graphs.fuse(seen, read, yes, yes)[0], before, atol=1e-4)


def test_a_data_set_that_changed_is_refused(data: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    fit(small_config(data, recipe__epochs=1), run, say=lambda _: None)
    about = json.loads(run.dataset.read_bytes())
    run.dataset.write_text(json.dumps({**about, "sha256": "0" * 64}), encoding="utf-8")
    with pytest.raises(RunError, match="expected the rows of the training"):
        predict_run(run, "validation")


def test_each_text_meets_every_picture_of_its_sequence_and_nothing_else(run: RunFolder) -> None:
    split = load_run(run).open("validation", purpose="evaluation")
    found = across_sequences(split)
    pairs, decisions = found.rows, found.texts
    for text in range(len(split)):
        own = np.flatnonzero(decisions == text)
        alike = (split.sequences == split.sequences[text]) & split.has_image
        expected = split.image_of[alike] if split.texts[text] else split.image_of[[text]]
        assert sorted(pairs.image_of[own].tolist()) == sorted(expected.tolist())
        assert {pairs.texts[place] for place in own} == {split.texts[text]}
    assert len(set(pairs.ids)) == len(pairs)
    assert len(np.unique(predict_run(run, "validation", "sequences").decisions)) == len(split)


def test_words_cannot_be_cut_into_pieces_they_are_not_made_of(data: Path, tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("somebody 0.1 0.2\nfights 0.3 0.4\n", "utf-8")
    config = small_config(data, text__vectors=str(vectors), text__embedding=2)
    with pytest.raises(ConfigError, match=r"augment_text\.pieces: .* set it to 0"):
        fit(config, RunFolder(tmp_path / "run"), say=lambda _: None)


@pytest.mark.parametrize(("image", "text", "views"), [(0.5, 0.3, 3), (0, 0.3, 2), (0, 0, 1)])
def test_a_view_without_weight_is_not_worked_out(
    data: Path, tmp_path: Path, image: float, text: float, views: int
) -> None:
    run = RunFolder(tmp_path / "run")
    config = small_config(data, recipe__epochs=1, recipe__image_alone_weight=image, recipe__text_alone_weight=text)
    calls = {True: 0, False: 0}
    forward = ConcatHead.forward

    def counted(self: ConcatHead, *inputs: Any) -> Any:  # noqa: ANN401 - tensors
        calls[self.training] += 1
        return forward(self, *inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConcatHead, "forward", counted)
        fit(config, run, say=lambda _: None)
    rows = load_run(run).open("train", purpose="training")
    steps = {count for count in range(1, len(rows)) if count * views == calls[True]}
    assert len(steps) == 1
    assert len(rows) / 6 <= steps.pop() <= len(rows) / 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe__epohcs": 3}, "epohcs"),
        ({"recipe__batch": 1}, "batch"),
        ({"fusion__kind": "magic"}, "magic.*fusion.kind`: one of attention, .*concat"),
        ({"recipe__precision": "64"}, "64.*: one of 16-mixed, 32, bf16-mixed$"),
        ({"seed__of": 3}, "seed.of: expected a table"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_by_its_key(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_config(Path("somewhere"), **changes)


@pytest.mark.parametrize("suffix", [".toml", ".yaml"])
def test_a_configuration_is_read_from_either_format_and_flags_win(suffix: str, tmp_path: Path, data: Path) -> None:
    config = small_config(data)
    file = tmp_path / f"config{suffix}"
    table = msgspec.to_builtins(config)
    file.write_bytes(msgspec.toml.encode(table) if suffix == ".toml" else msgspec.yaml.encode(table))
    assert read_config(file) == config
    assert read_config(file, {"recipe.epochs": "7"}).recipe.epochs == 7
    file.write_bytes(b"[data\n")
    with pytest.raises(ConfigError, match="expected a TOML or YAML file"):
        read_config(file)


def test_a_folder_that_exists_is_refused_and_left_as_it_is(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    with pytest.raises(RunError, match="expected no"):
        fit(small_config(data), RunFolder(tmp_path), say=lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_interrupted_training_says_so_and_can_be_resumed(data: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")

    def interrupt(line: str) -> None:
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(small_config(data), run, say=interrupt)
    said: list[str] = []
    fit(small_config(data), run, say=said.append, resume=True)
    assert [line.partition(":")[0] for line in said if line.startswith("epoch")] == ["epoch 2 of 3", "epoch 3 of 3"]
    assert json.loads(run.state.read_bytes())["finished"]


def test_data_that_cannot_be_read_leaves_no_run_behind(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder"):
        fit(small_config(data / "nowhere"), RunFolder(tmp_path / "run"), say=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_half_precision_is_refused_where_there_is_no_gpu_and_nothing_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for device in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(device, "is_available", lambda: False)
    config = small_config(data, recipe__precision="16-mixed", data__folds=2)
    for begin in (fit, crossval):
        with pytest.raises(ConfigError, match="expected 32 or bf16-mixed on a CPU, found 16-mixed: choose one"):
            begin(config, RunFolder(tmp_path / "run"), say=lambda _: None)
    assert list(tmp_path.iterdir()) == []
    require_precision(Recipe(method="probe", precision="16-mixed"))  # which does not count there
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    require_precision(config.recipe)


def test_a_loss_that_is_no_number_ends_training_with_advice(data: Path, tmp_path: Path) -> None:
    config = small_config(data, recipe__rate=1e30, recipe__clip=0, recipe__epochs=20)
    with pytest.raises(TrainingError, match="try a lower"):
        fit(config, RunFolder(tmp_path / "run"), say=lambda _: None)


def test_the_configurations_and_options_that_the_page_shows_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    page = (_REPOSITORY / "docs" / "training.md").read_text("utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    configs = [make_config(msgspec.toml.decode(block)) for block in blocks]
    assert [config.recipe.method for config in configs] == ["gradient", "probe"]
    helps = ""
    for command in ("train", "crossval", "export"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        helps += capsys.readouterr().out
    shown = "\n".join(line for line in page.splitlines() if "vigil-export train" in line or "crossval" in line)
    assert [option for option in re.findall(r"--[a-z-]+", shown) if option not in helps] == []
    table = page.partition("| `[recipe]` |")[2].partition("The best weights")[0]
    keys = {
        key for line in table.splitlines() for key in re.findall(r"`(\w+)`", line.partition("| ")[2].partition(" |")[0])
    }
    assert keys <= set(Recipe.__struct_fields__)
    assert len(keys) > 15


def test_a_full_disk_ends_training_with_what_to_do_and_leaves_no_half_of_a_result(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "config.toml", tmp_path / "run"
    file.write_bytes(encode_config(small_config(data, text__vocabulary=600, text__embedding=64)))
    with full_disk(60_000), pytest.raises(SystemExit) as ended:  # less than a checkpoint has
        main(["train", str(file), "--out", str(out)])
    assert ended.value.code == 1
    assert "--resume" in capsys.readouterr().err
    assert not (out / "weights.safetensors").exists()
    assert not json.loads((out / "state.json").read_bytes())["finished"]
    with pytest.raises(SystemExit) as ended:
        main(["train", "--out", str(out), "--resume"])
    assert not ended.value.code
    assert json.loads((out / "state.json").read_bytes())["finished"]


def test_a_device_without_enough_memory_ends_training_with_what_to_do() -> None:
    with pytest.raises(TrainingError, match=r"smaller recipe\.batch"), _said_clearly():
        raise torch.OutOfMemoryError("CUDA out of memory")
