"""The commands of `vigil-export data`: what they write, how they end, and that nothing half written stays behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.export.folders import fights, full_disk, imagefolder, picture
from vigil_export.cli import main
from vigil_export.data import ReadOptions, open_dataset
from vigil_export.data.checking.check import crossing_groups
from vigil_export.data.reading.read import open_datasets


def run(*arguments: str | Path) -> int:
    """Run `vigil-export` in this process and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def _lines(path: Path) -> list[Mapping[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_help_lists_the_commands_and_loads_none() -> None:
    program = (
        "import sys; from vigil_export.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'cv2', 'sklearn', 'scipy', 'matplotlib', 'vigil_export.cli.data'} & set(sys.modules)\n"
        "sys.exit(f'loaded for nothing: {heavy}' if heavy else 0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "data" in ended.stdout
    assert "keys" in ended.stdout


def test_what_split_writes_is_the_same_data_set_divided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = fights(40, lang="en", night=True)
    for number, row in enumerate(rows):
        row |= {"scene": f"s{number // 4}", "clip": f"c{number // 2}"}
    rows[5] |= {"file_name": None}
    rows[6] |= {"text": None, "label": None}
    source = imagefolder(tmp_path / "in", rows)
    options = ["--group", "scene", "--sequence", "clip"]
    assert run("data", "split", source, *options, "--out", tmp_path / "out") == 0
    assert "binary: fight; nothing happened: normal" in capsys.readouterr().err
    before = open_dataset(source, ReadOptions(columns={"group": "scene", "sequence": "clip"}))
    after = open_dataset(tmp_path / "out")
    assert crossing_groups(after) == {}
    assert {row.split for row in after.rows} == {"train", "validation", "test"}

    def told(row: object) -> str:
        image = getattr(row, "image", None)
        values = [getattr(row, name) for name in ("text", "labels", "group", "sequence", "lang", "facets")]
        return repr((image and image.read_bytes(), *values))

    assert sorted(map(told, after.rows)) == sorted(map(told, before.rows))
    assert (after.task, after.labels, after.negative) == (before.task, before.labels, before.negative)


def test_pictures_of_one_name_share_no_group_when_divided_sets_are_joined(tmp_path: Path) -> None:
    for number, name in enumerate(("x", "y")):
        rows: list[dict[str, Any]] = [{"text": f"{name} {row['text']}"} | row for row in fights(20)]
        rows += [row | {"text": f"also {row['text']}"} for row in rows] + [{"text": f"{name} says", "label": "fight"}]
        for place, row in enumerate(rows[:20]):
            picture(tmp_path / name / row["file_name"], seed=100 * number + place)
        imagefolder(tmp_path / name, rows)
        assert run("data", "split", tmp_path / name, "--out", tmp_path / f"{name}1") == 0
    assert run("data", "split", tmp_path / "x1", tmp_path / "y1", "--out", tmp_path / "both") == 0
    joined = open_dataset(tmp_path / "both")
    assert crossing_groups(joined) == {}
    shown: dict[str, set[bytes]] = {}
    for one in joined.rows:
        shown.setdefault(one.group, set()).add(one.image.read_bytes() if one.image else b"")
    assert Counter(map(len, shown.values())) == {1: 42}  # 2 x 20 pictures with two texts each, and 2 texts alone
    assert Counter(Counter(one.group for one in joined.rows).values()) == {2: 40, 1: 2}


def test_groups_that_are_named_stay_one_group_beside_rows_that_name_none(tmp_path: Path) -> None:
    reviewed = [row | {"group": f"zone-{place % 2}", "sequence": f"t/{place}"} for place, row in enumerate(fights(8))]
    clips = [row | {"sequence": f"clip-{place // 2}"} for place, row in enumerate(fights(20))]
    for name, rows in (("old", clips), ("older", fights(20, group="zone-1")), ("reviewed", reviewed)):
        imagefolder(tmp_path / name, rows)
    sources = [tmp_path / "old1", tmp_path / "older", tmp_path / "reviewed"]
    assert run("data", "split", tmp_path / "old", "--out", sources[0]) == 0
    assert run("data", "split", *sources, "--out", tmp_path / "next") == 0
    joined = open_dataset(tmp_path / "next")
    assert crossing_groups(joined) == {}
    sizes = Counter(row.group for row in joined.rows)
    assert sizes == {"zone-1": 24, "zone-0": 4} | {f"clip-{number}": 2 for number in range(10)}
    named = Counter(line["group"] for file in (tmp_path / "next").glob("*/metadata.jsonl") for line in _lines(file))
    assert named == {"zone-1": 24, "zone-0": 4, None: 20}


def test_sequences_of_one_name_in_two_sets_stay_two_and_named_groups_stay_one(tmp_path: Path) -> None:
    for name, more in (("a", {"group": "yard"}), ("b", {})):
        rows: list[dict[str, Any]] = [row | {"sequence": f"clip{place // 4}"} for place, row in enumerate(fights(20))]
        rows += [row | {"sequence": f"{name}/clip", "group": "yard"} for row in fights(2)]
        rows += [row | {"sequence": "clip9", **more} for row in fights(2)]
        imagefolder(tmp_path / name, rows)
    joined = open_datasets([tmp_path / "a", tmp_path / "b"]).rows
    clips = {f"{number}/clip{clip}": 4 for number in (1, 2) for clip in range(5)}
    assert Counter(row.sequence for row in joined) == clips | {"a/clip": 2, "b/clip": 2, "1/clip9": 2, "2/clip9": 2}
    assert Counter(row.group for row in joined) == clips | {"yard": 6, "2/clip9": 2}
    assert run("data", "split", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "both") == 0
    again = open_datasets([tmp_path / "both", tmp_path / "a"]).rows  # of these, only what is not prefixed is shared
    assert {name: count for name, count in Counter(row.sequence for row in again).items() if "clip0" in name} == {
        "1/clip0": 4,
        "2/clip0": 4,
        "clip0": 4,
    }
    thrice = open_datasets([tmp_path / "both", tmp_path / "a", tmp_path / "b"]).rows
    assert {row.sequence for row in thrice if "clip0" in row.sequence} == {"1/clip0", "2/clip0", "_2/clip0", "3/clip0"}
    assert [row.sequence for row in open_datasets([tmp_path / "a"]).rows][:1] == ["clip0"]


@pytest.mark.parametrize(
    ("shares", "groups", "said"),
    [
        ((), 4, ["no rows left for test: groups stay whole, and there are only 4"]),
        (
            ("--train", "0.9"),
            20,
            ["the shares sum to 1.2, not to 1; using train 75%, validation 12%, test 12%"],
        ),
        (("--train", "0.6", "--validation", "0.4", "--test", "0"), 20, []),
        ((), 20, []),
    ],
)
def test_a_split_that_is_not_what_was_asked_for_is_said(
    shares: tuple[str, ...], groups: int, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"group": f"g{number % groups}"} for number, row in enumerate(fights(40))]
    for number, row in enumerate(rows):
        row["label"] = ("fight", "normal")[number // groups % 2]
    assert run("data", "split", imagefolder(tmp_path / "in", rows), *shares, "--out", tmp_path / "out") == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING: ")]
    assert [line.removeprefix("WARNING: ") for line in warnings] == said


def test_pictures_of_one_name_in_two_folders_both_survive(tmp_path: Path) -> None:
    rows = [{"file_name": f"{n}/x.jpg", "text": "t", "label": ("fight", "normal")[n % 2]} for n in range(6)]
    source = imagefolder(tmp_path / "in", rows)
    assert (
        run("data", "split", source, "--train", "1", "--validation", "0", "--test", "0", "--out", tmp_path / "o") == 0
    )
    written = [row.image for row in open_dataset(tmp_path / "o").rows]
    assert len({image.read_bytes() for image in written if image}) == 6


def test_links_share_the_bytes_of_a_picture(tmp_path: Path) -> None:
    source = imagefolder(tmp_path / "in", fights(6))
    assert run("data", "split", source, "--links", "--out", tmp_path / "o") == 0
    assert next((tmp_path / "o").rglob("*.jpg")).stat().st_nlink == 2


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--out", "{out}", "--keep", "all"], 2, "--keep: expected train, validation, test, found all"),
        (["--out", "{out}", "--task", "many"], 2, "--task: expected auto, binary, multiclass, multilabel, found many"),
        (["--out", "{out}", "--column", "text"], 2, "--column: expected NAME=COLUMN"),
        (["--out", "{out}", "--label", "what"], 1, "expected a column 'what' (for label), found the columns"),
        (["--out", "{in}"], 1, "expected nothing there, found something"),
        (["--out", "{file}/sub/out"], 1, "Not a directory"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    source = imagefolder(tmp_path / "in", fights(8))
    (tmp_path / "file").touch()
    places = {"out": tmp_path / "out", "in": source, "file": tmp_path / "file"}
    assert run("data", "split", source, *(argument.format(**places) for argument in arguments)) == status
    assert message in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "in"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = imagefolder(tmp_path / "in", fights(6))
    with full_disk(300):  # bytes of a file; less than any picture has
        assert run("data", "split", source, "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "File too large; free space there, or choose another place" in said
    assert str(source) not in said, "there is no space missing where the pictures come from"
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_interrupted_command_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "vigil_export",
        "data",
        "site",
        "--out",
        str(tmp_path / "site"),
        "--train",
        "100000",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".site.*/train/*.jpg")):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, error.strip().splitlines()[-1]) == (130, "vigil-export: interrupted")
    assert list(tmp_path.iterdir()) == []


def test_the_drawn_site_has_several_texts_per_picture_and_shares_no_camera(tmp_path: Path) -> None:
    numbers = ["--train", "30", "--validation", "4", "--test", "6", "--texts", "3"]
    for name in ("one", "two"):
        assert run("data", "site", *numbers, "--out", tmp_path / name) == 0
    assert (tmp_path / "one/test/metadata.jsonl").read_bytes() == (tmp_path / "two/test/metadata.jsonl").read_bytes()
    dataset = open_dataset(tmp_path / "one")
    assert (dataset.task, len(dataset.rows), len({row.image for row in dataset.rows})) == ("multilabel", 120, 40)
    assert crossing_groups(dataset) == {}
    assert len({row.group for row in dataset.rows if row.split == "train"}) == 2
    first = [row for row in dataset.rows if row.image == dataset.rows[0].image]
    assert len({row.text for row in first}) == 3
    assert len({(row.labels, row.facets, row.group) for row in first}) == 1
    assert {dict(row.facets)["wording"] for row in dataset.rows if row.split == "test"} == {"train", "held-out"}
    assert {name for name, _ in first[0].facets} == {"kind", "claims", "scene", "picture", "hour", "wording"}


def test_the_options_that_the_page_names_exist(capsys: pytest.CaptureFixture[str]) -> None:
    page = (REPOSITORY / "docs" / "data.md").read_text("utf-8")
    lines = re.findall(r"^vigil-export data ([a-z-]+)(.*)$", page, re.MULTILINE)
    assert {name for name, _ in lines} == {"check", "split", "verdicts", "from-decisions", "site"}
    for name, rest in lines:
        assert run("data", name, "--help") == 0
        shown = capsys.readouterr().out
        assert [option for option in re.findall(r"--[a-z-]+", rest) if option not in shown] == []
    helps = []
    for name in ("check", "split", "verdicts", "from-decisions", "site"):
        assert run("data", name, "--help") == 0
        helps.append(capsys.readouterr().out)
    ours = {option for option in re.findall(r"`(--[a-z-]+)", page) if option not in "".join(helps)}
    assert ours == set()
