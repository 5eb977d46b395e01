"""Checks find what they promise to find: leaks, repetitions, broken pictures; and nothing where there is nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.export.folders import fights, imagefolder, picture
from vigil_export.cli import main
from vigil_export.data import ReadOptions, open_dataset
from vigil_export.data.checking.check import KINDS, Report, check
from vigil_export.data.checking.duplicates import NEAR_BITS, NEAR_CELL, NEAR_COLOUR, fingerprint, near_pairs, normalise
from vigil_export.data.dividing.partition import split
from vigil_export.data.dividing.ties import tie_pictures
from vigil_export.data.rows import SplitName
from vigil_export.evaluation.report import sheet_page


def _scene(seed: int) -> npt.NDArray[np.uint8]:
    """Draw something smooth, as photographs are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (120, 90), interpolation=cv2.INTER_CUBIC), np.uint8)


def _folder(tmp_path: Path, **splits: list[dict[str, Any]]) -> Path:
    for name, rows in splits.items():
        imagefolder(tmp_path / name, rows)
    return tmp_path


def _found(report: Report) -> dict[str, int]:
    return {found.kind: found.count for found in report.findings}


def _many(split_name: str, count: int = 24) -> list[dict[str, Any]]:
    rows = fights(count)
    return [row | {"text": f"{split_name} {row['text']}", "lang": "en"} for row in rows]


def _clean(tmp_path: Path) -> Path:
    _folder(tmp_path, train=_many("train"), test=_many("test"))
    for number in range(24):  # pictures of the two splits differ
        picture(tmp_path / "test" / f"{number}.jpg", seed=1000 + number)
    return tmp_path


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    report = check(open_dataset(_clean(tmp_path)))
    assert report.findings == ()
    train, test = report.parts
    assert (train.name, train.rows, train.groups, train.pictures, train.distinct_texts) == ("train", 24, 24, 24, 24)
    assert (test.labels, test.languages) == ({"fight": 12, "normal": 12}, {"en": 24})


def test_each_fault_is_found(tmp_path: Path) -> None:
    folder = _clean(tmp_path)
    train = _many("train")
    test = _many("test")
    for rows in (train, test):
        for number, row in enumerate(rows):
            row["group"] = f"{row['text'].split()[0]}-{number}"
    test[0]["group"] = train[0]["group"]
    (folder / "test/1.jpg").write_bytes((folder / "train/1.jpg").read_bytes())
    (folder / "train/2.jpg").write_bytes((folder / "train/3.jpg").read_bytes())
    cv2.imwrite(str(folder / "train/4.jpg"), _scene(5))
    cv2.imwrite(str(folder / "test/4.jpg"), cv2.convertScaleAbs(_scene(5), alpha=0.98, beta=3))
    picture(folder / "test/5.jpg", seed=77, side=20)
    (folder / "test/6.jpg").write_bytes((folder / "test/6.jpg").read_bytes()[:-200])
    test[7]["text"] = f"TRAIN  {train[7]['text'].split(' ', 1)[1]}!"
    test[8] |= {"file_name": "9.jpg", "text": test[9]["text"]}
    test[10] |= {"text": None}
    test[11] |= {"file_name": None}
    test[12] |= {"lang": "zh"}
    test.append(test[13] | {"label": "fire"})
    train.append(train[13] | {"label": "fire"})
    _folder(folder, train=train, test=test)
    report = check(open_dataset(folder))
    assert _found(report) == {
        "unreadable": 1,
        "groups-cross": 1,
        "same-pictures-cross": 1,
        "near-pictures-cross": 2,
        "same-texts-cross": 1,
        "contradictions": 3,
        "tiny": 1,
        "rare-labels": 2,
        "new-languages": 1,
        "no-text": 1,
        "no-picture": 1,
        "same-pictures": 2,
        "near-pictures": 2,
        "same-texts": 4,
    }
    assert set(_found(report)) == set(KINDS) - {"one-sided"}, "a kind without a test"
    words = {found.kind: " ".join(found.examples) for found in report.findings}
    assert "test/6.jpg" in words["unreadable"]
    assert "train-0: train, test" in words["groups-cross"]
    assert "train/4.jpg" in words["near-pictures-cross"]
    assert "fire in train: 1" in words["rare-labels"]
    refused = ("unreadable", "groups-cross", "same-pictures-cross", "near-pictures-cross")
    assert [found.kind for found in report.refused(())] == list(refused)
    assert report.refused(refused) == ()


def test_languages_without_a_column_are_told_by_script(tmp_path: Path) -> None:
    rows = [
        row | {"text": text} for row, text in zip(fights(4), ("两个人打架 now", "fight", "драка", "112!"), strict=True)
    ]
    part = check(open_dataset(imagefolder(tmp_path, rows))).parts[0]
    assert part.languages == {"cjk": 1, "latin": 1, "cyrillic": 1, "no letters": 1}


def test_one_picture_shown_in_two_splits_is_found(tmp_path: Path) -> None:
    rows = [
        row | {"file_name": "0.jpg", "split": name}
        for row, name in zip(_many("x"), ["train", "test", "test", "train"] * 6, strict=True)
    ]
    found = _found(check(open_dataset(imagefolder(tmp_path, rows))))
    assert (found["same-pictures-cross"], found["groups-cross"], "same-pictures" in found) == (1, 1, False)


def test_a_data_set_without_pictures_is_checked_and_divided(tmp_path: Path) -> None:
    rows = [row | {"file_name": None} for row in fights(20)]
    dataset = open_dataset(imagefolder(tmp_path / "data", rows))
    assert _found(check(dataset)) == {"one-sided": 20, "no-picture": 20}
    assert tie_pictures(dataset.rows) == []
    assert _run("data", "check", tmp_path / "data", "--sheet", tmp_path / "sheet.html") == 0
    assert _run("data", "split", tmp_path / "data", "--tie-pictures", "--out", tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("ours", "theirs", "side"), [("text", "sentence", "text"), ("file_name", "picture", "picture")]
)
def test_a_side_in_a_column_of_another_name_is_told_with_both_names(
    ours: str, theirs: str, side: str, tmp_path: Path
) -> None:
    rows = fights(20)
    imagefolder(tmp_path, rows)
    imagefolder(tmp_path, [{theirs if name == ours else name: row[name] for name in row} for row in rows])
    found = {one.kind: one for one in check(open_dataset(tmp_path)).findings}
    assert (
        f"have no {side}: expected it in the column {ours}, found columns that were not used ({theirs}); if another "
        f"column holds it, name it: --column {ours}=NAME"
    ) in found["one-sided"].words
    named = check(open_dataset(tmp_path, ReadOptions(columns={ours: theirs})))
    assert "one-sided" not in _found(named)


@pytest.mark.parametrize(("column", "side"), [("text", "text"), ("file_name", "picture")])
def test_a_side_that_one_split_alone_lacks_is_found(column: str, side: str, tmp_path: Path) -> None:
    rows = fights(20)
    notes = [{"note": f"seen by the guard {place}"} for place in range(20)]  # a column of all splits is not it
    renamed = [{"other" if name == column else name: value for name, value in row.items()} for row in rows]
    emptied = [row | {column: None} for row in rows]
    for last, unused in ((renamed, "columns that were not used (other)"), (emptied, "no other column")):
        for name, lines in (("train", rows), ("validation", rows), ("test", last)):
            imagefolder(tmp_path / name, rows)
            imagefolder(tmp_path / name, [line | note for line, note in zip(lines, notes, strict=True)])
        (found,) = (one for one in check(open_dataset(tmp_path)).findings if one.kind == "one-sided")
        assert found.count == 20
        assert f"(all of test) have no {side}, but some of other splits have" in found.words
        assert f"found {unused}; if another" in found.words


def test_rows_that_contradict_each_other_are_told_by_what_they_have(tmp_path: Path) -> None:
    rows = fights(6)
    rows += [rows[0] | {"label": "fire"}, rows[1] | {"label": "fire"}]
    rows += [{"text": "smoke", "label": label} for label in ("fire", "normal")]
    rows += [{"file_name": "9.jpg", "label": label} for label in ("fire", "normal")]
    found = {one.kind: one.words for one in check(open_dataset(imagefolder(tmp_path, rows))).findings}
    assert "(2 picture and text, 1 text alone, 1 picture alone)" in found["contradictions"]


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    rows = [row | {"label": row["label"] if number % 4 else None} for number, row in enumerate(fights(20))]
    (part,) = check(open_dataset(imagefolder(tmp_path, rows))).parts
    assert (part.without_label, part.labels) == (5, {"normal": 10, "fight": 5})


def test_near_pairs_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(4)
    hashes = rng.integers(0, 1 << 64, 60, dtype=np.uint64)
    hashes = np.concatenate([hashes, hashes ^ (np.uint64(1) << rng.integers(0, 64, 60, dtype=np.uint64)), hashes])
    thumbnails = rng.integers(100, 112, (180, 8, 8, 3), dtype=np.uint8)
    thumbnails[::7] += 40  # another colour
    thumbnails[::11, 3, 3] = 255  # something in one place
    expected = set()
    for one in range(180):
        for other in range(one + 1, 180):
            distance = np.abs(thumbnails[one].astype(int) - thumbnails[other].astype(int))
            is_near = (int(hashes[one]) ^ int(hashes[other])).bit_count() <= NEAR_BITS
            if is_near and distance.mean() <= NEAR_COLOUR and distance.max() <= NEAR_CELL:
                expected.add((one, other))
    found = [tuple(pair) for portion in near_pairs(hashes, thumbnails) for pair in portion.tolist()]
    assert (len(found), set(found)) == (len(expected), expected)
    assert 60 < len(expected) < 180


def test_a_picture_saved_anew_is_near_and_another_is_not() -> None:
    scene = _scene(1)
    ok, saved = cv2.imencode(".jpg", cv2.resize(scene, (60, 45), interpolation=cv2.INTER_AREA), [1, 40])
    assert ok
    prints = [fingerprint(pixels) for pixels in (scene, np.asarray(cv2.imdecode(saved, 1), np.uint8), _scene(2))]
    hashes = np.array([found for found, _ in prints], np.uint64)
    assert [pair.tolist() for pair in near_pairs(hashes, np.stack([look for _, look in prints]))] == [[[0, 1]]]


def test_flat_pictures_of_two_colours_are_not_near() -> None:
    prints = [fingerprint(np.full((64, 64, 3), colour, np.uint8)) for colour in ((200, 0, 0), (0, 0, 200))]
    hashes = np.array([found for found, _ in prints], np.uint64)
    assert hashes[0] == hashes[1], "the hash alone cannot tell them apart"
    assert sum(len(pair) for pair in near_pairs(hashes, np.stack([look for _, look in prints]))) == 0


@pytest.mark.parametrize(
    ("one", "other", "is_equal"),
    [
        ("Two men, fighting!", "two  men fighting", True),
        ("\uff12 人打架。", "2 人打架", True),
        ("STRASSE", "straße", True),
        ("gate 1", "gate 2", False),
        ("न", "नि", False),
    ],
)
def test_texts_are_equal_after_normalisation(one: str, other: str, is_equal: bool) -> None:  # noqa: FBT001
    assert (normalise(one) == normalise(other)) is is_equal


def test_tied_pictures_end_in_one_split(tmp_path: Path) -> None:
    rows = [row | {"group": f"g{number}"} for number, row in enumerate(fights(30))]
    for number in range(10):  # three near pictures each: n, n + 10, n + 20
        for turn in range(3):
            path = tmp_path / f"{number + 10 * turn}.jpg"
            cv2.imwrite(str(path), cv2.convertScaleAbs(_scene(number), alpha=1 - 0.01 * turn, beta=turn))
    dataset = open_dataset(imagefolder(tmp_path, rows))
    tied = tie_pictures(dataset.rows)
    assert len(tied) == 20
    shares: dict[SplitName, float] = {"train": 0.7, "validation": 0.15, "test": 0.15}
    loose, together = (split(dataset, shares, seed=1, tied=pairs) for pairs in ((), tied))
    assert "near-pictures-cross" in _found(check(loose))
    assert "near-pictures-cross" not in _found(check(together))
    assert all(together.rows[n].split == together.rows[n + 10].split == together.rows[n + 20].split for n in range(10))


def test_a_sheet_shows_every_label_whatever_its_rows_are(tmp_path: Path) -> None:
    dataset = open_dataset(imagefolder(tmp_path, [row | {"text": "两人打架 <b>"} for row in fights(9)]))
    for row in dataset.rows[:1]:
        assert row.image is not None
        row.image.write_bytes(b"broken")
    dataset = replace(dataset, rows=(*dataset.rows, replace(dataset.rows[0], image=None, labels=(), text="")))
    page = sheet_page(dataset)
    assert [f"<h2>{label}</h2>" in page for label in ("fight", "normal", "no label")] == [True] * 3
    assert page.count("data:image/jpeg") == len(dataset.rows) - 2
    assert ("not readable" in page, "no picture" in page, "(no text)" in page) == (True, True, True)
    assert "两人打架 &lt;b&gt;" in page
    assert (page, sheet_page(dataset, seed=1) != page) == (sheet_page(dataset), True)


def _run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_check_refuses_a_leak_unless_it_is_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _clean(tmp_path / "data")
    assert _run("data", "check", folder, "--sheet", tmp_path / "sheet.html") == 0
    assert (tmp_path / "sheet.html").exists()
    (folder / "test/1.jpg").write_bytes((folder / "train/1.jpg").read_bytes())
    capsys.readouterr()
    assert _run("data", "check", folder) == 4
    shown = capsys.readouterr()
    assert "error   same-pictures-cross: 1 pictures" in shown.out
    assert "REFUSED: same-pictures-cross" in shown.err
    assert _run("data", "check", folder, "--allow", "same-pictures-cross", "--json") == 0
    assert json.loads(capsys.readouterr().out)["findings"][0]["kind"] == "same-pictures-cross"
    assert _run("data", "check", folder, "--allow", "all") == 0
    assert _run("data", "check", folder, "--allow", "leak") == 2


@pytest.mark.shared_data
def test_the_leak_of_the_split_folders_of_fight_uca_is_found(shared_data: Path) -> None:
    options = ReadOptions(columns={"group": "scene", "sequence": "clip"})
    found = _found(check(open_dataset(shared_data / "fight-uca", options)))
    assert found["groups-cross"] == 3
    assert found["near-pictures-cross"] > 20
    assert "unreadable" not in found


@pytest.mark.parametrize(
    ("key", "values", "rare"),
    [
        ("label", ("raw", "baked", "nothing"), ("baked in train: 1", "nothing in train: 1", "raw in train: 1")),
        ("label", ("fire", "nothing"), ("fire in train: 1", "nothing in train: 1")),
        ("labels", (["fire"], ["smoke"], ["nothing"]), ("fire in train: 1", "smoke in train: 1")),
    ],
    ids=["exclusive", "of two", "several"],
)
def test_a_class_with_few_rows_is_named_once(tmp_path: Path, key: str, values: Any, rare: tuple[str, ...]) -> None:  # noqa: ANN401
    rows = [{"file_name": f"{number}.jpg", "text": f"{number}", key: value} for number, value in enumerate(values)]
    found = check(open_dataset(_folder(tmp_path, train=rows)))
    assert [finding.examples for finding in found.findings if finding.kind == "rare-labels"] == [rare]
