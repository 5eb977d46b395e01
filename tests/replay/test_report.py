"""A report on the screen, as JSON and as a page; made of recordings that a sum of moods judged."""

from __future__ import annotations

import asyncio
import json
import re
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import jsonschema
import msgspec
import pytest

from stream_app.core.settings import Semantic
from stream_app.core.types import InForce, Side
from stream_app.replay.document import document_of, document_schema
from stream_app.replay.evidence import Shown, evidence_in
from stream_app.replay.expect import read_expectations
from stream_app.replay.page import page_of
from stream_app.replay.recording import RecordingError
from stream_app.replay.screen import WIDTH, screen_of
from stream_app.replay.session import Asked, Entrant, Named, compare_recorded, judge_recordings
from stream_app.replay.verdicts import read_verdicts
from stream_app.terminal.sanitise import visible
from tests.conftest import REPOSITORY
from tests.core.drive import IN_FORCE, MODEL, T0, raw_frame, raw_text
from tests.replay.memory import Memory, MoodScorer, as_recorded
from tests.replay.site import journal_record
from tests.replay.test_canonical import PACE
from tests.replay.test_incidents import _alert_record, judged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.replay.report import Report

#: A zone whose name would steer a terminal, break a page, and turn the direction of a line.
EVIL = '<script>alert(1)</script>"&\x1b[2J\u202e'
SCHEMA = REPOSITORY / "stream_app" / "schemas" / "comparison.v1.schema.json"


def recording(count: int = 20, zone: str = EVIL, start_ms: int = T0) -> Memory:
    texts = [raw_text(n, start_ms + 20_000 * n, zone=zone) for n in range(count)]
    frames = [raw_frame(n, start_ms + 1_000 * n, zone=zone, camera=zone) for n in range(20 * count)]
    return Memory(
        {
            "journal": [msgspec.structs.replace(journal_record(IN_FORCE), timestamp=start_ms)],
            "texts": [as_recorded(raw) for raw in texts],
            "frames": [as_recorded(raw) for raw in frames],
        }
    )


def by(settings: Semantic, words: str) -> Entrant:
    scorer = MoodScorer({(Side.TEXT, n): 1 + n % 3 for n in range(99)}, Random(1))
    return Entrant(words, lambda _: InForce(MODEL, settings, settings.sha256), scorer)


def named(name: str, one: Memory) -> Named:
    return Named(name, one, IN_FORCE)


def report_of(
    *candidates: Semantic, asked: Asked | None = None, recordings: Sequence[Named] | None = None
) -> tuple[Report, Shown]:
    entrants = [by(Semantic(), "as recorded"), *(by(one, f"changed\x1b {one.open_texts}") for one in candidates)]
    chosen = recordings if recordings is not None else [named("night.mcap", recording())]
    report = asyncio.run(judge_recordings(chosen, entrants, asked or Asked(), pace=PACE))
    return report, evidence_in([one.recording for one in chosen], report.shown)


TWICE = Semantic(open_texts=2, open_within_ms=45_000)
VERDICTS = read_verdicts("text,label\nvigil.texts/0/1,fight\nvigil.texts/0/2,nothing\nvigil.texts/0/7,fire\n", "v.csv")
EXPECTED = read_expectations('[[expect]]\nlabel = "fight"\nat_least = 1', "e.toml")
FULL = Asked(verdicts=VERDICTS, expectations=EXPECTED, operators=3)


def test_the_screen_is_80_columns_wide_and_nothing_in_it_steers_a_terminal() -> None:
    for report in (report_of(TWICE, asked=FULL)[0], report_of(asked=FULL)[0]):
        lines = screen_of(report)
        assert max(map(len, lines)) <= WIDTH
        assert [line for line in lines if visible(line) != line] == []


def test_the_screen_of_a_comparison_fits_into_a_window_and_says_what_changes() -> None:
    lines = screen_of(report_of(TWICE, asked=FULL)[0])
    assert len(lines) < 60
    text = "\n".join(lines)
    for word in ("A -> B", "vanished", "precision", "ALARMS for each of 3 operators", "EXPECTED of B", "note: each"):
        assert word in text
    assert re.search(r"^all +\d+ -> \d+ ", text, re.MULTILINE)


def test_the_json_is_by_the_published_schema() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    comparison, alone = (
        json.loads(msgspec.json.encode(document_of(report)))
        for report in (report_of(TWICE, TWICE, asked=FULL)[0], report_of()[0])
    )
    jsonschema.validate(comparison, schema)
    jsonschema.validate(alone, schema)
    assert (len(comparison["candidates"]), alone["candidates"]) == (2, [])
    assert alone["base"]["totals"]["texts.received"] == 20


def test_the_published_schema_is_the_one_of_the_types() -> None:
    assert json.loads(SCHEMA.read_text("utf-8")) == json.loads(msgspec.json.encode(document_schema()))


def test_the_json_names_what_differs_and_both_of_its_sides() -> None:
    report = report_of(TWICE, asked=FULL)[0]
    (candidate,) = document_of(report).candidates
    assert {one.kind for one in candidate.differences} >= {"vanished"}
    for one in candidate.differences:
        assert (one.before is None) is (one.kind == "appeared")
        assert (one.after is None) is (one.kind == "vanished")


def test_the_page_needs_nothing_from_outside_and_runs_nothing() -> None:
    page = page_of(*report_of(TWICE, asked=FULL))
    assert "default-src 'none'" in page
    assert "<script" not in page
    # Nothing that a browser would fetch: only data within.
    assert set(re.findall(r'(?:src|href)="([a-z]+:)', page)) == {"data:"}
    assert "http:" not in page
    assert "https:" not in page
    assert EVIL not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page


def test_the_page_shows_frames_and_sentences_of_what_differs_and_of_nothing_else() -> None:
    report, shown = report_of(TWICE)
    page = page_of(report, shown)
    differing = report.candidates[0].comparison.differing
    assert page.count("<article") == len(differing) > 0
    assert f": {len(differing)} incident{'s differ' if len(differing) > 1 else ' differs'}</h2>" in page
    assert page.count("<figure>") == page.count("data:image/png;base64,") > 0
    for match in differing:
        words = shown.text(match.either.opening)
        assert words is not None
        assert words in page
    same = report_of(Semantic())
    assert same[0].candidates[0].comparison.differing == ()
    assert "<article" not in page_of(*same)
    assert ": 0 incidents differ</h2>" in page_of(*same)


def test_a_picture_that_is_none_and_one_that_is_missing_leave_words() -> None:
    report, shown = report_of(TWICE)
    text = "<svg onload=alert(1)>"
    broken = msgspec.structs.replace(shown, frames=dict.fromkeys(shown.frames, text.encode()))
    for page in (page_of(report, broken), page_of(report, Shown({}, {}))):
        assert "no picture at hand" in page
        assert "data:" not in page.split("</style>")[1]
    assert "not in the recording" in page_of(report, Shown({}, {}))


def test_evidence_of_another_time_at_the_same_place_is_not_shown() -> None:
    report, _ = report_of(TWICE)
    another_night = recording(start_ms=T0 + 86_400_000)
    assert evidence_in([another_night], report.shown) == Shown({}, {})


def test_recordings_that_overlap_are_refused_and_those_that_follow_are_added() -> None:
    one, two = named("a", recording(5)), named("b", recording(5, start_ms=T0 + 3_600_000))
    report = report_of(recordings=[two, one])[0]
    assert len(report.base.incidents) == 2 * len(report_of(recordings=[one])[0].base.incidents)
    with pytest.raises(RecordingError, match="expected recordings that follow one another, found that b begins"):
        report_of(recordings=[one, named("b", recording(5, start_ms=T0 + 20_000))])


def test_what_cannot_be_read_is_said_and_what_was_good_is_judged() -> None:
    class Broken(Memory):
        def records(self):  # type: ignore[no-untyped-def] # noqa: ANN202 - the port's
            yield from super().records()
            raise RecordingError("the rest is gone")

    whole = recording(5)
    report = report_of(recordings=[named("a", Broken(whole.logs))])[0]
    assert report.is_damaged
    assert any("the rest is gone" in note for note in report.notes)
    assert report.base.incidents == report_of(recordings=[named("a", whole)])[0].base.incidents


def test_records_without_contents_are_left_out_and_counted() -> None:
    whole = recording(5)
    frames = [msgspec.structs.replace(one, value=None) for one in whole.logs["frames"]]
    report = report_of(recordings=[named("a", Memory({**whole.logs, "frames": frames}))])[0]
    assert any("100 records are in it without their contents" in note for note in report.notes)
    assert "dead.empty" not in report.base.totals


def test_a_switch_half_way_is_said() -> None:
    whole = recording(5)
    later = journal_record(InForce(MODEL, TWICE, TWICE.sha256), offset=1)
    report = report_of(recordings=[named("a", Memory({**whole.logs, "journal": [journal_record(IN_FORCE), later]}))])[0]
    assert any("2 different models or settings" in note for note in report.notes)


def test_alerts_that_two_recordings_hold_are_compared_as_they_are() -> None:
    _, messages = judged()
    alerts = [_alert_record(message, number) for number, message in enumerate(messages)]
    first, second = Memory({"alerts": alerts}), Memory({"alerts": alerts[:2]})
    one = partial(Named, in_force=None)
    report = compare_recorded([one("prod", first), one("trial", second)], Asked(operators=2))
    (candidate,) = report.candidates
    assert (len(report.base.incidents), len(candidate.side.incidents)) > (1, 0)
    assert {match.kind for match in candidate.comparison.matches} >= {"vanished"}
    assert "alerts recorded in trial" in "\n".join(screen_of(report))


def test_what_was_expected_is_not_cut() -> None:
    name = "a name that is " + "very " * 20 + "long"
    expected = read_expectations(f'[[expect]]\nname = "{name}"\nlabel = "nothing"\nat_least = 1', "e.toml")
    text = " ".join(screen_of(report_of(asked=Asked(expectations=expected))[0]))
    assert f"{name}: expected at least 1, found 0" in text


def test_a_long_list_is_cut_on_the_screen_and_says_so() -> None:
    lines = screen_of(report_of()[0])
    assert any(line.startswith("... and ") for line in lines)


def test_paths_are_names_like_others() -> None:
    report = report_of(recordings=[named(str(Path("\x1b[2Jnight.mcap")), recording(3))])[0]
    assert screen_of(report)[0].startswith("\\x1b[2Jnight.mcap")
