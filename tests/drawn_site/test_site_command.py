"""`vigil site` writes a sheet to look at, and a play whose truth stands beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_app.adapters.feed import read_texts
from stream_app.cli.site import app
from stream_app.terminal.outcome import CommandError


def test_a_play_holds_every_frame_the_texts_and_the_truth(tmp_path: Path) -> None:
    out = tmp_path / "play"
    arguments = ["play", "--out", str(out), "--seconds", "15", "--fps", "1", "--zones", "2", "--cameras", "1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert len(list(out.glob("zone-*/c1/*.jpg"))) == 30
    truth = json.loads((out / "truth.json").read_text(encoding="utf-8"))
    texts = [json.loads(line) for line in (out / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    numbers = {incident["number"] for incident in truth["incidents"]}
    assert numbers
    assert {text["incident"] for text in texts} - {None} == numbers


def test_the_texts_of_a_play_are_a_file_for_feed(tmp_path: Path) -> None:
    out = tmp_path / "play"
    done = CliRunner().invoke(app, ["play", "--out", str(out), "--seconds", "15", "--zones", "1", "--cameras", "1"])
    assert done.exit_code == 0, done.output
    written = [json.loads(line) for line in (out / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    read = read_texts(out / "texts.jsonl")
    expected = {(text["text"], text["zone"], max(0, text["event_time_ms"]), text["severity"]) for text in written}
    assert {(text.text, text.zone, text.offset_ms, text.severity) for text in read} == expected


def test_a_play_never_writes_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(CommandError, match="empty or new folder"):
        CliRunner().invoke(app, ["play", "--out", str(tmp_path)], catch_exceptions=False)


def test_a_sheet_with_an_unknown_ending_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"ends in \.png"):
        CliRunner().invoke(app, ["sheet", "--out", str(tmp_path / "sheet.unknown")], catch_exceptions=False)


def test_a_sheet_is_written(tmp_path: Path) -> None:
    out = tmp_path / "sheet.jpg"
    assert CliRunner().invoke(app, ["sheet", "--out", str(out), "--seed", "2"]).exit_code == 0
    assert out.stat().st_size > 100_000
