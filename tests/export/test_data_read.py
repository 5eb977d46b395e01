"""A data set is read as it is meant, or refused with the place, what was expected and what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.export.folders import fights, imagefolder, picture
from vigil_export.data import DataError, ReadOptions, open_dataset


def _labelled(folder: Path, *labels: Any) -> Path:  # noqa: ANN401 - a label, or a list of them
    column = "labels" if any(isinstance(label, list) for label in labels) else "label"
    return imagefolder(folder, ({"text": f"t{n}", column: label} for n, label in enumerate(labels)))


def test_rows_of_an_imagefolder_keep_their_columns(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"file_name": "a.jpg", "text": "打架", "label": "fight", "scene": 7, "clip": "c", "lang": "zh", "night": True},
        {"file_name": "a.jpg", "text": " ", "label": "normal", "scene": 8, "clip": None, "box": [1, 2], "fold": 3},
        {"file_name": None, "text": "x", "label": "normal", "scene": None},
    ]
    imagefolder(tmp_path / "train", rows)
    data = open_dataset(tmp_path, ReadOptions(columns={"group": "scene", "sequence": "clip"}))
    first, second, third = data.rows
    assert (data.task, data.labels, data.negative) == ("binary", ("fight",), ("normal",))
    assert (first.id, first.image, first.split) == ("train/metadata.jsonl:1", tmp_path / "train" / "a.jpg", "train")
    assert (first.text, first.labels, first.group, first.sequence, first.lang) == ("打架", ("fight",), "7", "c", "zh")
    assert (first.facets, second.facets) == ((("night", "true"),), (("fold", "3"),))
    assert (second.text, second.sequence) == ("", "")
    assert (third.image, third.group) == (None, "row:train/metadata.jsonl:3")


def test_rows_that_share_a_picture_are_one_group_where_none_is_given(tmp_path: Path) -> None:
    for split in ("train", "test"):
        imagefolder(tmp_path / split, [row | {"file_name": "a.jpg"} for row in fights(2)])
    groups = [row.group for row in open_dataset(tmp_path).rows]
    assert groups == ["picture:train/a.jpg"] * 2 + ["picture:test/a.jpg"] * 2


def test_csv_reads_as_jsonl_does(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / name)
    text = '\ufefffile_name,text,labels,split\r\na.jpg,"two\nlines, one cell",fire;left bag,train\r\n'
    text += "b.jpg,,,dev\r\na.jpg,,,Train\r\n"
    (tmp_path / "metadata.csv").write_text(text, encoding="utf-8", newline="")
    data = open_dataset(tmp_path)
    assert (data.task, data.labels) == ("multilabel", ("fire", "left bag"))
    assert [(row.text, row.labels, row.split) for row in data.rows] == [
        ("two\nlines, one cell", ("fire", "left bag"), "train"),
        ("", (), "validation"),
        ("", (), "train"),
    ]
    assert [row.id for row in data.rows] == ["metadata.csv:2", "metadata.csv:4", "metadata.csv:5"]
    assert open_dataset(tmp_path / "metadata.csv").rows == data.rows


def test_a_picture_that_two_splits_reach_is_one_group(tmp_path: Path) -> None:
    picture(tmp_path / "0.png")
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        lines = [
            {"file_name": "../0.png", "text": f"{label} in {name}", "label": label} for label in ("fight", "quiet")
        ]
        (tmp_path / name / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [row.group for row in open_dataset(tmp_path).rows] == ["picture:0.png"] * 4


def test_questions_and_answers_are_texts_and_labels_of_a_picture(tmp_path: Path) -> None:
    for split, answers in (("train", ["yes", "no", "blue"]), ("test", ["blue"])):
        picture(tmp_path / "data" / split / "images" / "7.png")
        questions = [[f"question {number}?", answer, 7] for number, answer in enumerate(answers)]
        (tmp_path / "data" / split / "questions.json").write_text(json.dumps(questions))
    data = open_dataset(tmp_path)
    assert (data.task, data.labels, data.negative) == ("multiclass", ("blue", "no", "yes"), ())
    assert [row.group for row in data.rows] == [*["picture:train/images/7.png"] * 3, "picture:test/images/7.png"]
    assert not any(row.is_group_named for row in data.rows)
    assert data.rows[3].image == tmp_path / "data" / "test" / "images" / "7.png"
    assert (data.rows[3].id, data.rows[3].split) == ("test/questions.json:1", "test")


@pytest.mark.parametrize(
    ("labels", "options", "expected"),
    [
        (["fight", "normal"], {}, ("binary", ("fight",), ("normal",))),
        (["yes", "no"], {}, ("binary", ("yes",), ("no",))),
        ([1, 0], {}, ("binary", ("1",), ("0",))),
        (["fight", None], {}, ("binary", ("fight",), ())),
        (["cat", "dog"], {}, ("multiclass", ("cat", "dog"), ())),
        (["cat", "dog"], {"negative": ("dog",)}, ("binary", ("cat",), ("dog",))),
        (["cat", "dog"], {"labels": ("cat",)}, ("binary", ("cat",), ("dog",))),
        (["cat", "dog"], {"labels": ("dog", "cat")}, ("multiclass", ("dog", "cat"), ())),
        (["fight", "normal"], {"labels": ("normal", "fight")}, ("binary", ("fight",), ("normal",))),
        (["fight", "normal"], {"task": "multiclass"}, ("multiclass", ("fight", "normal"), ("normal",))),
        (["fire", "fight", "normal"], {}, ("multiclass", ("fight", "fire", "normal"), ("normal",))),
        (["fire", "fight", "normal"], {"task": "multilabel"}, ("multilabel", ("fight", "fire"), ("normal",))),
        ([["fire"], ["fire", "fight"], []], {}, ("multilabel", ("fight", "fire"), ())),
        ([["fire", "none"], []], {"labels": ("fire", "none")}, ("multilabel", ("fire", "none"), ())),
    ],
)
def test_labels_say_what_the_task_is(tmp_path: Path, labels: list[Any], options: Any, expected: Any) -> None:  # noqa: ANN401
    data = open_dataset(_labelled(tmp_path, *labels), ReadOptions(**options))
    assert (data.task, data.labels, data.negative) == expected


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (["fight", "fight"], {}, "expected rows of at least two classes, found fight in all 2 rows"),
        (["normal", None], {}, "found nothing but negative rows in all 2 rows"),
        (["cat", "dog", "bird"], {"labels": ("cat", "dog")}, "jsonl:3: expected a label out of cat, dog, found 'bird'"),
        (["cat", "dog", None], {}, "jsonl:3: expected one label, found none"),
        (["cat", "dog"], {"task": "binary"}, "expected one label beside the negative ones, found cat, dog"),
        ([["fire", "normal"], []], {}, "jsonl:1: expected a negative label to stand alone, found fire, normal"),
        ([["fire"], []], {"labels": ("fire",), "negative": ("fire",)}, "expected no name that is negative too"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(tmp_path: Path, labels: Any, options: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(DataError, match=message):
        open_dataset(_labelled(tmp_path, *labels), ReadOptions(**options))


def test_a_label_that_training_lacks_is_refused_and_a_set_to_be_judged_may_hold_one_class(tmp_path: Path) -> None:
    imagefolder(tmp_path / "train", fights(2))
    imagefolder(tmp_path / "test", [{"text": "x", "label": "fire"}])
    with pytest.raises(
        DataError, match=r"test/metadata.jsonl:1: expected a label that occurs in training, found 'fire'"
    ):
        open_dataset(tmp_path)
    judged = open_dataset(tmp_path / "test", ReadOptions(labels=("fire", "fight"), negative=("normal",)))
    assert judged.labels == ("fire", "fight", "normal")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": ', r"metadata.jsonl:2: expected a JSON object, found '\{\"text\":'"),
        ("[1]", "metadata.jsonl:2: expected a JSON object"),
        ('{"text": "", "label": "fight"}', "metadata.jsonl:2: expected a picture, a text, or both, found neither"),
        (
            '{"text": "", "label": "fight", "words": "hit", "camera": 7, "empty": " ", "box": [1]}',
            "found neither; the columns camera, words were not used: if one holds it, name it, --column text=NAME or",
        ),
        ('{"text": "", "label": "fight", "empty": ""}', "found neither$"),
        ('{"text": ["a"], "label": "fight"}', "metadata.jsonl:2: expected a word or a number in text, found list"),
        ('{"file_name": "no.jpg", "label": "x"}', "metadata.jsonl:2: expected the picture .*no.jpg, found no file"),
        ('{"text": "x", "label": "fight", "split": "trian"}', "metadata.jsonl:2: expected the split .* found 'trian'"),
        ("\udcff", "expected UTF-8"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    imagefolder(tmp_path, [{"text": "x", "label": "normal"}])
    with (tmp_path / "metadata.jsonl").open("ab") as file:
        file.write(line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,label\na,x\nb\n", "metadata.csv:3: expected 2 columns, found 1"),
        ("text,text\n", "metadata.csv:1: expected every column once"),
        ('text,label\na,x\n"b,y\n', "metadata.csv:3: expected CSV with a header"),
        ("text,label\n", "metadata.csv: expected at least one line of data, found none"),
        ("text;label\na;x\n", "found the columns text;label; write the file again, separated by commas$"),
        ("text\tlabel\na\tx\n", "found the columns text\tlabel; write the file again, separated by commas$"),
        ("text;label\na, b;x\n", "csv:2: expected 1 columns, found 2; write the file again, separated by commas$"),
        ("text\na\n", "expected one column label .* found the columns text$"),
        ("words,label\na,x\n", "expected a column file_name, text, or both, found the columns label, words"),
        ("text,label,labels\na,x,x\n", "expected one column label .* found the columns label, labels, text"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path)


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    imagefolder(tmp_path, fights(2))
    with pytest.raises(DataError, match=r"a column 'camera' \(for group\), found the columns file_name, label, text"):
        open_dataset(tmp_path, ReadOptions(columns={"group": "camera"}))
    with pytest.raises(DataError, match=r"expected names out of .* found groop"):
        open_dataset(tmp_path, ReadOptions(columns={"groop": "camera"}))


def test_blanks_around_the_names_of_columns_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("label, text ,group\nfight,x,1\nnormal,y,2\n")
    assert [row.text for row in open_dataset(tmp_path).rows] == ["x", "y"]


def test_a_split_without_the_column_of_labels_is_not_read_as_nothing_happened(tmp_path: Path) -> None:
    imagefolder(tmp_path / "train", fights(4))
    imagefolder(tmp_path / "test", [{"text": "x", "lable": "fight"}, {"text": "y", "lable": "normal"}])
    with pytest.raises(DataError, match=r"test/metadata.jsonl: expected a column 'label' .* the columns lable, text"):
        open_dataset(tmp_path)


def test_a_split_that_was_cut_off_is_not_read_as_one_that_is_not_there(tmp_path: Path) -> None:
    imagefolder(tmp_path / "test", fights(4))
    imagefolder(tmp_path / "train", [])
    with pytest.raises(DataError, match=r"train/metadata.jsonl: expected at least one line of data, found none"):
        open_dataset(tmp_path)


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "no", "found nothing there"), (tmp_path, r"expected metadata.jsonl")):
        with pytest.raises(DataError, match=message):
            open_dataset(path)
    imagefolder(tmp_path, fights(2))
    imagefolder(tmp_path / "train", fights(2))
    with pytest.raises(
        DataError, match=r"expected one file of metadata, or one in each split, found metadata.jsonl, t"
    ):
        open_dataset(tmp_path)
