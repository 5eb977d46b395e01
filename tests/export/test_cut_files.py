"""Files of a run that were cut short, by a crash or a bad copy: named, with what to do, and no work is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the training side needs the extra `export`")

from tests.export.trainings import small_config, write_rows  # noqa: E402
from vigil_export.cli import main  # noqa: E402 - the skips above come first
from vigil_export.training.claim import claim  # noqa: E402
from vigil_export.training.config import ConfigError, read_config  # noqa: E402
from vigil_export.training.crossval import crossval  # noqa: E402
from vigil_export.training.fit import fit  # noqa: E402
from vigil_export.training.loop import _Training  # noqa: E402
from vigil_export.training.run import RunFolder  # noqa: E402
from vigil_export.training.standing import read_checkpoint  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    fit(small_config(data), run, say=lambda _: None)
    assert _run("evaluate", run.path, "--resamples", "100") == 0
    return run.path


@pytest.fixture(scope="module")
def interrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    fit(small_config(data), run, say=lambda _: None)
    run.state.write_text('{"finished": false}')
    run.weights.unlink()
    return run.path


@pytest.fixture(scope="module")
def parts(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    crossval(small_config(data, data__folds=2, recipe__epochs=1), out, say=lambda _: None)
    return out.path


def _run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def _cut(run: Path, name: str, share: float, tmp_path: Path) -> Path:
    """Return a copy of a run in which one file has lost its end."""
    copy = tmp_path / "run"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    data = (copy / name).read_bytes()
    end = int(len(data) * share)
    if end and name.endswith(".toml"):
        # Within a value: paths of any length are in it, and what is cut between two lines is still TOML.
        end = data.index(b' = "', end) + len(b' = "')
    (copy / name).write_bytes(data[:end])
    return copy


@pytest.mark.parametrize("share", [0.5, 0])
@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("checkpoints/last.ckpt", "best.ckpt over it to continue from the best epoch"),
        ("state.json", "or remove that file, and --resume continues"),
        ("dataset.json", "restore it from a copy, or train again"),
        ("config.toml", "expected a TOML or YAML file"),
    ],
)
def test_what_a_training_is_resumed_from_is_named_where_it_was_cut(
    name: str, advice: str, share: float, interrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _cut(interrupted, name, share, tmp_path)
    before = {path: path.stat().st_size for path in run.rglob("*") if path.is_file()}
    assert _run("train", "--resume", "--out", run) in {1, 2}
    said = capsys.readouterr().err
    assert f"{run / name}: " in said
    assert (advice in said) != (name == "config.toml" and not share)
    assert before.items() <= {path: path.stat().st_size for path in run.rglob("*") if path.is_file()}.items()


def test_a_configuration_that_was_cut_between_two_lines_is_not_resumed(interrupted: Path, tmp_path: Path) -> None:
    """It is still TOML: what is missing would be taken for its default, and the run would go on as another one."""
    shutil.copytree(interrupted, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    lines = run.config.read_bytes().splitlines(keepends=True)
    for count in range(len(lines)):
        run.config.write_bytes(b"".join(lines[:count]))
        with pytest.raises(ConfigError, match=r"config\.toml: "):
            claim(read_config(run.config), run, resume=True)
    run.config.write_bytes(b"".join(lines))
    claim(read_config(run.config), run, resume=True)


@pytest.mark.parametrize("advice", ["copy", "remove", "remove the state"])
def test_the_advice_leads_to_a_finished_run(advice: str, interrupted: Path, tmp_path: Path) -> None:
    run = _cut(interrupted, "state.json" if "state" in advice else "checkpoints/last.ckpt", 0.5, tmp_path)
    if advice == "copy":
        shutil.copyfile(run / "checkpoints" / "best.ckpt", run / "checkpoints" / "last.ckpt")
    elif advice == "remove":
        shutil.rmtree(run / "checkpoints")
    else:
        (run / "state.json").unlink()
    assert _run("train", "--resume", "--out", run) == 0
    assert json.loads((run / "state.json").read_bytes())["finished"]


@pytest.mark.parametrize("length", [1, 700, 5000, 20_000])
@pytest.mark.parametrize("name", ["last", "best"])
def test_a_checkpoint_that_was_cut_anywhere_is_named_before_anything_is_trained(
    name: str,
    length: int,
    interrupted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_Training, "learn", lambda _: pytest.fail("it was trained"))
    run = _cut(interrupted, f"checkpoints/{name}.ckpt", 1, tmp_path)
    path = run / "checkpoints" / f"{name}.ckpt"
    path.write_bytes(path.read_bytes()[:length])
    log = (run / "logs" / "metrics.csv").read_bytes()
    assert _run("train", "--resume", "--out", run) == 1
    assert f"{path}: expected a whole checkpoint, found one that is truncated" in capsys.readouterr().err
    assert (run / "logs" / "metrics.csv").read_bytes() == log


def test_a_run_goes_on_from_its_last_epoch_though_an_earlier_one_was_the_best(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Training, "judge", lambda self: (float(self.standing.epoch), 0.5))  # the loss grows
    run = RunFolder(tmp_path / "run")
    fit(small_config(data, recipe__patience=0), run, say=lambda _: None)
    best, last = (read_checkpoint(run.checkpoints / f"{name}.ckpt")["standing"] for name in ("best", "last"))
    assert (best["epoch"], last["epoch"], last["best_epoch"]) == (1, 3, 1)


def test_the_best_weights_are_named_where_they_were_cut(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    fit(small_config(data), run, say=lambda _: None)
    run.state.unlink()
    (run.checkpoints / "best.ckpt").write_bytes(b"")
    assert _run("train", "--resume", "--out", run.path) == 1
    assert (
        f"{run.checkpoints / 'best.ckpt'}: expected a whole checkpoint, found an empty one" in capsys.readouterr().err
    )


@pytest.mark.parametrize("share", [0.5, 0])
@pytest.mark.parametrize("name", ["weights.safetensors", "model.json", "tokenizer.json", "state.json", "dataset.json"])
def test_what_is_exported_is_named_where_it_was_cut(
    name: str, share: float, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _cut(finished, name, share, tmp_path)
    assert _run("export", run, "--out", tmp_path / "bundle") == 1
    assert f"{run / name}: expected a file of a finished run, found " in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
    if name not in {"state.json", "dataset.json"}:  # judging needs the model, where there are no predictions yet
        (run / "predictions" / "test.npz").unlink()
        assert _run("evaluate", run, "--resamples", "100") == 1
        assert f"{run / name}: expected a file of a finished run, found " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "share"), [("evaluate", 0.5), ("evaluate", 0), ("compare", 0.5), ("compare", 0), ("export", 0.5)]
)
def test_predictions_that_were_cut_are_named_and_can_be_made_again(
    command: str, share: float, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _cut(finished, "predictions/test.npz", share, tmp_path)
    more = ("--out", tmp_path / "bundle") if command == "export" else ("--resamples", "100")
    assert _run(command, run, *more) == 1
    said = capsys.readouterr().err
    assert f"{run / 'predictions' / 'test.npz'}: expected a file of predictions, found " in said
    assert "remove it, and `vigil-export evaluate` computes it again" in said
    (run / "predictions" / "test.npz").unlink()
    assert _run("evaluate", run, "--resamples", "100") == 0
    assert _run(command, run, *more) == 0


@pytest.mark.parametrize("share", [0.5, 0])
@pytest.mark.parametrize("name", ["state.json", "dataset.json", "predictions/test.npz", "calibration.json"])
def test_a_part_of_a_cross_validation_is_named_where_it_was_cut(
    name: str, share: float, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _cut(parts, f"fold-1/{name}", share, tmp_path)
    assert _run("crossval", "--resume", "--out", run) == 1
    assert f"{run / 'fold-1' / name}: expected " in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.5, 0])
@pytest.mark.parametrize("name", ["arrays", "index"])
def test_what_is_kept_of_pictures_is_made_again_where_it_was_cut(
    name: str, share: float, finished: Path, tmp_path: Path
) -> None:
    (store,) = (folder.name for folder in (finished / "cache").iterdir())
    run = _cut(finished, f"cache/{store}/{name}", share, tmp_path)
    (run / "predictions" / "test.npz").unlink()
    assert _run("evaluate", run, "--resamples", "100") == 0
    with_cut, whole = ((folder / "predictions" / "test.npz").read_bytes() for folder in (run, finished))
    assert with_cut == whole
