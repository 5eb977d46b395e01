"""Decisions, verdicts and evidence become rows; recordings and folders are those that the live side writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_app.adapters.reading import evidence as live
from stream_app.wire.evidence import Piece, file_name
from tests.conftest import REPOSITORY
from tests.export.folders import full_disk, picture
from vigil_export.cli import main
from vigil_export.data import DataError, Row, open_dataset
from vigil_export.data.review.decisions import Outcome, judge, read_decisions
from vigil_export.data.review.evidence import read_evidence, text_of
from vigil_export.data.review.verdicts import read_verdicts

FIGHT_TEXT = b'{"text": "two men fighting", "severity": 4}'
RECORDS = {("text", 17): FIGHT_TEXT, ("text", 18): "有人打架".encode(), ("frame", 40): b"", ("frame", 41): b""}


def _decision(text: int | None, frame: int | None) -> dict[str, Any]:
    """Return the decision of docs/wire.md (whose own test holds it true) about other records."""
    document = (REPOSITORY / "docs" / "wire.md").read_text("utf-8")
    found = re.search(r"<!-- example: decision -->\n```json\n(.*?)```", document, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    one, other = content["evidence"]
    named = [one | {"offset": text}] if text is not None else []
    content["evidence"] = named + ([other | {"offset": frame}] if frame is not None else [])
    return content


def _record(path: Path, *decisions: object) -> Path:
    path.write_text("".join(f"{json.dumps(decision)}\n" for decision in decisions))
    return path


def _evidence(folder: Path, alert: str, *named: tuple[str, int], gone: tuple[str, int] | None = None) -> Path:
    """Write a folder as `vigil evidence` does, with its own functions."""
    live._write_alert(folder, msgspec.json.encode({"id": alert, "incident": f"i-{alert}", "phase": "opened"}))
    pieces = []
    for kind, offset in named:
        camera = "gate/1" if kind == "frame" else ""
        piece = Piece(
            kind="frame" if kind == "frame" else "text",
            topic=f"vigil.{kind}s",
            partition=3,
            offset=offset,
            camera=camera,
        )
        if (kind, offset) == gone:
            pieces.append(msgspec.structs.replace(piece, missing="retention has passed"))
            continue
        value = RECORDS[kind, offset]
        if kind == "frame":
            value = picture(folder / "x.jpg", seed=offset).read_bytes()
            (folder / "x.jpg").unlink()
        name = file_name(piece, value, set())
        (folder / name).write_bytes(value)
        pieces.append(msgspec.structs.replace(piece, file=name))
    live._write_index(folder, pieces)
    return folder


def _judge(tmp_path: Path, verdicts: str, *, group_by: Any = "zone", gone: Any = None) -> Outcome:  # noqa: ANN401
    recorded = [_decision(17, 40), _decision(17, 41), _decision(18, None), _decision(99, 98)]
    decisions = _record(tmp_path / "d.jsonl", *recorded)
    (tmp_path / "v.csv").write_text(verdicts)
    named = (("text", 17), ("frame", 40), ("frame", 41))
    _evidence(tmp_path / "e" / "a1", "a1", *named, gone=gone)
    _evidence(tmp_path / "e" / "a2", "a2", ("text", 18))
    return judge(
        read_decisions(decisions),
        read_verdicts(tmp_path / "v.csv"),
        read_evidence([tmp_path / "e"]),
        group_by=group_by,
    )


def _labels(rows: list[Row]) -> dict[str, str]:
    return {re.sub(r"vigil\.(text|frame)s/3/", r"\1", row.id): "+".join(row.labels) for row in rows}


def test_a_verdict_on_an_alert_is_one_on_all_its_observations(tmp_path: Path) -> None:
    outcome = _judge(tmp_path, "alert,label,reviewer\na1,normal,ann\ni-a2,fight,\n")
    assert _labels(outcome.rows) == {
        "text17 + frame40": "normal",
        "text17 + frame41": "normal",
        "text18": "fight",
    }
    first, _, alone = outcome.rows
    assert (first.text, alone.text, alone.image) == ("two men fighting", "有人打架", None)
    assert first.image is not None
    assert first.image.read_bytes() == picture(tmp_path / "x.jpg", seed=40).read_bytes()
    assert (first.group, first.sequence) == ("dock-3", "vigil.texts/3/17")
    assert dict(first.facets) == {
        "camera": "c1",
        "model": "site 1",
        "reviewer": "ann",
        "said": "fight",
        "score": "0.9312",
        "zone": "dock-3",
    }
    assert (outcome.without_verdict, outcome.without_evidence, outcome.unused) == (1, [], [])


def test_the_narrower_verdict_stands(tmp_path: Path) -> None:
    lines = (
        "alert,text,frame,label",
        "a1,,,fight",
        ",vigil.texts/3/17,,normal",
        ",vigil.texts/3/17,vigil.frames/3/41,fire",
        ",,vigil.frames/3/7,fire",
        ",vigil.texts/3/18,,",
    )
    outcome = _judge(tmp_path, "\n".join(lines) + "\n")
    assert _labels(outcome.rows) == {"text17 + frame40": "normal", "text17 + frame41": "fire"}
    assert outcome.unused == ["v.csv:2", "v.csv:5"]
    assert read_verdicts(tmp_path / "v.csv").open == 1


def test_verdicts_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"v.csv:3: expected the verdict of v.csv:2 \(normal\), .* found fight"):
        _judge(tmp_path, "text,frame,label\nvigil.texts/3/17,,normal\n,vigil.frames/3/40,fight\n")


def test_an_observation_without_all_its_records_is_left_out_and_said(tmp_path: Path) -> None:
    outcome = _judge(tmp_path, "alert,label\na1,normal\n", gone=("frame", 40))
    assert _labels(outcome.rows) == {"text17 + frame41": "normal"}
    assert outcome.without_evidence == ["vigil.frames/3/40: retention has passed"]


@pytest.mark.parametrize(
    ("group_by", "groups"),
    [("camera", {"dock-3/c1", "dock-3/"}), ("text", {"vigil.texts/3/17", "vigil.texts/3/18"})],
)
def test_groups_are_what_is_asked_for(tmp_path: Path, group_by: str, groups: set[str]) -> None:
    outcome = _judge(tmp_path, "alert,label\na1,normal\na2,fight\n", group_by=group_by)
    assert {row.group for row in outcome.rows} == groups


def test_a_recording_may_have_the_key_beside_the_value_and_an_observation_twice(tmp_path: Path) -> None:
    later = _decision(17, 40) | {"zone": "later"}
    lines = [_decision(17, 40), {"key": "z", "payload": json.dumps(_decision(17, 41))}, {"key": "z", "value": later}]
    read = read_decisions(_record(tmp_path / "d.jsonl", *lines))
    assert [(decision.zone, decision.evidence[1].offset) for decision in read] == [("later", 40), ("dock-3", 41)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": "an alert"}, r"d.jsonl:1: expected a decision \(docs/wire.md\)"),
        ({"value": "no JSON"}, "d.jsonl:1: expected a decision"),
        ({"zone": "z", "evidence": [{"kind": "sound"}]}, "d.jsonl:1: expected a decision"),
    ],
)
def test_a_line_that_is_no_decision_is_named(tmp_path: Path, line: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_decisions(_record(tmp_path / "d.jsonl", line))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "alert,score\na,1\n",
            r"expected the columns label \(or labels\) and alert, text or frame, found alert, score",
        ),
        ("text,label\n17,x\n", "v.csv:2: expected topic/partition/offset in text, found '17'"),
        ("alert,text,label\na,t/0/1,x\n", "v.csv:2: expected an alert, or a text and frame, found both"),
        ("alert,label\n,x\n", "v.csv:2: expected an alert, or a text and frame, found neither"),
    ],
)
def test_a_bad_verdict_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "v.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_verdicts(tmp_path / "v.csv")


def test_a_file_of_evidence_lies_in_its_folder(tmp_path: Path) -> None:
    folder = _evidence(tmp_path / "e", "a", ("text", 17))
    (tmp_path / "outside.txt").write_text("secret")
    index = [{"topic": "t", "partition": 0, "offset": 1, "file": "../outside.txt"}]
    (folder / "evidence.json").write_text(json.dumps(index))
    assert read_evidence([folder]).files == {}
    with pytest.raises(DataError, match=r"expected a folder that `vigil evidence \.\.\. --out DIR` wrote, found none"):
        read_evidence([tmp_path / "x"])


def test_evidence_of_a_recording_stands_for_its_records_and_for_no_alert(tmp_path: Path) -> None:
    _judge(tmp_path, "text,label\nvigil.texts/3/18,fight\n")
    (tmp_path / "e" / "a2" / "alert.json").unlink()
    evidence = read_evidence([tmp_path / "e"])
    assert {alert for alert in evidence.alerts if "a2" in alert} == set()
    verdicts = read_verdicts(tmp_path / "v.csv")
    outcome = judge(read_decisions(tmp_path / "d.jsonl"), verdicts, evidence)
    assert _labels(outcome.rows) == {"text18": "fight"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b'{"specversion": "1.0", "id": "1", "data": {"text": "inside"}}', "inside"),
        (b'{"broken": ', '{"broken": '),
        (b"plain words", "plain words"),
    ],
)
def test_a_text_is_read_as_the_live_side_reads_it(tmp_path: Path, value: bytes, text: str) -> None:
    (tmp_path / "t").write_bytes(value)
    assert text_of(tmp_path / "t") == text


def test_the_list_for_reviewers_has_a_line_for_each_text_and_is_read_once_it_is_filled_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _judge(tmp_path, "alert,label\na1,normal\n")
    louder = _decision(17, 41)
    louder["scores"] = {"fight": 0.1, "fire": 0.99}
    _record(tmp_path / "d.jsonl", _decision(17, 40), louder, _decision(18, None), _decision(None, 40))
    sheet = tmp_path / "new" / "list.csv"
    command: list[str | Path] = [
        "data",
        "verdicts",
        "--decisions",
        tmp_path / "d.jsonl",
        "--evidence",
        tmp_path / "e",
        "--out",
        sheet,
    ]

    def run(*arguments: str | Path) -> int:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return int(ended.value.code or 0)

    assert run(*command) == 0
    assert "3 texts and frames to judge, from 4 decisions" in capsys.readouterr().out
    head, *lines = sheet.read_text("utf-8").splitlines()
    time = "2026-01-01T02:03:04.750Z"
    assert head == "text,frame,label,time,zone,frames,said,score,words"
    assert lines == [
        f"vigil.texts/3/17,,,{time},dock-3,2,fire,0.9900,two men fighting",
        f"vigil.texts/3/18,,,{time},dock-3,0,fight,0.9312,有人打架",
        ",vigil.frames/3/40,,2026-01-01T02:03:04.500Z,dock-3,1,fight,0.9312,",
    ]
    assert read_verdicts(sheet).open == 3
    assert run(*command) == 1
    assert "expected nothing there, found something" in capsys.readouterr().err

    (tmp_path / "e" / "a2" / "text-3-18.txt").write_text("=HYPERLINK(1)")
    several = tmp_path / "several.csv"
    assert run(*command[:-1], several, "--several") == 0
    assert ",'=HYPERLINK(1)" in several.read_text("utf-8")
    filled = several.read_text("utf-8").replace("vigil.texts/3/17,,,", "vigil.texts/3/17,,fire;smoke,")
    several.write_text(filled, "utf-8")
    outcome = judge(read_decisions(tmp_path / "d.jsonl"), read_verdicts(several), read_evidence([tmp_path / "e"]))
    assert {row.labels for row in outcome.rows} == {("fire", "smoke")}
    assert {name for row in outcome.rows for name, _ in row.facets} == {"zone", "camera", "model", "said", "score"}


def test_false_alarms_join_the_data_set_of_old(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _judge(tmp_path, "alert,label\na1,normal\nnever,fight\n")
    for number in range(6):
        picture(tmp_path / "old" / f"{number}.jpg", seed=number)
    old = [{"file_name": f"{n}.jpg", "text": f"old {n}", "label": ("fight", "normal")[n % 2]} for n in range(6)]
    _record(tmp_path / "old" / "metadata.jsonl", *old)
    inputs: list[str | Path] = [
        "--decisions",
        tmp_path / "d.jsonl",
        "--verdicts",
        tmp_path / "v.csv",
        "--evidence",
        tmp_path / "e",
    ]

    def run(*arguments: str | Path) -> int:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return int(ended.value.code or 0)

    assert run("data", "from-decisions", *inputs, "--out", tmp_path / "new") == 0
    shown = capsys.readouterr()
    assert "4 decisions: 2 without a verdict" in shown.err
    assert "1 verdicts match no decision (is the evidence of their alert given?): v.csv:3" in shown.err
    assert "2 rows" in shown.out
    assert run("data", "split", tmp_path / "old", tmp_path / "new", "--out", tmp_path / "both") == 0
    both = open_dataset(tmp_path / "both")
    assert (both.task, both.labels, len(both)) == ("binary", ("fight",), 8)
    new = [row for row in both.rows if row.sequence]
    assert [(row.text, row.labels, row.group) for row in new] == [("two men fighting", ("normal",), "dock-3")] * 2

    (tmp_path / "v.csv").write_text("alert,label\nnever,fight\n")
    assert run("data", "from-decisions", *inputs, "--out", tmp_path / "none") == 1
    assert "expected a decision with a verdict and all its records, found none" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert run("data", "from-decisions", *inputs, "--out", tmp_path / "none", "--group-by", "day") == 2


def test_a_full_disk_is_said_and_leaves_neither_list_nor_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _judge(tmp_path, "alert,label\na1,normal\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    inputs = ("--decisions", str(tmp_path / "d.jsonl"), "--evidence", str(tmp_path / "e"))
    commands = (
        ["data", "verdicts", *inputs, "--out", str(tmp_path / "list.csv")],
        ["data", "from-decisions", *inputs, "--verdicts", str(tmp_path / "v.csv"), "--out", str(tmp_path / "new")],
    )
    for command in commands:
        with full_disk(50), pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 1
        assert "File too large; free space there, or choose another place" in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == before
