"""What strangers put on the topics or into a recording neither steers the terminal nor leaves the folder."""

import json
from pathlib import Path

import pytest

from stream_app.core.types import Notice
from stream_app.wire.alerts import render_notice
from tests.cli.deployment import Deployment, alert_message, decision_value
from tests.wire.test_events import CONTEXT, START_MS

HOSTILE = "yard\x1b]0;owned\x07\x1b[2J\x9b\u202e\nforged [red]x[/]"


def named(deployment: Deployment, **more: object) -> dict[str, object]:
    place = {"kind": "text", "topic": deployment.names["texts"], "partition": 0, "offset": 0}
    return {**place, "time": "2026-01-01T00:00:01.000Z", "camera": HOSTILE, **more}


@pytest.mark.kafka
def test_names_on_the_alerts_topic_do_not_steer_the_terminal(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alert = alert_message(id="a" * 32, label=HOSTILE, zone=HOSTILE, cameras=[HOSTILE], evidence=[named(deployment)])
    notice = render_notice(Notice(HOSTILE, HOSTILE, START_MS, HOSTILE), CONTEXT)
    deployment.publish("alerts", alert, alert_message(phase=HOSTILE), notice)
    for command in (
        ["watch", "--from-beginning", "--max", "2"],
        ["watch", "--from-beginning", "--max", "2", "--json"],
        ["evidence", "alert", "a" * 32, "--out", str(tmp_path / "e")],
    ):
        deployment.run(*command)
        shown = capsys.readouterr()
        for written in (shown.out, shown.err):
            assert written.replace("\n", "").isprintable()
            assert not any(line.startswith("forged") for line in written.splitlines())
        assert r"\u202e" in shown.out
        assert "[red]x[/]" in shown.out


@pytest.mark.kafka
@pytest.mark.parametrize("kind", ["../../escaped", "/tmp/escaped", "text/../../escaped"])  # noqa: S108 - refused
def test_a_recording_does_not_write_outside_of_the_folder(
    deployment: Deployment, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("0 smoke\n", encoding="utf-8")
    assert deployment.run("feed", "--texts", str(words), "--zone", "yard", "--start", "2026-01-01T00:00:01Z") == 0
    partition = deployment.records("texts")[0].partition
    recording, folder = tmp_path / "d.jsonl", tmp_path / "a" / "b" / "out"
    good, bad = (
        b" ".join(decision_value(evidence=[named(deployment, partition=partition, kind=kind)]).split(b"\n")) + b"\n"
        for kind in ("text", kind)
    )
    recording.write_bytes(good + bad)
    assert deployment.run("evidence", "decisions", str(recording), "--out", str(folder)) == 1
    assert f"{recording}, line 2: expected a decision (docs/wire.md), found another: " in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["d.jsonl", "words.txt"]

    recording.write_bytes(good)
    folder.mkdir(parents=True)
    planted = folder / f"text-{partition}-0.json"
    planted.symlink_to(tmp_path / "victim")
    assert deployment.run("evidence", "decisions", str(recording), "--out", str(folder)) == 0
    assert not planted.is_symlink()
    assert json.loads(planted.read_text("utf-8"))["text"] == "smoke"
    assert not (tmp_path / "victim").exists()
